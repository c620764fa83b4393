//! Graphics devices: those of the engine first, then what NVML and sysfs know of others.

use super::{Fact, Gpu, GpuMemory};
use crate::engine::{DeviceInfo, DeviceKind};
use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::Clock;
use std::fs;
use std::path::Path;

/// The engine's graphics devices, in its order.
pub(super) fn of_engine(devices: &[DeviceInfo]) -> Vec<Gpu> {
    let kind = |device: &DeviceInfo| match device.kind {
        DeviceKind::Gpu if device.backend.eq_ignore_ascii_case("metal") || device.backend == "MTL" => {
            Some(GpuMemory::Unified)
        }
        DeviceKind::Gpu => Some(GpuMemory::Discrete),
        DeviceKind::Igpu => Some(GpuMemory::Unified),
        _ => None,
    };
    let graphics = devices.iter().filter_map(|device| Some((device, kind(device)?)));
    graphics.map(|(device, kind)| from_engine(device, kind)).collect()
}

fn from_engine(device: &DeviceInfo, kind: GpuMemory) -> Gpu {
    let bytes = |bytes: u64| match device.memory_total {
        0 => Fact::unknown(format!("the engine's {} backend does not tell", device.backend)),
        _ => Fact::Known(bytes),
    };
    Gpu {
        name: device.description.clone(),
        device: Some(device.name.clone()),
        kind,
        total: bytes(device.memory_total),
        free: bytes(device.memory_free),
        bandwidth: Fact::unknown("the engine does not tell"),
        source: format!("engine, {}", device.backend),
    }
}

/// The cards that NVIDIA's management library knows; it is looked for at run time.
///
/// # Errors
/// Why it cannot be asked: usually that there is no NVIDIA driver.
pub(super) fn of_nvml() -> Result<Vec<Gpu>, String> {
    let ask = || -> Result<Vec<Gpu>, nvml_wrapper::error::NvmlError> {
        let nvml = Nvml::init()?;
        (0..nvml.device_count()?).map(|number| card(&nvml, number)).collect()
    };
    ask().map_err(|error| error.to_string())
}

fn card(nvml: &Nvml, number: u32) -> Result<Gpu, nvml_wrapper::error::NvmlError> {
    let device = nvml.device_by_index(number)?;
    let memory = device.memory_info();
    let bytes = |pick: fn(&nvml_wrapper::struct_wrappers::device::MemoryInfo) -> u64| match &memory {
        Ok(memory) => Fact::Known(pick(memory)),
        Err(error) => Fact::unknown(format!("NVML: {error}")),
    };
    // two transfers per clock and pin, as NVIDIA's deviceQuery sample computes the theoretical bandwidth
    let bandwidth = match (device.max_clock_info(Clock::Memory), device.memory_bus_width()) {
        (Ok(mhz), Ok(bits)) => Fact::Known(2 * u64::from(mhz) * 1_000_000 * u64::from(bits) / 8),
        (Err(error), _) | (_, Err(error)) => Fact::unknown(format!("NVML: {error}")),
    };
    Ok(Gpu {
        name: device.name()?,
        device: None,
        kind: GpuMemory::Discrete,
        total: bytes(|memory| memory.total),
        free: bytes(|memory| memory.free),
        bandwidth,
        source: "nvml".into(),
    })
}

/// Cards of AMD and Intel as the kernel lists them under `root`.
pub(super) fn of_sysfs(root: &Path) -> Vec<Gpu> {
    let Ok(entries) = fs::read_dir(root.join("sys/class/drm")) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| {
            name.strip_prefix("card")
                .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|c| c.is_ascii_digit()))
        })
        .collect();
    names.sort();
    names
        .iter()
        .filter_map(|name| sysfs_card(&root.join("sys/class/drm").join(name).join("device"), name))
        .collect()
}

fn sysfs_card(device: &Path, name: &str) -> Option<Gpu> {
    let text = |file: &str| fs::read_to_string(device.join(file)).map(|text| text.trim().to_owned());
    let maker = match text("vendor").ok()?.as_str() {
        "0x1002" => "AMD",
        "0x8086" => "Intel",
        _ => return None,
    };
    let bytes = |file: &str| match text(file) {
        Ok(text) => text
            .parse::<u64>()
            .map_or_else(|_| Fact::unknown(format!("{file}: {text:?} is no number")), Fact::Known),
        Err(error) => Fact::unknown(format!("{file}: {error}")),
    };
    let (total, used) = (bytes("mem_info_vram_total"), bytes("mem_info_vram_used"));
    let free = match (&total, &used) {
        (Fact::Known(total), Fact::Known(used)) => Fact::Known(total.saturating_sub(*used)),
        (Fact::Unknown(reason), _) | (_, Fact::Unknown(reason)) => Fact::unknown(reason.clone()),
    };
    let kind = if total.get().is_some() {
        GpuMemory::Discrete
    } else {
        GpuMemory::Unified
    };
    Some(Gpu {
        name: format!("{maker} graphics {} ({name})", text("device").unwrap_or_default()),
        device: None,
        kind,
        total,
        free,
        bandwidth: Fact::unknown("the kernel does not tell"),
        source: "sysfs".into(),
    })
}

/// Adds to the engine's devices what another source knows: more facts about the same card, or a card the engine cannot use.
pub(super) fn merge(gpus: &mut Vec<Gpu>, others: Vec<Gpu>) {
    let mut told: Vec<usize> = Vec::new();
    for other in others {
        let same = |number: &usize| {
            gpus[*number].device.is_some() && !told.contains(number) && describes(&gpus[*number].name, &other.name)
        };
        match (0..gpus.len()).find(same) {
            Some(number) => {
                told.push(number);
                let gpu = &mut gpus[number];
                for (known, more) in [
                    (&mut gpu.total, other.total),
                    (&mut gpu.free, other.free),
                    (&mut gpu.bandwidth, other.bandwidth),
                ] {
                    if known.get().is_none() {
                        *known = more;
                    }
                }
                gpu.source = format!("{}, {}", gpu.source, other.source);
            }
            None => gpus.push(other),
        }
    }
}

/// Whether two sources mean the same card: NVML has the engine's name of it, sysfs only the maker.
fn describes(engine: &str, other: &str) -> bool {
    let maker = |name: &str| {
        ["AMD", "Intel"]
            .into_iter()
            .find(|maker| name.contains(maker) || (*maker == "AMD" && name.contains("Radeon")))
    };
    engine == other || (other.contains(" graphics 0x") && maker(engine).is_some() && maker(engine) == maker(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str, description: &str, kind: DeviceKind, backend: &str) -> DeviceInfo {
        DeviceInfo {
            name: name.into(),
            description: description.into(),
            kind,
            backend: backend.into(),
            memory_free: 7,
            memory_total: 8,
            faults: Vec::new(),
        }
    }

    fn nvidia(name: &str) -> Gpu {
        Gpu {
            name: name.into(),
            device: None,
            kind: GpuMemory::Discrete,
            total: Fact::Known(8),
            free: Fact::Known(6),
            bandwidth: Fact::Known(1000),
            source: "nvml".into(),
        }
    }

    #[test]
    fn metal_shares_main_memory_and_a_card_does_not() {
        let gpus = of_engine(&[
            device("CPU", "Some CPU", DeviceKind::Cpu, "CPU"),
            device("MTL0", "Apple M3", DeviceKind::Gpu, "MTL"),
            device("CUDA0", "NVIDIA X", DeviceKind::Gpu, "CUDA"),
            device("BLAS", "BLAS", DeviceKind::Accel, "BLAS"),
        ]);
        let kinds: Vec<_> = gpus.iter().map(|gpu| gpu.kind).collect();
        assert_eq!(kinds, [GpuMemory::Unified, GpuMemory::Discrete]);
    }

    #[test]
    fn a_device_that_reports_no_memory_is_unknown() {
        let silent = DeviceInfo {
            memory_free: 0,
            memory_total: 0,
            ..device("Vulkan0", "Card", DeviceKind::Gpu, "Vulkan")
        };
        assert!(of_engine(&[silent])[0].total.get().is_none());
    }

    #[test]
    fn nvml_completes_the_engines_card_and_lists_what_the_engine_cannot_use() {
        let mut gpus = of_engine(&[device("CUDA0", "NVIDIA X", DeviceKind::Gpu, "CUDA")]);
        merge(&mut gpus, vec![nvidia("NVIDIA X"), nvidia("NVIDIA X")]);
        assert_eq!(gpus.len(), 2);
        assert_eq!((gpus[0].free.get(), gpus[0].bandwidth.get()), (Some(7), Some(1000)));
        assert_eq!(
            (gpus[0].source.as_str(), &gpus[1].device),
            ("engine, CUDA, nvml", &None)
        );
    }

    #[test]
    fn the_kernel_tells_of_amds_memory_and_that_intels_is_not_told() {
        let root = tempfile::tempdir().expect("a directory");
        let put = |path: &str, text: &str| {
            let path = root.path().join("sys/class/drm").join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
            fs::write(path, text).expect("a file");
        };
        put("card0/device/vendor", "0x8086\n");
        put("card1/device/vendor", "0x1002\n");
        put("card1/device/device", "0x744c\n");
        put("card1/device/mem_info_vram_total", "1000\n");
        put("card1/device/mem_info_vram_used", "400\n");
        put("card1-DP-1/device/vendor", "0x1002\n");
        put("card2/device/vendor", "0x10de\n");
        let gpus = of_sysfs(root.path());
        assert_eq!(gpus.len(), 2, "{gpus:?}");
        assert_eq!(gpus[0].kind, GpuMemory::Unified);
        assert_eq!((gpus[1].total.get(), gpus[1].free.get()), (Some(1000), Some(600)));
        assert!(gpus[1].name.contains("AMD") && gpus[1].name.contains("0x744c"));

        let mut known = of_engine(&[device("Vulkan0", "AMD Radeon RX", DeviceKind::Gpu, "Vulkan")]);
        merge(&mut known, gpus);
        assert_eq!(known.len(), 2, "the AMD card is one card: {known:?}");
    }
}

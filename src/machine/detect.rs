//! The facts about the machine at hand.

use super::{Fact, Gpu, GpuMemory, Machine, MainMemory, cgroup, chips, gpus};
use crate::engine::Backend;
use crate::{Result, memory};
use std::path::Path;
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

impl Machine {
    /// Asks the system and the engine. What they do not tell is [`Fact::Unknown`] with the reason.
    ///
    /// # Errors
    /// An engine that does not start.
    pub fn detect() -> Result<Self> {
        let backend = Backend::init()?;
        let mut sources = vec![format!("system ({})", std::env::consts::OS)];
        let chip = chip();
        let cores = memory::physical_cores();
        let bandwidth = match chip.known() {
            Some(name) => chips::bandwidth(name, Some(cores)),
            None => Fact::unknown("the chip's name is unknown"),
        };
        let mut list = gpus::of_engine(&backend.devices()?);
        if !list.is_empty() {
            sources.push("engine".into());
        }
        match gpus::of_nvml() {
            Ok(cards) => {
                sources.push("nvml".into());
                gpus::merge(&mut list, cards);
            }
            Err(reason) => sources.push(format!("no nvml: {reason}")),
        }
        if cfg!(target_os = "linux") {
            gpus::merge(&mut list, gpus::of_sysfs(Path::new("/")));
        }
        for gpu in list.iter_mut().filter(|gpu| gpu.kind == GpuMemory::Unified) {
            share_main_memory(gpu, &bandwidth);
        }
        if let Some(limit) = wired_limit() {
            sources.push(format!("sysctl: iogpu.wired_limit_mb = {limit}"));
        }
        Ok(Self {
            label: String::new(),
            os: std::env::consts::OS.into(),
            arch: std::env::consts::ARCH.into(),
            chip,
            cores: Fact::Known(cores),
            memory: main_memory(Path::new("/"), bandwidth),
            gpus: list,
            sources,
        })
    }
}

/// Unified memory is as fast as main memory, because it is main memory.
fn share_main_memory(gpu: &mut Gpu, bandwidth: &Fact<u64>) {
    if gpu.bandwidth.get().is_none() {
        gpu.bandwidth = bandwidth.clone();
    }
}

fn chip() -> Fact<String> {
    let cpu = RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing());
    let brand = System::new_with_specifics(cpu)
        .ok()
        .and_then(|system| Some(system.cpus().first()?.brand().trim().to_owned()));
    match brand.filter(|brand| !brand.is_empty()) {
        Some(brand) => Fact::Known(brand),
        None => Fact::unknown("the system does not name its processor"),
    }
}

fn main_memory(root: &Path, bandwidth: Fact<u64>) -> MainMemory {
    let all = MemoryRefreshKind::nothing().with_ram().with_swap();
    let system = System::new_with_specifics(RefreshKind::nothing().with_memory(all)).ok();
    let read = |pick: fn(&System) -> u64| match &system {
        Some(system) => Fact::Known(pick(system)),
        None => Fact::unknown("the system's memory statistics cannot be read"),
    };
    let positive = |fact: Fact<u64>| match fact {
        Fact::Known(0) => Fact::unknown("the system reports 0 bytes"),
        fact => fact,
    };
    let (limit, limit_used) = match cgroup::read(root) {
        Fact::Known(Some(found)) => (Fact::Known(Some(found.limit)), Fact::Known(found.used)),
        Fact::Known(None) => (Fact::Known(None), Fact::Known(0)),
        Fact::Unknown(reason) => (Fact::Unknown(reason.clone()), Fact::Unknown(reason)),
    };
    MainMemory {
        total: positive(read(System::total_memory)),
        available: positive(read(System::available_memory)),
        limit,
        limit_used,
        swap_total: read(System::total_swap),
        swap_used: read(System::used_swap),
        bandwidth,
    }
}

/// What the user of a Mac allows its graphics processor to keep, in MiB; `None` where nothing is set. Metal's recommended
/// working set, which the engine reports as the device's memory, follows it already.
fn wired_limit() -> Option<u64> {
    if !cfg!(target_os = "macos") {
        return None;
    }
    let asked = std::process::Command::new("/usr/sbin/sysctl")
        .args(["-n", "iogpu.wired_limit_mb"])
        .output()
        .ok()?;
    let text = String::from_utf8(asked.stdout).ok()?;
    text.trim().parse().ok().filter(|limit| *limit > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_memory_cores_and_sources() {
        let machine = Machine::detect().expect("facts");
        let (total, available) = (machine.memory.total.get(), machine.memory.available.get());
        assert!(available.expect("available") <= total.expect("total"));
        assert!(machine.cores.get().expect("cores") >= 1 && !machine.sources.is_empty());
    }

    #[test]
    fn the_limit_of_a_container_becomes_a_fact() {
        let root = tempfile::tempdir().expect("a directory");
        std::fs::create_dir_all(root.path().join("proc/self")).expect("a directory");
        std::fs::create_dir_all(root.path().join("sys/fs/cgroup")).expect("a directory");
        std::fs::write(root.path().join("proc/self/cgroup"), "0::/\n").expect("a file");
        std::fs::write(root.path().join("sys/fs/cgroup/memory.max"), "1048576\n").expect("a file");
        std::fs::write(root.path().join("sys/fs/cgroup/memory.current"), "4096\n").expect("a file");
        let memory = main_memory(root.path(), Fact::unknown("test"));
        assert_eq!(memory.limit, Fact::Known(Some(1_048_576)));
        assert_eq!(memory.limit_used, Fact::Known(4096));
    }
}

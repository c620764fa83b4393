//! What slows the processor down, as Linux tells it in files.

use crate::doctor::facts::{Governor, Power};
use llama_turboquant::machine::Fact;
use std::path::Path;

/// Reads below `root`, which is `/` outside of tests.
pub(super) fn look(root: &Path) -> Power {
    if !cfg!(target_os = "linux") {
        fn unknown<T>() -> Fact<T> {
            Fact::unknown("this system does not tell it in files")
        }
        return Power {
            governor: unknown(),
            heat: unknown(),
            firmware: unknown(),
            hypervisor: unknown(),
            stolen: unknown(),
            held_back: unknown(),
        };
    }
    let files = Files(root);
    Power {
        governor: governor(files),
        heat: heat(files),
        firmware: firmware(files),
        hypervisor: hypervisor(files),
        stolen: stolen(files),
        held_back: held_back(files),
    }
}

#[derive(Clone, Copy)]
struct Files<'a>(&'a Path);

impl Files<'_> {
    fn read(self, path: &str) -> Result<String, String> {
        let text = std::fs::read_to_string(self.0.join(path)).map_err(|error| format!("/{path}: {error}"))?;
        Ok(text.trim().to_owned())
    }
}

fn fact<T>(read: Result<T, String>) -> Fact<T> {
    read.map_or_else(Fact::Unknown, Fact::Known)
}

fn governor(files: Files<'_>) -> Fact<Governor> {
    let of = |name: &str| files.read(&format!("sys/devices/system/cpu/cpu0/cpufreq/{name}"));
    fact(of("scaling_governor").map(|name| Governor {
        name,
        driver: of("scaling_driver").unwrap_or_else(|_| "driver unknown".into()),
        preference: of("energy_performance_preference").ok(),
    }))
}

fn number(text: &str, what: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{what} is no number: {text}"))
}

fn heat(files: Files<'_>) -> Fact<u64> {
    let path = "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count";
    fact(files.read(path).and_then(|text| number(&text, path)))
}

fn firmware(files: Files<'_>) -> Fact<u64> {
    let path = "sys/devices/platform/soc/soc:firmware/get_throttled";
    let bits = |text: String| {
        let digits = text.trim_start_matches("0x");
        u64::from_str_radix(digits, 16).map_err(|_| format!("{path} is no number: {text}"))
    };
    fact(files.read(path).and_then(bits))
}

fn hypervisor(files: Files<'_>) -> Fact<Option<String>> {
    // Xen says so itself; others are known by the name of the machine they pretend to be
    if let Ok(name) = files.read("sys/hypervisor/type") {
        return Fact::Known(Some(name));
    }
    let flags = match files.read("proc/cpuinfo") {
        Ok(text) => text,
        Err(why) => return Fact::Unknown(why),
    };
    let flag = |line: &str| {
        let (name, flags) = line.split_once(':')?;
        (name.trim() == "flags").then(|| flags.split_whitespace().any(|flag| flag == "hypervisor"))
    };
    if flags.lines().find_map(flag) != Some(true) {
        return Fact::Known(None);
    }
    let of = |name: &str| files.read(&format!("sys/class/dmi/id/{name}"));
    let name = match (of("sys_vendor"), of("product_name")) {
        (Ok(vendor), Ok(product)) => format!("{vendor} {product}"),
        (Ok(name), Err(_)) | (Err(_), Ok(name)) => name,
        (Err(_), Err(_)) => "it does not say which".into(),
    };
    Fact::Known(Some(name))
}

/// `cpu  user nice system idle iowait irq softirq steal ...`, in ticks since the start.
fn stolen(files: Files<'_>) -> Fact<f64> {
    fact(files.read("proc/stat").and_then(|text| {
        let line = text.lines().next().unwrap_or_default();
        let ticks: Vec<u64> = line.split_whitespace().skip(1).take(8).flat_map(str::parse).collect();
        let [user, nice, system, _, _, irq, soft, steal] = ticks[..] else {
            return Err("/proc/stat has another form".to_owned());
        };
        let wanted = user + nice + system + irq + soft + steal;
        // of the time this machine wanted, not of the time it slept
        Ok(if wanted == 0 { 0.0 } else { steal as f64 / wanted as f64 })
    }))
}

fn held_back(files: Files<'_>) -> Fact<f64> {
    fact(files.read("sys/fs/cgroup/cpu.stat").and_then(|text| {
        let of = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            number(value.unwrap_or("0"), name)
        };
        let (periods, held) = (of("nr_periods")?, of("nr_throttled")?);
        Ok(if periods == 0 {
            0.0
        } else {
            held as f64 / periods as f64
        })
    }))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn with(files: &[(&str, &str)]) -> Power {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        look(dir.path())
    }

    #[test]
    fn a_machine_without_these_files_is_unknown_with_their_names() {
        let power = with(&[]);
        let Fact::Unknown(why) = power.governor else {
            panic!("{power:?}")
        };
        assert!(why.contains("scaling_governor"), "{why}");
        assert_eq!(power.stolen.get(), None);
    }

    #[test]
    fn the_governor_is_read_with_its_driver() {
        let folder = "sys/devices/system/cpu/cpu0/cpufreq/";
        let power = with(&[
            (&format!("{folder}scaling_governor"), "powersave\n"),
            (&format!("{folder}scaling_driver"), "acpi-cpufreq\n"),
        ]);
        let governor = power.governor.known().unwrap().clone();
        assert_eq!(
            (governor.name.as_str(), governor.driver.as_str()),
            ("powersave", "acpi-cpufreq")
        );
        assert_eq!(governor.preference, None);
    }

    #[test]
    fn shares_are_of_the_time_that_was_wanted() {
        let power = with(&[
            ("proc/stat", "cpu  50 0 25 900 0 0 0 25 0 0\ncpu0 1 1\n"),
            (
                "sys/fs/cgroup/cpu.stat",
                "usage_usec 5\nnr_periods 200\nnr_throttled 50\n",
            ),
        ]);
        assert_eq!(power.stolen.get(), Some(0.25));
        assert_eq!(power.held_back.get(), Some(0.25));
    }

    #[test]
    fn a_board_and_a_hypervisor_say_what_they_are() {
        let power = with(&[
            ("sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n"),
            ("proc/cpuinfo", "processor : 0\nflags\t: fpu hypervisor avx2\n"),
            ("sys/class/dmi/id/sys_vendor", "QEMU\n"),
        ]);
        assert_eq!(power.firmware.get(), Some(0x50005));
        assert_eq!(power.hypervisor.known().unwrap().as_deref(), Some("QEMU"));
        assert_eq!(
            with(&[("proc/cpuinfo", "flags : fpu avx2\n")]).hypervisor,
            Fact::Known(None)
        );
    }
}

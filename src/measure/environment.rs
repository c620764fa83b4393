//! What a number was measured on, and whether the machine was quiet enough to believe it.

use crate::engine::EngineInfo;
use crate::{Backend, DeviceInfo, DeviceKind, Result, memory};
use serde::Serialize;
use std::time::Instant;
use sysinfo::{CpuRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate, RefreshKind, System};

/// The machine and the engine. A fact that cannot be read is `None`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Environment {
    /// Name of the processor.
    pub cpu: String,
    /// Physical cores this process may use.
    pub physical_cores: u32,
    /// Bytes of main memory.
    pub ram_total: Option<u64>,
    /// Operating system and version.
    pub os: Option<String>,
    /// Linux: the frequency governor of the first core.
    pub governor: Option<String>,
    /// Runnable processes, one-minute average, when the record was made.
    pub load_average: Option<f64>,
    /// What the engine was built from.
    pub engine: EngineInfo,
    /// The devices it can use.
    pub devices: Vec<DeviceInfo>,
}

impl Environment {
    /// Reads all of it.
    ///
    /// # Errors
    /// The engine's.
    pub fn detect() -> Result<Self> {
        let backend = Backend::init()?;
        let devices = backend.devices()?;
        Ok(Self {
            cpu: devices
                .iter()
                .find(|device| device.kind == DeviceKind::Cpu)
                .map_or("unknown".into(), |device| device.description.clone()),
            physical_cores: memory::physical_cores(),
            ram_total: memory::total_ram(),
            os: System::long_os_version().ok(),
            governor: std::fs::read_to_string("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
                .ok()
                .map(|text| text.trim().to_owned()),
            load_average: System::load_average().ok().map(|load| load.one),
            engine: backend.describe()?,
            devices,
        })
    }
}

/// How busy others kept the processors while something was measured.
#[derive(Debug)]
pub struct NoiseMeter {
    /// `None`: the system refuses, and `finish` has nothing to say.
    system: Option<System>,
    started: Instant,
}

/// What a [`NoiseMeter`] saw.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Noise {
    /// The share of all processor time that other processes took, 0 to 1.
    pub foreign_cpu: f64,
    /// Over how many seconds.
    pub seconds: f64,
}

impl Noise {
    /// Above this share of foreign work, differences of a few percent mean nothing.
    pub const TOLERABLE: f64 = 0.10;

    /// Whether the machine was too busy to trust small differences.
    pub fn is_loud(&self) -> bool {
        self.foreign_cpu > Self::TOLERABLE
    }
}

impl NoiseMeter {
    /// Starts to watch.
    pub fn start() -> Self {
        let cpu = CpuRefreshKind::nothing().with_usage();
        let mut meter = Self {
            system: System::new_with_specifics(RefreshKind::nothing().with_cpu(cpu)).ok(),
            started: Instant::now(),
        };
        meter.refresh();
        meter
    }

    fn refresh(&mut self) -> Option<(&System, Pid)> {
        let own = sysinfo::get_current_pid().ok()?;
        let system = self.system.as_mut()?;
        system.refresh_cpu_usage();
        system.refresh_processes_specifics(
            ProcessesToUpdate::Some(&[own]),
            true,
            ProcessRefreshKind::nothing().with_cpu(),
        );
        Some((system, own))
    }

    /// What others did since the start; `None` after less than half a second (the system counts in ticks) or where the
    /// system does not tell.
    pub fn finish(mut self) -> Option<Noise> {
        let seconds = self.started.elapsed().as_secs_f64();
        if seconds < 0.5 {
            return None;
        }
        let (system, own) = self.refresh()?;
        let foreign_cpu = foreign_share(
            f64::from(system.global_cpu_usage()),
            f64::from(system.process(own)?.cpu_usage()),
            system.cpus().len(),
        )?;
        Some(Noise { foreign_cpu, seconds })
    }
}

/// The share of all processor time that others took. `all` is the percentage of `cores` that was busy, `own` this process's
/// percentage of one core, so that two busy threads are 200.
fn foreign_share(all: f64, own: f64, cores: usize) -> Option<f64> {
    (cores > 0).then(|| (all / 100.0 - own / 100.0 / cores as f64).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn own_work_is_no_noise() {
        assert_eq!(foreign_share(100.0, 200.0, 2), Some(0.0), "both cores were ours");
        assert_eq!(foreign_share(100.0, 100.0, 2), Some(0.5));
        assert_eq!(foreign_share(40.0, 80.0, 4), Some(0.2));
        assert_eq!(
            foreign_share(49.0, 100.0, 2),
            Some(0.0),
            "clocks of two sources differ a little"
        );
        assert_eq!(foreign_share(10.0, 0.0, 0), None);
        assert!(
            Noise {
                foreign_cpu: 0.2,
                seconds: 1.0
            }
            .is_loud()
                && !Noise {
                    foreign_cpu: 0.05,
                    seconds: 1.0
                }
                .is_loud()
        );
    }

    #[test]
    fn a_meter_says_over_how_long_it_listened() {
        let meter = NoiseMeter::start();
        std::thread::sleep(Duration::from_millis(600));
        let noise = meter.finish();
        assert!(
            noise.is_none_or(|noise| noise.seconds >= 0.6 && (0.0..=1.0).contains(&noise.foreign_cpu)),
            "{noise:?}"
        );
    }

    #[test]
    fn too_short_a_time_says_nothing() {
        assert_eq!(NoiseMeter::start().finish(), None);
    }
}

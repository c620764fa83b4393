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
        let cores = system.cpus().len() as f64;
        let all = f64::from(system.global_cpu_usage()) / 100.0;
        // of one core, so that two busy threads are 200
        let mine = f64::from(system.process(own)?.cpu_usage()) / 100.0 / cores;
        (cores > 0.0).then(|| Noise {
            foreign_cpu: (all - mine).clamp(0.0, 1.0),
            seconds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn own_work_is_no_noise() {
        let meter = NoiseMeter::start();
        let until = Instant::now() + Duration::from_millis(700);
        let mut x = 0_u64;
        while Instant::now() < until {
            x = std::hint::black_box(x.wrapping_mul(3).wrapping_add(1));
        }
        if let Some(noise) = meter.finish() {
            // one core of ours was busy all the time: whatever else ran, it was not all of the machine
            assert!(
                (0.0..1.0).contains(&noise.foreign_cpu) && noise.seconds >= 0.7,
                "{noise:?}"
            );
        }
    }

    #[test]
    fn too_short_a_time_says_nothing() {
        assert_eq!(NoiseMeter::start().finish(), None);
    }
}

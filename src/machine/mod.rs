//! What a machine has: memory, limits, graphics devices, cores. Facts come from the machine or from a file
//! (`--facts`), and everything that is decided from them is a pure function of [`Machine`].

mod cgroup;
mod chips;
mod detect;
mod fact;
mod file;
mod freed;
mod gpus;
mod pools;
mod size;

pub use fact::Fact;
pub use pools::PoolFacts;
use serde::{Deserialize, Serialize};
pub use size::parse_size;

/// The facts about one machine. Sizes are bytes, bandwidths bytes per second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// A name for people, as given in a facts file; empty for the machine at hand.
    #[serde(default)]
    pub label: String,
    /// As Rust names it: `linux`, `macos`, ...
    pub os: String,
    /// As Rust names it: `x86_64`, `aarch64`, ...
    pub arch: String,
    /// The processor's name.
    pub chip: Fact<String>,
    /// Physical cores this process may use.
    pub cores: Fact<u32>,
    /// Main memory.
    pub memory: MainMemory,
    /// Graphics devices, in the engine's order; those it cannot use come last.
    pub gpus: Vec<Gpu>,
    /// How the facts were found, one line each for people ("engine", "nvml", "sysfs", "file /path").
    pub sources: Vec<String>,
}

/// Main memory and what limits its use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MainMemory {
    /// Installed.
    pub total: Fact<u64>,
    /// Can be taken now without swapping, limits of a container not counted.
    pub available: Fact<u64>,
    /// The limit of this process's control group, `None` where it has none.
    pub limit: Fact<Option<u64>>,
    /// What the control group uses of its limit already; 0 without a limit.
    pub limit_used: Fact<u64>,
    /// Swap space in all.
    pub swap_total: Fact<u64>,
    /// Swap space in use.
    pub swap_used: Fact<u64>,
    /// What main memory delivers.
    pub bandwidth: Fact<u64>,
}

/// Whose memory a graphics device uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GpuMemory {
    /// Its own.
    Discrete,
    /// Main memory (Apple Silicon, integrated graphics).
    Unified,
}

/// A graphics device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    /// The hardware's name.
    pub name: String,
    /// The engine's name of it (`Metal`, `CUDA0`); `None`: this build of the engine cannot use it.
    pub device: Option<String>,
    /// Whose memory it uses.
    pub kind: GpuMemory,
    /// Its memory in all; with unified memory what the driver lets a process use (Metal's recommended working set).
    pub total: Fact<u64>,
    /// What can be taken now.
    pub free: Fact<u64>,
    /// What its memory delivers.
    pub bandwidth: Fact<u64>,
    /// Where these facts come from.
    pub source: String,
}

/// A place that memory is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pool {
    /// Main memory.
    Main,
    /// The memory of this entry of [`Machine::gpus`].
    Gpu(usize),
}

#[cfg(test)]
pub(crate) mod test_machines {
    use super::*;

    const GIB: u64 = 1 << 30;

    /// A machine with no graphics device; sizes in GiB.
    pub(crate) fn machine(total: u64, available: u64) -> Machine {
        let none = || Fact::unknown("made up for a test");
        Machine {
            label: String::new(),
            os: "linux".into(),
            arch: "x86_64".into(),
            chip: Fact::unknown("made up for a test"),
            cores: Fact::Known(8),
            memory: MainMemory {
                total: Fact::Known(total * GIB),
                available: Fact::Known(available * GIB),
                limit: Fact::Known(None),
                limit_used: Fact::Known(0),
                swap_total: none(),
                swap_used: none(),
                bandwidth: none(),
            },
            gpus: Vec::new(),
            sources: vec!["made up for a test".into()],
        }
    }

    /// A device of the engine with this much memory, all free; GiB.
    pub(crate) fn gpu(device: &str, kind: GpuMemory, size: u64) -> Gpu {
        Gpu {
            name: format!("{device} of a test"),
            device: Some(device.into()),
            kind,
            total: Fact::Known(size * GIB),
            free: Fact::Known(size * GIB),
            bandwidth: Fact::unknown("made up for a test"),
            source: "test".into(),
        }
    }
}

//! What a machine has: memory, limits, graphics devices, cores. Facts come from the machine or from a file
//! (`--facts`), and everything that is decided from them is a pure function of [`Machine`].

mod fact;

pub use fact::Fact;
use serde::{Deserialize, Serialize};

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

//! What is judged.

use llama_turboquant::engine::EngineInfo;
use llama_turboquant::machine::{Fact, Machine};
use std::path::PathBuf;

/// Everything that is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The program.
    pub build: Build,
    /// Memory and devices.
    pub machine: Machine,
    /// What only the machine at hand can tell; `None` where `machine` is another one.
    pub here: Option<Here>,
    /// The model that was named.
    pub model: Option<ModelFile>,
}

/// The program and its engine.
#[derive(Debug, Clone, PartialEq)]
pub struct Build {
    /// The program's version.
    pub program: String,
    /// The engine.
    pub engine: EngineInfo,
    /// The kernels for compressed caches that are used, and those that run here.
    pub attention: String,
    /// Instruction sets of this CPU, by the engine's names of them.
    pub cpu_has: Vec<String>,
    /// Devices by the engine's names, and whether they run attention over turbo caches.
    pub turbo: Vec<(String, bool)>,
}

/// The machine at hand.
#[derive(Debug, Clone, PartialEq)]
pub struct Here {
    /// Ports that servers use unless told otherwise.
    pub ports: Vec<Port>,
    /// Folders that are written.
    pub folders: Vec<Folder>,
    /// Limits of this process.
    pub limits: Limits,
    /// What slows the processor down.
    pub power: Power,
}

/// A port on 127.0.0.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its number.
    pub number: u16,
    /// Which clients look there.
    pub clients: &'static str,
    /// Who has it.
    pub state: PortState,
}

/// Who has a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortState {
    /// Nobody.
    Free,
    /// A server of this program, of that version.
    Ours(String),
    /// Ollama, of that version.
    Ollama(String),
    /// A program that does not say what it is.
    Other,
    /// It cannot be taken, for that reason.
    Refused(String),
}

/// A folder that is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// What for: `models`, `slots`, `embedded model`.
    pub purpose: &'static str,
    /// Where.
    pub path: PathBuf,
    /// How it is.
    pub state: FolderState,
    /// Bytes free there.
    pub free: Fact<u64>,
}

/// How a folder is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FolderState {
    /// Files can be written.
    Writable,
    /// It is not there and can be made.
    Absent,
    /// It can be read and not written, for that reason.
    ReadOnly(String),
    /// It cannot be used at all, for that reason.
    Unusable(String),
}

/// Limits of this process; inside, `None` is no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Files and connections at once.
    pub open_files: Fact<Option<u64>>,
    /// Bytes that may be locked in memory.
    pub locked_memory: Fact<Option<u64>>,
}

/// What slows the processor down.
#[derive(Debug, Clone, PartialEq)]
pub struct Power {
    /// The frequency governor.
    pub governor: Fact<Governor>,
    /// How often the processor was throttled for heat since it was started.
    pub heat: Fact<u64>,
    /// A Raspberry Pi's firmware: bits of `get_throttled`.
    pub firmware: Fact<u64>,
    /// The hypervisor, if there is one.
    pub hypervisor: Fact<Option<String>>,
    /// Share of time that the hypervisor gave to others, from 0 to 1.
    pub stolen: Fact<f64>,
    /// Share of periods in which a container's limit held the processor back, from 0 to 1.
    pub held_back: Fact<f64>,
}

/// A frequency governor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Governor {
    /// `powersave`, `schedutil`, ...
    pub name: String,
    /// `intel_pstate`, `acpi-cpufreq`, ...
    pub driver: String,
    /// `energy_performance_preference`, where the driver has it.
    pub preference: Option<String>,
}

/// A model file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFile {
    /// Where.
    pub path: PathBuf,
    /// Whether it is whole.
    pub state: FileState,
    /// What was decided for it, in a sentence; or why it does not run. `None` where the file is not whole.
    pub fits: Option<Result<String, String>>,
}

/// Whether a model file is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileState {
    /// All tensors are there: files and bytes.
    Whole {
        /// Files: more than one for a model in shards.
        files: u32,
        /// Bytes of all.
        bytes: u64,
    },
    /// A file ends before its tensors do.
    Cut {
        /// Which.
        file: PathBuf,
        /// Bytes it should have.
        expected: u64,
        /// Bytes it has.
        there: u64,
    },
    /// Shards that are not there.
    Missing(Vec<PathBuf>),
    /// It cannot be read, or is no model; the reason.
    Unusable(String),
}

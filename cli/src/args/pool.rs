//! Options of `serve` about which models it keeps loaded.

use crate::commands::serve::backend::KeepAlive;
use crate::commands::serve::keep_alive;
use clap::Args as ClapArgs;
use std::path::PathBuf;

/// Models on offer, and how many of them are loaded for how long.
#[derive(Debug, Clone, ClapArgs)]
pub struct PoolArgs {
    /// Offer the models of a folder: .gguf files, also in folders within it, and what `turboquant pull --models-dir` or
    /// clients have put there. They are loaded when a request names them; with -m, that model is loaded at the start.
    /// Default with --ollama: the folder of `turboquant pull`; else none.
    #[arg(long, value_name = "DIR")]
    pub models_dir: Option<PathBuf>,
    /// Models that are loaded at the same time, memory permitting; the least recently used one makes room. 0: no limit.
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub models_max: usize,
    /// How long an unused model stays loaded: seconds or 10m, 1h30m; 0: only until its answer has ended, -1: for ever.
    /// Default: 5m, and for ever for the model of -m. `keep_alive` in a request wins.
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        value_parser = keep_alive::from_text
    )]
    pub keep_alive: Option<KeepAlive>,
    /// Bytes of memory, of devices and main memory together, that models leave to other programs.
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub gpu_overhead: u64,
}

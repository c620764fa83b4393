//! Options of `serve` about which models it keeps loaded.

use crate::commands::serve::backend::KeepAlive;
use crate::commands::serve::keep_alive;
use clap::Args as ClapArgs;
use std::path::PathBuf;

/// Models on offer, and how many of them are loaded for how long.
#[derive(Debug, Clone, ClapArgs)]
pub struct PoolArgs {
    /// Offer every model of a folder: its .gguf files, and those of the folders in it. They are loaded when a request names
    /// them; with -m, that model is loaded at the start.
    #[arg(long, value_name = "DIR", env = "LLAMA_ARG_MODELS_DIR", hide_env_values = true)]
    pub models_dir: Option<PathBuf>,
    /// Models that are loaded at the same time, memory permitting; the least recently used one makes room. 0: no limit.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 4,
        env = "LLAMA_ARG_MODELS_MAX",
        hide_env_values = true
    )]
    pub models_max: usize,
    /// How long an unused model stays loaded: seconds or 10m, 1h30m; 0: not at all, -1: for ever. Default: 5m, and for ever for
    /// the model of -m. `keep_alive` in a request wins.
    #[arg(
        long,
        value_name = "TIME",
        env = "OLLAMA_KEEP_ALIVE",
        hide_env_values = true,
        allow_hyphen_values = true,
        value_parser = keep_alive::from_text
    )]
    pub keep_alive: Option<KeepAlive>,
}

//! Options of `profile`.

use crate::profile::{Endpoint, Form};
use clap::Args;
use std::path::PathBuf;

/// Everything that `profile` takes.
#[derive(Debug, Clone, Args)]
pub struct ProfileArgs {
    /// Whose profile.
    #[arg(value_name = "CLIENT")]
    pub form: Form,
    /// File to write; -: standard output. Folders are made. A file that is there and says something else is not replaced
    /// without --force. [default: profiles/hermes-profile-gemma4-turboquant.yaml, profiles/openai-profile-turboquant.json,
    /// profiles/turboquant.Modelfile]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace a file that is there.
    #[arg(long)]
    pub force: bool,
    /// Where clients find the server, as http://HOST:PORT without a path. With an address, `serve --profile` listens there.
    /// [default: http://127.0.0.1:8080; ollama: http://127.0.0.1:11434]
    #[arg(long, value_name = "URL", value_parser = endpoint)]
    pub endpoint: Option<Endpoint>,
    /// GGUF file the server is to load; without it the embedded model. [-m]
    #[arg(short, long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// Context in tokens; by default what fits the machine and the model. An agent's profile needs 8192. [-c]
    #[arg(short = 'c', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub ctx_size: Option<u32>,
    /// Type of the K cache: auto, or a name from `turboquant kv`. [-ctk]
    #[arg(long, value_name = "TYPE", default_value = "auto")]
    pub cache_type_k: String,
    /// Type of the V cache, likewise. [-ctv]
    #[arg(long, value_name = "TYPE", default_value = "auto")]
    pub cache_type_v: String,
    /// Layer-adaptive mode 0 to 7. Default: 7 when V is turbo2, else 0.
    #[arg(long, value_name = "MODE", env = "TURBO_LAYER_ADAPTIVE", hide_env_values = true)]
    pub layer_adaptive: Option<String>,
    /// Requests at once; they share the context. [-np]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub parallel: Option<u32>,
    /// Layers on the GPU; default: all. [-ngl]
    #[arg(long, alias = "n-gpu-layers", value_name = "N")]
    pub gpu_layers: Option<u32>,
    /// Facts about the machine the profile is for (JSON), instead of those of this one.
    #[arg(long, value_name = "FILE")]
    pub facts: Option<PathBuf>,
}

fn endpoint(text: &str) -> Result<Endpoint, String> {
    Endpoint::new(text).map_err(|error| error.to_string())
}

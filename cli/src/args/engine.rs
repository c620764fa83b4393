//! Options that several subcommands share: the model and the engine, the KV cache, sampling.

use super::ProjectorArgs;
use clap::{ArgAction, Args as ClapArgs};
use std::path::PathBuf;

/// Which model, and how the engine runs it.
#[derive(Debug, Clone, ClapArgs)]
pub struct EngineArgs {
    /// GGUF file; where no model is named at all, the embedded one is used. [-m]
    #[arg(short, long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// Let turbo K be used on model families that it is known to break (Qwen2, Qwen2.5).
    #[arg(long)]
    pub no_kv_guard: bool,
    /// Accept that a device that cannot run attention over this cache hands it to the CPU.
    #[arg(long)]
    pub allow_cpu_attention: bool,
    /// Keep the KV cache in main memory. [-nkvo]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value_t = false, action = ArgAction::Set, hide_possible_values = true, hide_default_value = true)]
    pub no_kv_offload: bool,
    /// Full-size cache for sliding-window layers.
    #[arg(long)]
    pub swa_full: bool,
    /// Threads; 0: the physical cores. [-t]
    #[arg(short, long, value_name = "N", default_value_t = 0)]
    pub threads: u32,
    /// Layers on the GPU; default: all. [-ngl]
    #[arg(long, alias = "n-gpu-layers", value_name = "N")]
    pub gpu_layers: Option<u32>,
    /// Read the model into memory instead of mapping the file.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value_t = false, action = ArgAction::Set, hide_possible_values = true, hide_default_value = true)]
    pub no_mmap: bool,
}

/// Which model, where it runs, and its KV cache.
#[derive(Debug, Clone, ClapArgs)]
pub struct ModelArgs {
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Context in tokens, all slots together; 0: what the model was trained with. Default: what fits this machine, up to 131072
    /// and what the model was trained with. [-c]
    #[arg(short = 'c', long, value_name = "N")]
    pub ctx_size: Option<u32>,
    /// Type of the K cache: auto, or a name from `turboquant kv`. auto is what fits this machine and model best (docs/choosing.md):
    /// mostly turbo4. [-ctk]
    #[arg(long, value_name = "TYPE", default_value = "auto")]
    pub cache_type_k: String,
    /// Type of the V cache, likewise. [-ctv]
    #[arg(long, value_name = "TYPE", default_value = "auto")]
    pub cache_type_v: String,
    /// Layer-adaptive mode 0 to 7: layers that keep more bits. Default: 7 when V is turbo2, else 0.
    #[arg(long, value_name = "MODE", env = "TURBO_LAYER_ADAPTIVE", hide_env_values = true)]
    pub layer_adaptive: Option<String>,
    /// Types of each layer, as written by `turboquant sensitivity`; replaces the cache types.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["cache_type_k", "cache_type_v"])]
    pub layer_map: Option<PathBuf>,
    /// The least quality that may be chosen where types are left to auto: no cache that was measured to be worse than this type.
    #[arg(long, value_name = "TYPE")]
    pub kv_floor: Option<String>,
    /// Choose what is left open so that it fits the memory. off: the context that the model was trained with, and all layers on the
    /// GPU, or an error. [-fit]
    #[arg(long, value_name = "on|off", default_value = "on", value_parser = clap::builder::BoolishValueParser::new(), action = clap::ArgAction::Set)]
    pub fit: bool,
    /// The least context that is of use where it is left open: rather than a shorter one, nothing is loaded. [-fitc]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    pub fit_ctx: Option<u32>,
    /// Memory to be left free on each device, where something is left open. Default: a sixteenth of the weights, 128 MiB at least
    /// and 1 GiB at most. [-fitt]
    #[arg(long, value_name = "MIB")]
    pub fit_target: Option<u32>,
    /// Threads for prompts; 0: as --threads. [-tb]
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub threads_batch: u32,
    /// Tokens submitted at once. [-b]
    #[arg(short, long, value_name = "N", default_value_t = 2048)]
    pub batch_size: u32,
    /// Tokens computed at once. [-ub]
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub ubatch_size: u32,
    #[command(flatten)]
    pub projector: ProjectorArgs,
}

/// How tokens are chosen. Unset: the model's or the engine's default.
#[derive(Debug, Clone, ClapArgs)]
pub struct SamplingArgs {
    /// Temperature; 0: always the most probable token.
    #[arg(long, value_name = "T")]
    pub temp: Option<f32>,
    /// Only the K most probable tokens; 0: all.
    #[arg(long, value_name = "K")]
    pub top_k: Option<i32>,
    /// Only the smallest set of tokens with this much probability; 1: all.
    #[arg(long, value_name = "P")]
    pub top_p: Option<f32>,
    /// Only tokens at least this probable compared with the best; 0: all.
    #[arg(long, value_name = "P")]
    pub min_p: Option<f32>,
    /// Above 1: repeated tokens become less probable.
    #[arg(long, value_name = "R")]
    pub repeat_penalty: Option<f32>,
    /// Equal seeds give equal answers; negative: random. [-s]
    #[arg(short, long, value_name = "N", allow_negative_numbers = true)]
    pub seed: Option<i64>,
}

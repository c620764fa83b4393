//! Options of `turboquant ceiling`.

use super::EngineArgs;
use super::measure::OutputArgs;
use crate::measuring::caches;
use clap::Args as ClapArgs;
use llama_turboquant::KvSpec;

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "The plan counts the KV cache to the byte and the engine's scratch buffers by a line through two shorter \
contexts. The trial makes contexts in a process of its own, fills their caches, and searches for the longest that works: it \
takes all the memory that is free for a moment, so close what must not be disturbed, or give it a --memory of its own."
)]
pub struct CeilingArgs {
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Caches to plan for: TYPE, K/V, or either with @MODE.
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = caches::parse, default_value = "f16,q8_0,turbo4,turbo3,turbo2")]
    pub kv: Vec<KvSpec>,
    /// GiB for KV cache and scratch buffers; default: the memory that is free once the model is loaded.
    #[arg(long, value_name = "GIB")]
    pub memory: Option<f64>,
    /// Tokens computed at once. [-ub]
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub ubatch_size: u32,
    /// Only plan.
    #[arg(long)]
    pub no_trial: bool,
    /// Make one context of N tokens with the first cache, fill it, tell how much memory that took: what the trial runs.
    #[arg(long, value_name = "N", hide = true)]
    pub attempt: Option<u32>,
    #[command(flatten)]
    pub output: OutputArgs,
}

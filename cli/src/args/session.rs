//! What `turboquant session` takes.

use super::EngineArgs;
use super::measure::OutputArgs;
use crate::measuring::caches;
use clap::Args as ClapArgs;
use llama_turboquant::KvSpec;

/// Hold long conversations with recall questions, with every cache the same text, and watch the drift after turn 30.
///
/// The user states facts ("My dog is called Milo.") and asks for them later, also after turn 30 for facts of the first 15 turns.
/// The model's greedy answer to a recall question is checked and then replaced by the script's, so that all caches see the same
/// tokens. Shown are the share recalled and the divergence from f16 by turn, and whether both hold after turn 30. A
/// conversation grows in the cache turn by turn, as a real one does.
#[derive(Debug, ClapArgs)]
pub struct SessionArgs {
    /// Turns of each conversation; drift needs more than 30.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub turns: usize,
    /// Conversations; intervals are over them.
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub conversations: usize,
    /// Caches to compare with f16: TYPE, K/V, or either with @MODE (layer-adaptive): turbo4  q8_0/turbo4  turbo2@0
    #[arg(long, value_name = "KV,..", value_delimiter = ',', value_parser = caches::parse, default_value = "f16,turbo4,turbo3")]
    pub kv: Vec<KvSpec>,
    /// Equal seeds give equal conversations.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

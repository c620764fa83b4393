//! What `turboquant needle` takes.

use super::EngineArgs;
use super::measure::OutputArgs;
use crate::measuring::caches;
use clap::{Args as ClapArgs, ValueEnum};
use llama_turboquant::KvSpec;
use std::path::PathBuf;

/// How needles are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// As a user's message, by the model's chat template.
    Chat,
    /// As text that ends with `Answer:`.
    Plain,
    /// By turns.
    Both,
}

/// Find facts in long prompts (needle in a haystack), with every cache the same prompts.
///
/// A prompt of each length states a fact ("The access code for Olga Olsen is 36862.") at each depth and ends with a question
/// about it. The answer is greedy; it counts if its first line has the value as a whole word. Shown are the share found by
/// length and depth, and what each cache lost of what f16 found: a needle that f16 misses is the model's fault, not the
/// cache's. Intervals are Wilson's, 95 %.
#[derive(Debug, ClapArgs)]
pub struct NeedleArgs {
    /// Lengths of the prompts in tokens (a prompt is at most 3 % shorter). Default: 256 to 4096 in doublings, up to what the
    /// model was trained with; ask for more (to 131072) if it was.
    #[arg(long, value_name = "N,..", value_delimiter = ',')]
    pub lengths: Vec<u32>,
    /// Where the fact is: 0 is the first sentence, 1 the last.
    #[arg(long, value_name = "D,..", value_delimiter = ',', default_values_t = [0.0, 0.25, 0.5, 0.75, 1.0])]
    pub depths: Vec<f64>,
    /// Facts in each haystack, with one asked for; more than 1: the others are there to be mixed up with.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub needles: usize,
    /// Prompts for each length and depth. Default: enough to tell 99 % from 95 % over the whole grid.
    #[arg(long, value_name = "N")]
    pub trials: Option<usize>,
    /// Ask by the chat template, as plain text, or by turns. Default: both; plain for a model without a template.
    #[arg(long)]
    pub kind: Option<Kind>,
    /// Caches to compare: TYPE, K/V, or either with @MODE (layer-adaptive): turbo4  q8_0/turbo4  turbo2@0
    #[arg(long, value_name = "KV,..", value_delimiter = ',', value_parser = caches::parse, default_value = "f16,turbo4")]
    pub kv: Vec<KvSpec>,
    /// Equal seeds give equal prompts.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Text around the facts instead of generated sentences; repeated where it is too short.
    #[arg(long, value_name = "FILE")]
    pub haystack: Option<PathBuf>,
    /// Ask ready-made needles instead: JSON Lines with `prompt`, `expected`, `ctx`, `kind` (plain or chat) and perhaps
    /// `depth`. Without FILE: the built-in 192, to 8000 tokens.
    #[arg(long, value_name = "FILE", num_args = 0..=1, conflicts_with_all = ["lengths", "depths", "needles", "trials", "kind", "seed", "haystack"])]
    pub set: Option<Option<PathBuf>>,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

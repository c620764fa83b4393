//! The options of `turboquant perplexity`.

use super::EngineArgs;
use super::measure::OutputArgs;
use crate::measuring::caches;
use clap::Args as ClapArgs;
use llama_turboquant::KvSpec;
use std::path::PathBuf;

/// What the help ends with.
const EXAMPLES: &str = "\
Without a text, a model or a cache: the built-in text, the embedded model, f16. Examples:
  turboquant perplexity -m M.gguf -f wiki.txt -ctk q8_0 -ctv turbo4
  turboquant perplexity -m M.gguf -f wiki.txt --kl-divergence --kv q8_0,turbo4,turbo3 --out kl.json
  turboquant perplexity --bars --both --decode-chunks 10    all our caches, both ways, with a verdict

Read the divergence (KLD) before the perplexity: errors of both signs cancel in a perplexity. Compare it with that of q8_0 \
and q4_0 on the same text, and with the noise floor: smaller differences mean nothing.";

#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub struct PerplexityArgs {
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Text to score; without it a built-in one that the embedded model was not trained on. [-f]
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Tokens of a chunk. Its first half is only read, its second half scored. [-c]
    #[arg(short = 'c', long, value_name = "N", default_value_t = 512)]
    pub ctx_size: u32,
    /// Tokens submitted at once; each cache compared holds the logits of so many. [-b]
    #[arg(short, long, value_name = "N", default_value_t = 512)]
    pub batch_size: u32,
    /// Tokens computed in one graph. [-ub]
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub ubatch_size: u32,
    /// Chunks to measure, from the start of the text; -1: all. Default: all, and 20 of the built-in text with
    /// --kl-divergence.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub chunks: Option<i64>,
    /// Spread the chunks over the whole text instead of taking the first ones.
    #[arg(long)]
    pub chunks_spread: bool,
    /// Let windows overlap: one starts every N tokens, and its last N tokens are scored. 0: no overlap.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub ppl_stride: u32,
    /// Type of the K cache; with --kl-divergence, of the candidate. [-ctk]
    #[arg(long, value_name = "TYPE", conflicts_with = "kv")]
    pub cache_type_k: Option<String>,
    /// Type of the V cache, likewise. [-ctv]
    #[arg(long, value_name = "TYPE", conflicts_with = "kv")]
    pub cache_type_v: Option<String>,
    /// Caches to measure, comma-separated: TYPE, K/V, or either with @MODE (layer-adaptive): turbo4,q8_0/turbo4,turbo2@0
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = caches::parse)]
    pub kv: Vec<KvSpec>,
    /// Layer-adaptive mode 0 to 7 of the caches that were named without one. Default: 7 when V is turbo2, else 0.
    #[arg(long, value_name = "MODE", env = "TURBO_LAYER_ADAPTIVE", hide_env_values = true)]
    pub layer_adaptive: Option<String>,
    /// Also measure the cache of this layer map, as written by `turboquant sensitivity`.
    #[arg(long, value_name = "FILE")]
    pub layer_map: Option<PathBuf>,
    /// How far each cache moves the predictions: Kullback-Leibler divergence from the base cache, in one run, without a file.
    #[arg(long)]
    pub kl_divergence: bool,
    /// What the others are compared with.
    #[arg(long, value_name = "KV", default_value = "f16", value_parser = caches::parse)]
    pub kl_base: KvSpec,
    /// One token at a time, as answers are computed (teacher-forced), instead of many, as prompts are.
    #[arg(long, conflicts_with = "both")]
    pub decode: bool,
    /// Both ways, and how far they are from each other.
    #[arg(long)]
    pub both: bool,
    /// Chunks for the part of --both that goes one token at a time, spread over those measured; default: all of them.
    #[arg(long, value_name = "N", requires = "both", value_parser = clap::value_parser!(u32).range(1..))]
    pub decode_chunks: Option<u32>,
    /// Measure the noise floor on N chunks: the base against itself, twice the same way and both ways. On with
    /// --kl-divergence (2 chunks); 0: off.
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "2")]
    pub floor: Option<u32>,
    /// Ranges of the position for which divergence and changed top tokens are shown.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub depth_buckets: u32,
    /// Compare one cache after the other, the base computed anew for each, even where all would fit the memory side by side.
    #[arg(long)]
    pub one_by_one: bool,
    /// Only to answer those who know it from llama-perplexity: there is no file between two runs here.
    #[arg(long, value_name = "FILE", hide = true, alias = "save-all-logits")]
    pub kl_divergence_base: Option<PathBuf>,
    /// Judge the caches by the bars for the embedded model at 512 tokens. Implies --kl-divergence.
    #[arg(long)]
    pub bars: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

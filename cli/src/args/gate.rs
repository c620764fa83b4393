//! Options of `turboquant gate`.

use super::EngineArgs;
use super::measure::OutputArgs;
use crate::measuring::caches;
use clap::{Args as ClapArgs, ValueEnum};
use llama_turboquant::KvSpec;
use std::path::PathBuf;

/// A part of the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Perplexity, KL divergence and same-top-1, batched and one by one; attention outputs.
    Quality,
    /// Needles in a haystack.
    Needle,
    /// Practical prompts.
    Prompts,
    /// A long conversation.
    Session,
    /// Prompt and generation speed, first token, load time, resident memory.
    Speed,
    /// The longest context.
    Ceiling,
}

impl Part {
    /// In this order. Speed is first because it compares resident memory with a prediction: the allocator keeps some of
    /// what other parts have freed, and gives it to whom it likes.
    pub const ALL: [Self; 6] = [
        Self::Speed,
        Self::Quality,
        Self::Needle,
        Self::Prompts,
        Self::Session,
        Self::Ceiling,
    ];
}

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Compares one cache with f16 on the same model and machine, and prints what it must reach, what it reached, and \
a verdict.\nExit code: 0 pass, 1 fail (or an error, which is said), 2 stop. Criteria that could not be run are named with the reason; \
they neither pass nor fail."
)]
pub struct GateArgs {
    #[command(flatten)]
    pub engine: EngineArgs,
    /// The candidate: TYPE, K/V, or either with @MODE.
    #[arg(long, value_name = "KV", value_parser = caches::parse, default_value = "turbo4")]
    pub kv: KvSpec,
    /// Text for the quality part; default: 300 KB held out from the embedded model. [-f]
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Tokens of a chunk of that text. [-c]
    #[arg(short = 'c', long, value_name = "N", default_value_t = 512)]
    pub ctx_size: u32,
    /// Chunks, spread over the text. Default: 24; all with the embedded model, whose bars are for all.
    #[arg(long, value_name = "N")]
    pub chunks: Option<usize>,
    /// Of these, chunks that are also computed one token at a time. Default: 4; 8 with the embedded model.
    #[arg(long, value_name = "N")]
    pub decode_chunks: Option<usize>,
    /// Depths (tokens already in the cache) at which speed is measured; the worst counts.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "0,2048")]
    pub depths: Vec<u32>,
    /// Runs of each speed test.
    #[arg(short, long, value_name = "N", default_value_t = 5)]
    pub repetitions: usize,
    /// Longest needle prompt in tokens.
    #[arg(long, value_name = "N", default_value_t = 32_768)]
    pub needle_ctx: u32,
    /// Conversations of the session part.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub conversations: usize,
    /// Run only these parts.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub only: Vec<Part>,
    /// Also try the ceiling, not only plan it (takes all free memory for a moment).
    #[arg(long)]
    pub trial: bool,
    /// Also write the table as Markdown.
    #[arg(long, value_name = "FILE")]
    pub md: Option<PathBuf>,
    #[command(flatten)]
    pub output: OutputArgs,
}

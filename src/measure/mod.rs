//! Does a compressed cache still predict what an exact one does? Measured on the user's own model and text, without files
//! between the runs and without the command line.
//!
//! [`divergence`] compares caches token by token, [`perplexity`] scores one of them, [`needles`] asks for facts in long
//! prompts, [`prompts`] for practical work, [`session`] holds long conversations, [`throughput`](throughput()) times,
//! [`sensitivity`] asks which layers need the bits, [`ceiling`] how long a context can be, [`gate`] judges, and [`stats`] turns
//! samples into numbers with intervals. Each takes a progress function and stops by the
//! [`CancelToken`](crate::CancelToken) of its options, with what it has measured until then. [`Comparison`] and [`Scoring`]
//! are the same measurements one chunk at a time.
//!
//! ```no_run
//! use llama_turboquant::measure::{Arm, Corpus, Options, Pair, divergence, stats::Bootstrap};
//! use llama_turboquant::{KvCacheConfig, KvType, Model};
//!
//! # fn main() -> llama_turboquant::Result<()> {
//! let model = Model::load("model.gguf")?;
//! let corpus = Corpus::from_text(&model, &std::fs::read_to_string("text.txt")?, 512)?;
//! let arms = [Arm::batched(KvCacheConfig::default()), Arm::batched(KvCacheConfig::uniform(KvType::Turbo4))];
//! let pair = Pair { base: 0, candidate: 1 };
//! let measured = divergence(&model, &corpus, &arms, &[pair], &Options::default(), |_| {})?;
//! let summary = measured.pairs[0].summary(&Bootstrap::default());
//! println!("KL {:.5} nats, same top {:.2} %", summary.kl.estimate, 100.0 * summary.same_top.estimate);
//! # Ok(())
//! # }
//! ```

mod arm;
mod attention;
pub mod ceiling;
mod corpus;
mod depth;
mod divergence;
mod environment;
pub mod gate;
mod latency;
mod needle;
mod perplexity;
mod plan;
pub mod prompts;
mod resident;
mod scores;
mod sensitivity;
pub mod session;
mod statistics;
pub mod stats;
mod throughput;
mod wording;

pub use arm::{Arm, Footprint, Mode, Options};
pub use attention::{AttentionCounts, AttentionMeter, AttentionUse};
pub use corpus::{Chunk, Corpus};
pub use depth::DepthBucket;
pub use divergence::{ChunkScores, Comparison, Divergence, Measurement, Pair, Summary, divergence};
pub use environment::{Environment, Noise, NoiseMeter};
pub use latency::Latency;
pub use needle::{
    Haystack, Needle, NeedleAnswer, NeedleCell, NeedleGrid, NeedleKept, NeedleKind, NeedleQuestion, NeedleRun,
    NeedleScore, needle_questions, needles, parse_needles,
};
pub use perplexity::{Perplexity, Scoring, perplexity};
pub use plan::MemoryPlan;
pub use scores::{TokenScore, compare, nll};
pub use sensitivity::{LayerSensitivity, Sensitivity, Side, allocate, relative_error, sensitivity};
pub use statistics::{Distribution, Estimate, Statistics};
pub use throughput::{
    Contexts, Executor, Facts, Host, Order, Run, Speed, Step, Test, Throughput, ThroughputOptions, Workload, execute,
    throughput,
};

/// How far a measurement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Chunks, prompts or runs that are done.
    pub done: usize,
    /// Of how many.
    pub of: usize,
}

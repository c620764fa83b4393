//! The results of a `perplexity` record; docs/results-format.md describes them.

use llama_turboquant::measure::stats::{Bootstrap, Interval, mean};
use llama_turboquant::measure::{
    DepthBucket, Divergence, Estimate, Footprint, MemoryPlan, Mode, Perplexity, Statistics,
};
use serde::Serialize;

/// Everything measured.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Results {
    /// What the arms are compared with.
    pub base: Option<String>,
    /// By cache and mode.
    pub arms: Vec<ArmResult>,
    /// The base one token at a time against the base in batches: differences below this mean nothing.
    pub floor: Option<ArmResult>,
    /// The base against itself, computed twice the same way.
    pub floor_repeat: Option<ArmResult>,
    /// Memory for all arms side by side.
    pub memory: Option<MemoryPlan>,
    /// Two caches of which one is to beat the other.
    pub paired: Vec<Paired>,
    /// The bars and who met them.
    pub bars: Vec<super::bars::Verdict>,
}

/// One cache in one mode.
#[derive(Debug, Clone, Serialize)]
pub struct ArmResult {
    pub cache: String,
    pub mode: Mode,
    pub bits_per_value: f64,
    /// As allocated.
    pub kv_bytes: u64,
    /// As the budget's arithmetic has it.
    pub kv_bytes_predicted: u64,
    /// Device and kernels of attention, as counted in the warm-up.
    pub attention_on: String,
    pub n_chunks: usize,
    pub n_tokens: usize,
    pub ppl: Interval,
    /// llama-perplexity's value and error.
    pub ppl_estimate: Estimate,
    pub ppl_ratio: Option<Interval>,
    pub kl: Option<Interval>,
    pub kl_p999: Option<f64>,
    pub same_top: Option<Interval>,
    pub flips_by_depth: Vec<f64>,
    pub depth: Vec<DepthBucket>,
    /// What llama-perplexity --kl-divergence prints.
    pub statistics: Option<Statistics>,
    /// Mode decode beside batched: the divergence of this cache filled one by one from the same filled in batches.
    pub kl_between_modes: Option<Interval>,
    /// The samples of the intervals.
    pub chunks: Vec<ChunkResult>,
}

/// Means of a chunk's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ChunkResult {
    /// In the text, from 0.
    pub number: usize,
    pub nll: f64,
    pub nll_base: Option<f64>,
    pub kl: Option<f64>,
    pub same_top: Option<f64>,
}

/// The mean divergence of one cache over that of another, paired by chunk.
#[derive(Debug, Clone, Serialize)]
pub struct Paired {
    pub cache: String,
    pub against: String,
    pub mode: Mode,
    pub kl_ratio: Interval,
    /// Chunks in which the first diverges less.
    pub lower_in: usize,
    pub n_chunks: usize,
}

impl ChunkResult {
    /// Without a base.
    fn alone(number: usize, nll: f64) -> Self {
        Self {
            number,
            nll,
            nll_base: None,
            kl: None,
            same_top: None,
        }
    }
}

impl ArmResult {
    /// Without a base.
    pub fn scored(cache: &str, mode: Mode, numbers: &[usize], perplexity: &Perplexity) -> Self {
        Self {
            n_chunks: perplexity.chunks.len(),
            n_tokens: perplexity.chunks.iter().map(Vec::len).sum(),
            ppl: perplexity.interval(&Bootstrap::default()),
            ppl_estimate: Estimate {
                value: perplexity.value(),
                error: perplexity.standard_error(),
            },
            chunks: numbers
                .iter()
                .zip(&perplexity.chunks)
                .map(|(&number, nll)| ChunkResult::alone(number, mean(nll)))
                .collect(),
            ..Self::empty(cache, mode, &perplexity.footprint)
        }
    }

    /// Against a base.
    pub fn compared(cache: &str, mode: Mode, footprint: &Footprint, pair: &Divergence, buckets: usize) -> Self {
        let summary = pair.summary(&Bootstrap::default());
        let statistics = pair.statistics();
        let depth = pair.by_depth(buckets);
        Self {
            n_chunks: summary.n_chunks,
            n_tokens: summary.n_tokens,
            ppl: summary.ppl,
            ppl_estimate: statistics.ppl,
            ppl_ratio: Some(summary.ppl_ratio),
            kl: Some(summary.kl),
            kl_p999: Some(summary.kl_p999),
            same_top: Some(summary.same_top),
            flips_by_depth: depth.iter().map(|bucket| bucket.flips).collect(),
            depth,
            statistics: Some(statistics),
            chunks: pair
                .chunks
                .iter()
                .map(|chunk| {
                    let of = |value: fn(&llama_turboquant::measure::TokenScore) -> f64| {
                        mean(&chunk.tokens.iter().map(value).collect::<Vec<_>>())
                    };
                    ChunkResult {
                        number: chunk.number,
                        nll: of(|t| t.nll),
                        nll_base: Some(of(|t| t.nll_base)),
                        kl: Some(of(|t| t.kl)),
                        same_top: Some(of(|t| f64::from(u8::from(t.same_top)))),
                    }
                })
                .collect(),
            ..Self::empty(cache, mode, footprint)
        }
    }

    fn empty(cache: &str, mode: Mode, footprint: &Footprint) -> Self {
        let nothing = Interval {
            estimate: f64::NAN,
            low: f64::NAN,
            high: f64::NAN,
        };
        Self {
            cache: cache.to_owned(),
            mode,
            bits_per_value: footprint.bits_per_value,
            kv_bytes: footprint.allocated,
            kv_bytes_predicted: footprint.predicted.total(),
            attention_on: footprint.attention.to_string(),
            n_chunks: 0,
            n_tokens: 0,
            ppl: nothing,
            ppl_estimate: Estimate {
                value: f64::NAN,
                error: f64::NAN,
            },
            ppl_ratio: None,
            kl: None,
            kl_p999: None,
            same_top: None,
            flips_by_depth: Vec::new(),
            depth: Vec::new(),
            statistics: None,
            kl_between_modes: None,
            chunks: Vec::new(),
        }
    }

    /// The base's own row: it has nothing to be compared with.
    pub fn without_base(self) -> Self {
        let alone = |chunk: &ChunkResult| ChunkResult::alone(chunk.number, chunk.nll);
        Self {
            ppl_ratio: None,
            kl: None,
            kl_p999: None,
            same_top: None,
            flips_by_depth: Vec::new(),
            depth: Vec::new(),
            statistics: None,
            chunks: self.chunks.iter().map(alone).collect(),
            ..self
        }
    }

    /// The divergence of each chunk, by its number.
    fn kl_by_chunk(&self) -> impl Iterator<Item = (usize, f64)> {
        self.chunks
            .iter()
            .filter_map(|chunk| chunk.kl.map(|kl| (chunk.number, kl)))
    }

    /// Mean divergence; NaN without a base.
    pub fn mean_kl(&self) -> f64 {
        self.kl.map_or(f64::NAN, |kl| kl.estimate)
    }

    /// Share of the same most probable token; NaN without a base.
    pub fn top(&self) -> f64 {
        self.same_top.map_or(f64::NAN, |same| same.estimate)
    }
}

impl Results {
    /// The arm of a cache in a mode; of the base's two, where it is also a candidate, the compared one.
    pub fn arm(&self, cache: &str, mode: Mode) -> Option<&ArmResult> {
        self.arms.iter().rfind(|arm| arm.cache == cache && arm.mode == mode)
    }

    /// One cache against another, in each mode in which both were measured, over the chunks that both have.
    pub fn pair(&self, cache: &str, against: &str) -> Vec<Paired> {
        let one = |mode| {
            let (a, b) = (self.arm(cache, mode)?, self.arm(against, mode)?);
            let (a, b): (Vec<f64>, Vec<f64>) = a
                .kl_by_chunk()
                .filter_map(|(number, a)| {
                    let (_, b) = b.kl_by_chunk().find(|(other, _)| *other == number)?;
                    Some((a, b))
                })
                .unzip();
            (!a.is_empty()).then(|| Paired {
                cache: cache.to_owned(),
                against: against.to_owned(),
                mode,
                kl_ratio: Bootstrap::default().mean_ratio(&a, &b),
                lower_in: a.iter().zip(&b).filter(|(a, b)| a < b).count(),
                n_chunks: a.len(),
            })
        };
        [Mode::Batched, Mode::Decode].into_iter().filter_map(one).collect()
    }
}

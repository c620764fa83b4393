//! One side of a comparison: a KV cache, and how tokens get into it.

use super::attention::AttentionUse;
use super::corpus::{Corpus, Slice};
use crate::kv::{CacheShape, KvBytes, KvCacheConfig, LayerTypes};
use crate::{Batch, CancelToken, Context, ContextConfig, Error, Model, Result, memory};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// How the tokens of a chunk are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Many at once, as a prompt is. With chunks of at most [`Options::n_batch`] tokens, the whole chunk.
    Batched,
    /// One by one, as an answer is, but with the text's tokens (teacher-forced). Kernels for one query differ from those for
    /// many, and so can their bugs.
    Decode,
}

/// One side of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arm {
    /// Its cache.
    pub kv: KvCacheConfig,
    /// How tokens get into it.
    pub mode: Mode,
}

impl Arm {
    /// Tokens of a chunk at once.
    pub fn batched(kv: KvCacheConfig) -> Self {
        Self {
            kv,
            mode: Mode::Batched,
        }
    }

    /// Tokens one by one.
    pub fn decode(kv: KvCacheConfig) -> Self {
        Self { kv, mode: Mode::Decode }
    }
}

/// What all arms of a measurement have in common.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Threads of each arm; 0: the physical cores this process may use.
    pub n_threads: u32,
    /// Arms computed at the same time. For a small model, several arms on a thread each are faster than one on several, and
    /// do not stall each other on a busy machine.
    pub n_parallel: u32,
    /// Most tokens computed at once. The logits of this many tokens are held for each arm that others are compared with.
    pub n_batch: u32,
    /// Most tokens in one graph of the engine, at most `n_batch`.
    pub n_ubatch: u32,
    /// Stops the measurement.
    pub cancel: Option<CancelToken>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            n_threads: 0,
            n_parallel: 1,
            n_batch: 512,
            n_ubatch: 512,
            cancel: None,
        }
    }
}

impl Options {
    /// `n` arms at the same time, each on `n_threads` threads.
    #[must_use]
    pub fn parallel(mut self, n: u32) -> Self {
        self.n_parallel = n;
        self
    }

    /// Each arm on `n` threads.
    #[must_use]
    pub fn threads(mut self, n: u32) -> Self {
        self.n_threads = n;
        self
    }

    /// At most `n` tokens at once.
    #[must_use]
    pub fn batch(mut self, n: u32) -> Self {
        self.n_batch = n;
        self
    }

    /// At most `n` tokens in one graph.
    #[must_use]
    pub fn ubatch(mut self, n: u32) -> Self {
        self.n_ubatch = n;
        self
    }

    /// Stops when `token` is cancelled.
    #[must_use]
    pub fn cancel(mut self, token: CancelToken) -> Self {
        self.cancel = Some(token);
        self
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(CancelToken::is_cancelled)
    }

    /// Tokens computed at once and in one graph, for chunks of this corpus.
    pub(super) fn batch_sizes(&self, corpus: &Corpus) -> (u32, u32) {
        let n_batch = self.n_batch.clamp(1, corpus.n_ctx());
        (n_batch, self.n_ubatch.clamp(1, n_batch))
    }

    /// Threads for what is not the engine's work.
    pub(super) fn all_threads(&self) -> usize {
        let threads = if self.n_threads == 0 {
            memory::physical_cores()
        } else {
            self.n_threads
        };
        (threads * self.n_parallel.max(1)) as usize
    }
}

/// What an arm's cache takes, and who attends over it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Footprint {
    /// The types of its layers, raised ones included.
    pub layers: Vec<LayerTypes>,
    /// Bytes by the budget's arithmetic.
    pub predicted: KvBytes,
    /// Bytes of the engine's KV buffers.
    pub allocated: u64,
    /// Bits per cached value, scales and raised layers included; rotation matrices, which do not grow with the context, not.
    pub bits_per_value: f64,
    /// Where attention over it is computed; of an arm, by which kernels in its warm-up.
    pub attention: AttentionUse,
}

impl Footprint {
    /// Reads it off a context; nothing is computed.
    ///
    /// # Errors
    /// As [`Context::memory_use`].
    pub fn of(context: &Context) -> Result<Self> {
        let config = context.config();
        let predicted = context.kv_bytes();
        let f16 = KvCacheConfig {
            guard: false,
            ..KvCacheConfig::default()
        };
        let shape = CacheShape {
            n_ctx: config.n_ctx,
            n_ubatch: config.n_ubatch,
            n_seq_max: config.n_seq_max,
            unified: config.kv.unified,
            swa_full: config.kv.swa_full,
        };
        let meta = context.model().meta();
        let values = f16.resolve(meta)?.bytes(meta, &shape).cache() / 2;
        Ok(Self {
            layers: context.kv().layers.clone(),
            predicted,
            allocated: context.memory_use()?.kv.values().sum(),
            bits_per_value: predicted.cache() as f64 * 8.0 / values as f64,
            attention: AttentionUse::of(context)?,
        })
    }
}

/// A context that computes chunks slice by slice and holds the logits of the scored positions of the last slice.
pub(super) struct Runner {
    context: Context,
    mode: Mode,
    batch: Batch,
    n_vocab: usize,
    logits: Vec<f32>,
    footprint: Footprint,
}

impl Runner {
    /// A context, and what it computes with: a first step, before arms run side by side and are counted together.
    pub fn new(model: &Model, arm: &Arm, corpus: &Corpus, options: &Options) -> Result<Self> {
        let (n_batch, n_ubatch) = options.batch_sizes(corpus);
        let mut context = model.context(ContextConfig {
            n_ctx: corpus.n_ctx(),
            n_batch,
            n_ubatch,
            n_threads: options.n_threads,
            kv: arm.kv.clone(),
            ..Default::default()
        })?;
        let mut batch = Batch::new(n_batch as usize);
        let mut footprint = Footprint::of(&context)?;
        let n_tokens = match arm.mode {
            Mode::Batched => n_batch.min(2),
            Mode::Decode => 1,
        };
        for position in 0..n_tokens {
            batch.push(0, position as i32, 0, position + 1 == n_tokens);
        }
        footprint.attention.count(|| context.decode(&batch))?;
        context.set_cancel(options.cancel.clone());
        Ok(Self {
            context,
            mode: arm.mode,
            batch,
            n_vocab: model.meta().n_vocab as usize,
            logits: Vec::new(),
            footprint,
        })
    }

    pub fn footprint(&self) -> &Footprint {
        &self.footprint
    }

    /// Forgets the chunk before.
    pub fn start_chunk(&mut self) {
        self.context.memory().clear();
    }

    /// Computes a slice; afterwards [`rows`](Self::rows) has the logits of its positions in `scored`.
    pub fn run(&mut self, slice: &Slice<'_>, scored: &Range<usize>) -> Result<()> {
        self.logits.clear();
        let at_once = match self.mode {
            Mode::Batched => slice.tokens.len(),
            Mode::Decode => 1,
        };
        for (part, tokens) in slice.tokens.chunks(at_once).enumerate() {
            self.batch.clear();
            let first = slice.position + part * at_once;
            for (i, &token) in tokens.iter().enumerate() {
                self.batch
                    .push(token, (first + i) as i32, 0, scored.contains(&(first + i)));
            }
            self.context.decode(&self.batch)?;
            for i in (0..tokens.len()).filter(|i| scored.contains(&(first + i))) {
                let row = self
                    .context
                    .logits(i)
                    .ok_or_else(|| Error::Engine("the engine returned no logits".into()))?;
                if row.iter().any(|logit| logit.is_nan() || *logit == f32::INFINITY) {
                    let kv = &self.context.config().kv;
                    return Err(Error::Engine(format!(
                        "the logits at position {} are not numbers with a {}/{} cache",
                        first + i,
                        kv.k,
                        kv.v
                    )));
                }
                self.logits.extend_from_slice(row);
            }
        }
        Ok(())
    }

    /// Logits of the scored positions of the last run.
    pub fn rows(&self) -> Rows<'_> {
        Rows {
            logits: &self.logits,
            n_vocab: self.n_vocab,
        }
    }
}

/// The logits of a run, one row per scored position: what other threads may read (a context is not for sharing).
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    logits: &'a [f32],
    n_vocab: usize,
}

impl<'a> Rows<'a> {
    pub fn len(&self) -> usize {
        self.logits.len() / self.n_vocab
    }

    pub fn get(&self, i: usize) -> &'a [f32] {
        &self.logits[i * self.n_vocab..][..self.n_vocab]
    }
}

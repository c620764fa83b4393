//! Perplexity of a text with one cache.

use super::Progress;
use super::arm::{Arm, Footprint, Options, Runner};
use super::corpus::Corpus;
use super::scores::{nll, parallel};
use super::stats::{self, Bootstrap, Interval};
use crate::{Error, Model, Result};

/// Negative log-probabilities of the scored tokens, by chunk.
#[derive(Debug, Clone, PartialEq)]
pub struct Perplexity {
    /// Of each chunk, those of its scored positions.
    pub chunks: Vec<Vec<f64>>,
    /// What the cache takes.
    pub footprint: Footprint,
}

impl Perplexity {
    /// The exponential of the mean.
    pub fn value(&self) -> f64 {
        stats::mean(&self.chunks.concat()).exp()
    }

    /// The error that llama-perplexity prints, which takes all tokens for independent; [`interval`](Self::interval) does not.
    pub fn standard_error(&self) -> f64 {
        self.value() * stats::standard_error(&self.chunks.concat())
    }

    /// The value with a bootstrap over chunks.
    pub fn interval(&self, bootstrap: &Bootstrap) -> Interval {
        let means: Vec<f64> = self.chunks.iter().map(|chunk| stats::mean(chunk)).collect();
        bootstrap.mean(&means).map(f64::exp)
    }
}

/// Scores `corpus` with one cache.
///
/// # Errors
/// As [`Context::new`](crate::Context::new) and [`Context::decode`](crate::Context::decode); [`Error::Cancelled`].
pub fn perplexity(
    model: &Model,
    corpus: &Corpus,
    arm: &Arm,
    options: &Options,
    mut progress: impl FnMut(Progress),
) -> Result<Perplexity> {
    let mut runner = Runner::new(model, arm, corpus, options)?;
    let threads = options.all_threads();
    let mut chunks = Vec::with_capacity(corpus.chunks().len());
    for (done, chunk) in corpus.chunks().iter().enumerate() {
        progress(Progress {
            done,
            of: corpus.chunks().len(),
        });
        runner.start_chunk();
        let mut scores = Vec::with_capacity(corpus.scored().len());
        for slice in corpus.slices(chunk, options.n_batch as usize) {
            if options.is_cancelled() {
                return Err(Error::Cancelled);
            }
            runner.run(&slice, &corpus.scored())?;
            let rows = runner.rows();
            scores.extend(parallel(rows.len(), threads, |i| nll(rows.get(i), slice.targets[i])));
        }
        chunks.push(scores);
    }
    progress(Progress {
        done: chunks.len(),
        of: chunks.len(),
    });
    Ok(Perplexity {
        chunks,
        footprint: runner.footprint()?,
    })
}

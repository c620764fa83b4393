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
    /// What the cache takes, and who attends over it.
    pub footprint: Footprint,
    /// Every chunk of the corpus is there; false after a cancellation.
    pub complete: bool,
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

/// A perplexity that is measured chunk by chunk, for callers that want to see it grow; [`perplexity`] is the loop over it.
pub struct Scoring<'a> {
    runner: Runner,
    corpus: &'a Corpus,
    options: &'a Options,
    result: Perplexity,
}

impl<'a> Scoring<'a> {
    /// Creates the context and warms it up with a token or two; nothing is scored yet.
    ///
    /// # Errors
    /// As [`Context::new`](crate::Context::new) and [`Context::decode`](crate::Context::decode).
    pub fn new(model: &Model, corpus: &'a Corpus, arm: &Arm, options: &'a Options) -> Result<Self> {
        let runner = Runner::new(model, arm, corpus, options)?;
        let footprint = runner.footprint().clone();
        Ok(Self {
            runner,
            corpus,
            options,
            result: Perplexity {
                chunks: Vec::with_capacity(corpus.chunks().len()),
                footprint,
                complete: corpus.chunks().is_empty(),
            },
        })
    }

    /// Scores the next chunk; false when there is none left. A chunk that was not finished leaves no trace in the result.
    ///
    /// # Errors
    /// As [`Context::decode`](crate::Context::decode); [`Error::Engine`] if logits are not numbers; [`Error::Cancelled`].
    pub fn step(&mut self) -> Result<bool> {
        let Some(chunk) = self.corpus.chunks().get(self.result.chunks.len()) else {
            return Ok(false);
        };
        let (threads, scored) = (self.options.all_threads(), self.corpus.scored());
        let mut scores = Vec::with_capacity(scored.len());
        self.runner.start_chunk();
        for slice in self.corpus.slices(chunk, self.options.n_batch as usize) {
            if self.options.is_cancelled() {
                return Err(Error::Cancelled);
            }
            self.runner.run(&slice, &scored)?;
            let rows = self.runner.rows();
            scores.extend(parallel(rows.len(), threads, |i| nll(rows.get(i), slice.targets[i])));
        }
        self.result.chunks.push(scores);
        self.result.complete = self.result.chunks.len() == self.corpus.chunks().len();
        Ok(true)
    }

    /// What is measured so far.
    pub fn result(&self) -> &Perplexity {
        &self.result
    }

    /// The same, without the context.
    pub fn into_result(self) -> Perplexity {
        self.result
    }
}

/// Scores `corpus` with one cache. When it is cancelled, the chunks that are done are the result, and
/// [`complete`](Perplexity::complete) is false.
///
/// # Errors
/// As [`Context::new`](crate::Context::new) and [`Context::decode`](crate::Context::decode); [`Error::Cancelled`] if not one
/// chunk was done.
pub fn perplexity(
    model: &Model,
    corpus: &Corpus,
    arm: &Arm,
    options: &Options,
    mut progress: impl FnMut(Progress),
) -> Result<Perplexity> {
    let mut scoring = Scoring::new(model, corpus, arm, options)?;
    let of = corpus.chunks().len();
    progress(Progress { done: 0, of });
    loop {
        match scoring.step() {
            Ok(true) => progress(Progress {
                done: scoring.result.chunks.len(),
                of,
            }),
            Err(Error::Cancelled) if !scoring.result.chunks.is_empty() => break,
            Ok(false) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(scoring.into_result())
}

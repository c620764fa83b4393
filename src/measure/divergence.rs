//! How far a compressed cache moves a model's predictions: Kullback-Leibler divergence against another cache, token by token.

use super::Progress;
use super::arm::{Arm, Footprint, Options, Runner};
use super::corpus::{Corpus, Slice};
use super::scores::{TokenScore, compare, parallel};
use super::stats::{self, Bootstrap, Interval, Sorted};
use crate::{Error, Model, Result};
use serde::Serialize;
use std::sync::{Mutex, PoisonError};

/// Two arms, by their number, of which the second is judged by the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// The arm taken for the truth.
    pub base: usize,
    /// The arm that is judged.
    pub candidate: usize,
}

/// The scores of one chunk.
#[derive(Debug, Clone, PartialEq)]
pub struct ChunkScores {
    /// Its number in the text.
    pub number: usize,
    /// Its scored tokens, in order.
    pub tokens: Vec<TokenScore>,
}

/// The scores of a pair.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Divergence {
    /// By chunk, in order.
    pub chunks: Vec<ChunkScores>,
}

/// What [`divergence`] measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// What each arm's cache takes, and who attends over it.
    pub arms: Vec<Footprint>,
    /// The scores of each pair.
    pub pairs: Vec<Divergence>,
    /// Every chunk of the corpus is there; false after a cancellation.
    pub complete: bool,
}

/// A comparison that is measured chunk by chunk, for callers that want to see it grow; [`divergence`] is the loop over it.
///
/// All arms run on one model and advance together, slice by slice, so nothing is written to disk; at any time each holds the
/// logits of the scored positions of one slice.
pub struct Comparison<'a> {
    runners: Vec<Runner>,
    corpus: &'a Corpus,
    pairs: &'a [Pair],
    options: &'a Options,
    done: usize,
    result: Measurement,
}

impl<'a> Comparison<'a> {
    /// Creates the contexts of all arms and warms each up with a token or two; nothing is scored yet.
    ///
    /// # Errors
    /// As [`Context::new`](crate::Context::new) and [`Context::decode`](crate::Context::decode); [`Error::Invalid`] for a pair
    /// of arms that are not there.
    pub fn new(
        model: &Model,
        corpus: &'a Corpus,
        arms: &[Arm],
        pairs: &'a [Pair],
        options: &'a Options,
    ) -> Result<Self> {
        if let Some(pair) = pairs.iter().find(|pair| pair.base.max(pair.candidate) >= arms.len()) {
            return Err(Error::Invalid(format!(
                "{pair:?} names an arm that is not among the {}",
                arms.len()
            )));
        }
        let runners: Vec<Runner> = arms
            .iter()
            .map(|arm| Runner::new(model, arm, corpus, options))
            .collect::<Result<_>>()?;
        Ok(Self {
            corpus,
            pairs,
            options,
            done: 0,
            result: Measurement {
                arms: runners.iter().map(Runner::footprint).cloned().collect(),
                pairs: vec![Divergence::default(); pairs.len()],
                complete: corpus.chunks().is_empty(),
            },
            runners,
        })
    }

    /// Compares the next chunk; false when there is none left. A chunk that was not finished leaves no trace in the result.
    ///
    /// # Errors
    /// As [`Context::decode`](crate::Context::decode); [`Error::Engine`] if an arm's logits are not numbers;
    /// [`Error::Cancelled`].
    pub fn step(&mut self) -> Result<bool> {
        let Some(chunk) = self.corpus.chunks().get(self.done) else {
            return Ok(false);
        };
        let (threads, scored) = (self.options.all_threads(), self.corpus.scored());
        self.runners.iter_mut().for_each(Runner::start_chunk);
        let mut scores = vec![Vec::with_capacity(scored.len()); self.pairs.len()];
        for slice in self.corpus.slices(chunk, self.options.n_batch as usize) {
            run_all(&mut self.runners, &slice, self.corpus, self.options)?;
            for (pair, scores) in self.pairs.iter().zip(&mut scores) {
                let (base, candidate) = (self.runners[pair.base].rows(), self.runners[pair.candidate].rows());
                scores.extend(parallel(base.len(), threads, |i| {
                    let position = (slice.first_scored + i) as u32;
                    compare(base.get(i), candidate.get(i), slice.targets[i], position)
                }));
            }
        }
        for (result, tokens) in self.result.pairs.iter_mut().zip(scores) {
            result.chunks.push(ChunkScores {
                number: chunk.number,
                tokens,
            });
        }
        self.done += 1;
        self.result.complete = self.done == self.corpus.chunks().len();
        Ok(true)
    }

    /// What is measured so far.
    pub fn result(&self) -> &Measurement {
        &self.result
    }

    /// The same, without the contexts.
    pub fn into_result(self) -> Measurement {
        self.result
    }
}

/// Compares arms on every chunk of `corpus`, as [`Comparison`] does. When it is cancelled, the chunks that are done are the
/// result, and [`complete`](Measurement::complete) is false.
///
/// # Errors
/// As [`Comparison::new`] and [`Comparison::step`]; [`Error::Cancelled`] if not one chunk was done.
pub fn divergence(
    model: &Model,
    corpus: &Corpus,
    arms: &[Arm],
    pairs: &[Pair],
    options: &Options,
    mut progress: impl FnMut(Progress),
) -> Result<Measurement> {
    let mut comparison = Comparison::new(model, corpus, arms, pairs, options)?;
    let of = corpus.chunks().len();
    progress(Progress { done: 0, of });
    loop {
        match comparison.step() {
            Ok(true) => progress(Progress {
                done: comparison.done,
                of,
            }),
            Err(Error::Cancelled) if comparison.done > 0 => break,
            Ok(false) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(comparison.into_result())
}

/// Computes a slice with every arm, `n_parallel` of them at a time.
fn run_all(runners: &mut [Runner], slice: &Slice<'_>, corpus: &Corpus, options: &Options) -> Result<()> {
    let queue = Mutex::new(runners.iter_mut());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        while let Some(runner) = next() {
            if options.is_cancelled() {
                return Err(Error::Cancelled);
            }
            runner.run(slice, &corpus.scored())?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (1..options.n_parallel).map(|_| scope.spawn(work)).collect();
        let here = work();
        workers
            .into_iter()
            .map(|worker| worker.join().expect("an arm does not panic"))
            .fold(here, Result::and)
    })
}

impl Divergence {
    /// All scored tokens, in order.
    pub fn tokens(&self) -> impl Iterator<Item = &TokenScore> {
        self.chunks.iter().flat_map(|chunk| &chunk.tokens)
    }

    /// The mean of a token's value in each chunk: the samples of a bootstrap over chunks.
    pub fn chunk_means(&self, value: impl Fn(&TokenScore) -> f64) -> Vec<f64> {
        let mean = |chunk: &ChunkScores| stats::mean(&chunk.tokens.iter().map(&value).collect::<Vec<_>>());
        self.chunks.iter().map(mean).collect()
    }

    /// Mean divergence of each chunk.
    pub fn chunk_kl(&self) -> Vec<f64> {
        self.chunk_means(|token| token.kl)
    }

    /// Mean logarithm of the perplexity ratio of each chunk.
    pub fn chunk_ln_ratio(&self) -> Vec<f64> {
        self.chunk_means(|token| token.nll - token.nll_base)
    }

    /// Mean divergence, in nats.
    pub fn mean_kl(&self) -> f64 {
        stats::mean(&self.tokens().map(|token| token.kl).collect::<Vec<_>>())
    }

    /// The share of positions with the same most probable token.
    pub fn same_top(&self) -> f64 {
        self.tokens().filter(|token| token.same_top).count() as f64 / self.tokens().count() as f64
    }

    /// The chunks with these numbers only.
    #[must_use]
    pub fn only(&self, numbers: &[usize]) -> Self {
        Self {
            chunks: self
                .chunks
                .iter()
                .filter(|chunk| numbers.contains(&chunk.number))
                .cloned()
                .collect(),
        }
    }

    /// The numbers that a table shows.
    pub fn summary(&self, bootstrap: &Bootstrap) -> Summary {
        let column = |value: fn(&TokenScore) -> f64| self.tokens().map(value).collect::<Vec<f64>>();
        let kl = Sorted::new(column(|token| token.kl));
        let delta_p = column(TokenScore::delta_p);
        Summary {
            n_chunks: self.chunks.len(),
            n_tokens: delta_p.len(),
            ppl_base: stats::mean(&column(|token| token.nll_base)).exp(),
            ppl: bootstrap.mean(&self.chunk_means(|token| token.nll)).map(f64::exp),
            ppl_ratio: bootstrap.mean(&self.chunk_ln_ratio()).map(f64::exp),
            kl: bootstrap.mean(&self.chunk_kl()),
            kl_median: kl.quantile(0.5),
            kl_p99: kl.quantile(0.99),
            kl_p999: kl.quantile(0.999),
            kl_max: kl.quantile(1.0),
            same_top: bootstrap.mean(&self.chunk_means(|token| f64::from(u8::from(token.same_top)))),
            delta_p_mean: stats::mean(&delta_p),
            delta_p_rms: stats::root_mean_square(&delta_p),
            flips_by_depth: self.flips_by_depth(4),
        }
    }
}

/// The numbers of a pair; intervals by bootstrap over chunks.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)] // names are the field's standard terms; divergences in nats, shares from 0 to 1
pub struct Summary {
    pub n_chunks: usize,
    /// Scored tokens.
    pub n_tokens: usize,
    pub ppl_base: f64,
    pub ppl: Interval,
    /// Candidate over base.
    pub ppl_ratio: Interval,
    pub kl: Interval,
    pub kl_median: f64,
    pub kl_p99: f64,
    pub kl_p999: f64,
    pub kl_max: f64,
    /// Share of positions with the same most probable token.
    pub same_top: Interval,
    pub delta_p_mean: f64,
    pub delta_p_rms: f64,
    /// Share of changed most probable tokens in each quarter of the scored positions.
    pub flips_by_depth: Vec<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(kl: &[f64]) -> Vec<TokenScore> {
        let token = |(i, &kl): (usize, &f64)| TokenScore {
            position: i as u32 + 8,
            nll_base: 2.0,
            nll: 2.5,
            kl,
            same_top: kl < 0.5,
        };
        kl.iter().enumerate().map(token).collect()
    }

    fn divergence() -> Divergence {
        let chunk = |number, kl: &[f64]| ChunkScores {
            number,
            tokens: scores(kl),
        };
        Divergence {
            chunks: vec![chunk(0, &[0.0, 0.1, 0.2, 0.7]), chunk(3, &[0.0, 0.3, 0.8, 0.9])],
        }
    }

    #[test]
    fn summary_of_known_scores() {
        let summary = divergence().summary(&Bootstrap::default());
        assert_eq!((summary.n_chunks, summary.n_tokens), (2, 8));
        assert!(
            (summary.kl.estimate - 0.375).abs() < 1e-12 && (summary.kl.low - 0.25).abs() < 1e-12,
            "{summary:?}"
        );
        assert!((summary.ppl_base - 2.0_f64.exp()).abs() < 1e-12);
        assert!((summary.ppl_ratio.estimate - 0.5_f64.exp()).abs() < 1e-12);
        assert_eq!(summary.same_top.estimate, 5.0 / 8.0);
        assert!((summary.kl_median - 0.25).abs() < 1e-12 && summary.kl_max == 0.9);
        assert_eq!(summary.flips_by_depth, [0.0, 0.0, 0.5, 1.0]);
        assert_eq!(divergence().same_top(), 0.625);
    }

    #[test]
    fn a_subset_of_chunks_is_chosen_by_number() {
        let subset = divergence().only(&[3, 7]);
        assert_eq!(subset.chunks.len(), 1);
        assert!((subset.mean_kl() - 0.5).abs() < 1e-12);
    }

    #[test]
    fn no_scores_give_no_numbers() {
        let empty = Divergence::default();
        assert!(empty.mean_kl().is_nan() && empty.same_top().is_nan());
        assert!(empty.summary(&Bootstrap::default()).kl.estimate.is_nan());
        assert!(empty.flips_by_depth(0).is_empty() && empty.flips_by_depth(2).iter().all(|share| share.is_nan()));
    }
}

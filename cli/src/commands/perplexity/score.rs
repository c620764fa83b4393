//! Perplexity alone: one cache after the other.

use super::results::{ArmResult, Results};
use super::{Run, print};
use crate::measuring::progress::Progress;
use anyhow::Result;
use llama_turboquant::Error;
use llama_turboquant::measure::{Arm, Mode, Scoring};
use std::time::Instant;

/// Scores every cache in every mode; false: interrupted, with what was measured in the record.
///
/// # Errors
/// A cache that this model cannot have, a broken model, [`Error::Cancelled`] before the first chunk is done.
pub fn run(run: &mut Run<'_>) -> Result<bool> {
    let settings = run.settings;
    let mut arms: Vec<ArmResult> = Vec::new();
    for &mode in &settings.modes {
        let corpus = match (mode, settings.decode_chunks) {
            (Mode::Decode, Some(n)) => &run.corpus.spread(n),
            _ => run.corpus,
        };
        let numbers: Vec<usize> = corpus.chunks().iter().map(|chunk| chunk.number).collect();
        for cache in &settings.caches {
            let options = settings.options(1)?.cancel(run.cancel.clone());
            let arm = Arm {
                kv: cache.config.clone(),
                mode,
            };
            let mut scoring = Scoring::new(run.model, corpus, &arm, &options)?;
            run.check_footprint(&cache.name, &scoring.result().footprint);
            let text = !run.sink.json();
            let title = format!("{}, {}", cache.name, print::mode(mode));
            if text {
                println!("{title}:");
            }
            let mut progress = (!text).then(|| Progress::new(title.clone(), numbers.len()));
            let started = Instant::now();
            let outcome = loop {
                match scoring.step() {
                    Ok(true) => {}
                    Ok(false) => break Ok(true),
                    Err(Error::Cancelled) => break Ok(false),
                    Err(error) => break Err(error),
                }
                let result = scoring.result();
                let done = result.chunks.len();
                if let Some(progress) = &mut progress {
                    progress.at(done);
                } else {
                    if done == 1 {
                        print::eta(started.elapsed(), numbers.len());
                    }
                    print::running(done, result.value())?;
                }
                run.keep(|_| {
                    let mut arms = arms.clone();
                    arms.push(ArmResult::scored(&cache.name, mode, &numbers, result));
                    Results {
                        arms,
                        ..Results::default()
                    }
                })?;
            };
            drop(progress);
            if text {
                println!();
            }
            let complete = outcome?;
            let result = scoring.into_result();
            if result.chunks.is_empty() && arms.is_empty() {
                return Err(Error::Cancelled.into());
            }
            if !result.chunks.is_empty() {
                let arm = ArmResult::scored(&cache.name, mode, &numbers, &result);
                if text {
                    print::final_estimate(&arm, complete);
                }
                arms.push(arm);
            }
            run.record.results.arms.clone_from(&arms);
            if !complete {
                return Ok(false);
            }
            run.sink.keep(&run.record)?;
        }
    }
    Ok(true)
}

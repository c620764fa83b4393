//! Needles: what f16 finds in long prompts must still be found.

use super::Gate;
use crate::measuring::progress::Progress;
use anyhow::Result;
use llama_turboquant::measure::gate::{Criterion, rules};
use llama_turboquant::measure::{Haystack, NeedleGrid, NeedleKind, NeedleQuestion, needles};
use llama_turboquant::{Error, KvSpec};

/// Past this length the embedded model finds little with any cache: it was trained on rows of up to so many tokens.
const EMBEDDED: [u32; 4] = [512, 1024, 2048, 4096];
const LENGTHS: [u32; 5] = [8192, 16_384, 32_768, 65_536, 131_072];
const DEPTHS: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];
/// Prompts for each length and depth.
const TRIALS: usize = 2;

/// A grid of lengths and depths, the same prompts for f16 and the candidate.
pub fn run(gate: &Gate<'_>) -> Result<Vec<Criterion>> {
    let trained = gate.model.meta().n_ctx_train;
    let wanted: &[u32] = if gate.engine.file.is_none() {
        &EMBEDDED
    } else {
        &LENGTHS
    };
    let most = trained.min(gate.args.needle_ctx);
    let (lengths, beyond): (Vec<u32>, Vec<u32>) = wanted.iter().partition(|&&length| length <= most);
    if lengths.is_empty() {
        let why = format!("the shortest prompt has {} tokens, the limit is {most}", wanted[0]);
        return Ok(vec![rules::NEEDLE.not_run(why)]);
    }
    let grid = NeedleGrid {
        lengths,
        depths: DEPTHS.to_vec(),
        facts: 1,
        trials: TRIALS,
        kinds: if gate.model.meta().chat_template {
            vec![NeedleKind::Chat, NeedleKind::Plain]
        } else {
            vec![NeedleKind::Plain]
        },
        haystack: Haystack::Generated,
        seed: 1,
    };
    let questions = grid.questions(gate.model)?;
    let caches = [KvSpec::F16, gate.args.kv].map(|spec| gate.engine.cache(spec.config()));
    let options = gate.side_by_side();
    let mut progress = Progress::new("needles", questions.len() * caches.len());
    let run = needles(gate.model, &questions, &caches, &options, |p, _| progress.at(p.done))?;
    if !run.complete {
        return Err(Error::Cancelled.into());
    }
    let all = |_: &NeedleQuestion| true;
    let Some(kept) = run.score(&questions, 1, Some(0), all).kept else {
        return Ok(vec![rules::NEEDLE.not_run("the two caches were not asked the same")]);
    };
    let mut how = format!(
        "{} of the {} that f16 finds among {}, prompts of {:?} tokens; 95 % interval {:.3} .. {:.3}",
        kept.kept,
        kept.base_found,
        questions.len(),
        grid.lengths,
        kept.share.low,
        kept.share.high
    );
    if !beyond.is_empty() {
        how += &format!(
            "; not asked: {beyond:?} (trained with {trained}, --needle-ctx {})",
            gate.args.needle_ctx
        );
    }
    if kept.base_found == 0 {
        return Ok(vec![rules::NEEDLE.not_run(format!("{how}; f16 finds none"))]);
    }
    Ok(vec![
        rules::NEEDLE.measured(kept.kept as f64 / kept.base_found as f64, how),
    ])
}

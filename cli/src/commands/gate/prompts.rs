//! Practical prompts: what f16 answers well must not get lost.

use super::Gate;
use crate::args::prompts::BuiltIn;
use crate::commands::prompts::built_in;
use crate::measuring::progress::Progress;
use anyhow::Result;
use llama_turboquant::measure::Options;
use llama_turboquant::measure::gate::{Criterion, rules};
use llama_turboquant::measure::prompts::{NamedCache, RunOptions, Verdict, run as ask_caches};
use llama_turboquant::{Error, KvSpec};

/// The built-in set that suits the model, asked of f16 and the candidate.
pub fn run(gate: &Gate<'_>) -> Result<Vec<Criterion>> {
    let embedded = gate.engine.file.is_none();
    let (set, name) = built_in(if embedded { BuiltIn::Tiny } else { BuiltIn::Practical })?;
    let caches = [KvSpec::F16, gate.args.kv].map(|spec| NamedCache {
        name: spec.to_string(),
        kv: gate.engine.cache(spec.config()),
    });
    let options = RunOptions::new(
        Options::default()
            .threads(gate.engine.threads)
            .cancel(gate.cancel.clone()),
    );
    let mut progress = Progress::new("prompts", 2 * set.prompts.len());
    let outcomes = ask_caches(gate.model, &set, &caches, &options, |p, _| progress.at(p.done))?;
    if gate.cancel.is_cancelled() {
        return Err(Error::Cancelled.into());
    }
    let Some(summary) = outcomes.summaries().into_iter().next() else {
        return Ok(vec![rules::PROMPTS.not_run("no answers")]);
    };
    let how = format!(
        "{name}: {} of {} decidable prompts kept, {} that f16 fails, {} not run",
        summary.kept, summary.decidable, summary.not_decidable, summary.not_run
    );
    if summary.decidable == 0 {
        return Ok(vec![
            rules::PROMPTS.not_run(format!("{how}; f16 passes none, so nothing can be lost")),
        ]);
    }
    let lost: Vec<&str> = outcomes
        .prompts
        .iter()
        .filter(|prompt| {
            prompt
                .answers
                .iter()
                .any(|answer| answer.verdict == Some(Verdict::Degraded))
        })
        .map(|prompt| prompt.id.as_str())
        .collect();
    let lost = if lost.is_empty() {
        String::new()
    } else {
        format!("; lost: {}", lost.join(", "))
    };
    let share = summary.kept as f64 / summary.decidable as f64;
    Ok(vec![rules::PROMPTS.measured(share, how + &lost)])
}

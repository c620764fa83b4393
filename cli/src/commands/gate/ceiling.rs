//! The longest context of the candidate over f16's.

use super::Gate;
use crate::commands::ceiling;
use anyhow::Result;
use llama_turboquant::KvSpec;
use llama_turboquant::measure::gate::{Criterion, rules};

/// By plan, and with `--trial` by trial.
pub fn run(gate: &Gate<'_>) -> Result<Vec<Criterion>> {
    let Some(budget) = ceiling::available() else {
        return Ok(vec![
            rules::CEILING.not_run("the free memory of this machine cannot be read"),
        ]);
    };
    let n_ubatch = 512;
    let mut longest = Vec::new();
    for spec in [KvSpec::F16, gate.args.kv] {
        let mut row = ceiling::plan(gate.model, gate.engine, spec, n_ubatch, budget)?;
        if let (true, Some(planned)) = (gate.args.trial, row.planned_n_ctx) {
            let trial = ceiling::search(&gate.args.engine, spec, n_ubatch, planned, None, &gate.cancel)?;
            row.tried_n_ctx = trial.n_ctx;
        }
        longest.push(row.tried_n_ctx.or(row.planned_n_ctx));
    }
    let how = if gate.args.trial { "by trial" } else { "by plan" };
    Ok(vec![match longest[..] {
        [Some(f16), Some(candidate)] => rules::CEILING.measured(
            f64::from(candidate) / f64::from(f16),
            format!(
                "{candidate} against {f16} tokens in {} MiB, {how}; the model was trained with {}",
                budget >> 20,
                gate.model.meta().n_ctx_train
            ),
        ),
        _ => rules::CEILING.not_run("not even a short context fits the free memory"),
    }])
}

//! A long conversation: recall must not drift.

use super::Gate;
use crate::measuring::progress::Progress;
use anyhow::Result;
use llama_turboquant::measure::gate::{self, Criterion, rules};
use llama_turboquant::measure::session::{DRIFT_TURN, NO_WORSE, Verdict, script, sessions};
use llama_turboquant::measure::stats::Bootstrap;
use llama_turboquant::{Error, KvSpec};

const TURNS: usize = 50;

/// Conversations of 50 turns with f16 and the candidate.
pub fn run(gate: &Gate<'_>) -> Result<Vec<Criterion>> {
    let scripts = (0..gate.args.conversations)
        .map(|number| script(TURNS, 1, number))
        .collect::<Result<Vec<_>, _>>()?;
    let caches = [KvSpec::F16, gate.args.kv].map(|spec| gate.engine.cache(spec.config()));
    let options = gate.side_by_side();
    let mut progress = Progress::new("conversations", scripts.len());
    let held = sessions(gate.model, &scripts, &caches, &options, |p, _| progress.at(p.done));
    let run = match held {
        Ok(run) if !run.complete => return Err(Error::Cancelled.into()),
        // longer than the model was trained with
        Err(Error::Invalid(why)) => return Ok(vec![rules::SESSION.not_run(why)]),
        held => held?,
    };
    let Some(drift) = run.drift(1, &Bootstrap::default()) else {
        return Ok(vec![
            rules::SESSION.not_run(format!("no turn comes after turn {DRIFT_TURN}")),
        ]);
    };
    let difference = drift.recall_difference;
    let how = format!(
        "{} conversations of {TURNS} turns: {} of {} recalled after turn {DRIFT_TURN}; difference {:.3} ({:.3} .. {:.3}); KL after \
         over before {:.2} ({:.2} .. {:.2}). {NO_WORSE}",
        scripts.len(),
        drift.recall_after.recalled,
        drift.recall_after.asked,
        difference.estimate,
        difference.low,
        difference.high,
        drift.kl_ratio.estimate,
        drift.kl_ratio.low,
        drift.kl_ratio.high
    );
    Ok(vec![Criterion {
        // the session's own rule judges, because it knows the intervals
        verdict: match drift.verdict {
            Verdict::NoWorse => gate::Verdict::Pass,
            Verdict::Worse => gate::Verdict::Fail,
            Verdict::Undecided => gate::Verdict::NotRun,
        },
        pass: None,
        ..rules::SESSION.measured(difference.estimate, how)
    }])
}

//! Ship or stop: what a cache must reach against f16 on the same model and machine, and the rules that judge it. Pure; the
//! measurements come from the other modules.

use crate::KvSpec;
use serde::Serialize;

/// A limit on a measured number.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
}

impl Bound {
    /// Whether `value` keeps it; a number that is none does not.
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }
}

/// The outcome of one criterion, and of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Verdict {
    /// Kept.
    #[serde(rename = "pass")]
    Pass,
    /// Not measured, or nothing to compare with.
    #[serde(rename = "not run")]
    NotRun,
    /// Not good enough to ship.
    #[serde(rename = "fail")]
    Fail,
    /// Bad enough to stop.
    #[serde(rename = "kill")]
    Kill,
}

impl Verdict {
    /// As it is printed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::NotRun => "not run",
            Self::Fail => "FAIL",
            Self::Kill => "KILL",
        }
    }
}

/// What is required of one number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// Stable name.
    pub id: &'static str,
    /// What is measured, and its unit.
    pub what: &'static str,
    /// To ship.
    pub pass: Bound,
    /// Beyond it: stop. `None`: failing is the worst.
    pub kill: Option<Bound>,
}

const fn rule(id: &'static str, what: &'static str, pass: Bound, kill: Option<Bound>) -> Rule {
    Rule { id, what, pass, kill }
}

/// The rules that are the same for every cache. Quality bars by type are [`QualityBar`]'s.
pub mod rules {
    use super::Bound::{AtLeast, AtMost};
    use super::{Rule, rule};

    /// Held-out text.
    pub const PERPLEXITY: Rule = rule(
        "perplexity",
        "perplexity, candidate minus f16",
        AtMost(0.5),
        Some(AtMost(1.0)),
    );
    /// Synthetic layers through the engine's operator.
    pub const ATTENTION: Rule = rule(
        "attention",
        "cosine of attention outputs with f16's, worst layer",
        AtLeast(0.995),
        None,
    );
    /// Needles that f16 finds.
    pub const NEEDLE: Rule = rule(
        "needle",
        "share of the needles f16 finds that are found",
        AtLeast(1.0),
        None,
    );
    /// Practical prompts.
    pub const PROMPTS: Rule = rule(
        "prompts",
        "share of the decidable prompts without degradation",
        AtLeast(0.9),
        None,
    );
    /// A long conversation.
    pub const SESSION: Rule = rule(
        "session",
        "recall after turn 30, candidate minus f16 (shares of the questions)",
        AtLeast(0.0),
        None,
    );
    /// Decode.
    pub const GENERATION: Rule = rule(
        "generation_speed",
        "generation, tokens per second over f16's",
        AtLeast(0.90),
        Some(AtLeast(0.75)),
    );
    /// Prefill.
    pub const PROMPT: Rule = rule(
        "prompt_speed",
        "prompt, tokens per second over f16's",
        AtLeast(0.90),
        Some(AtLeast(0.75)),
    );
    /// Time to first token.
    pub const FIRST_TOKEN: Rule = rule("first_token", "time to first token over f16's", AtMost(1.10), None);
    /// Model and context.
    pub const LOAD: Rule = rule("load", "cold load, seconds more than with f16", AtMost(1.0), None);
    /// Peak memory.
    pub const RESIDENT: Rule = rule(
        "resident_memory",
        "peak resident memory, share off the prediction, worst context length",
        AtMost(0.15),
        None,
    );
    /// The longest context; a candidate that stops before f16 does is out.
    pub const CEILING: Rule = rule(
        "ceiling",
        "context ceiling over f16's",
        AtLeast(2.0),
        Some(AtLeast(1.0)),
    );
}

impl Rule {
    /// The verdict on `value`.
    pub fn judge(&self, value: f64) -> Verdict {
        if !value.is_finite() {
            Verdict::NotRun
        } else if self.pass.holds(value) {
            Verdict::Pass
        } else if self.kill.is_some_and(|kill| !kill.holds(value)) {
            Verdict::Kill
        } else {
            Verdict::Fail
        }
    }

    /// The criterion with its measured value, and what to know about it.
    pub fn measured(&self, value: f64, why: impl Into<String>) -> Criterion {
        Criterion {
            id: self.id.into(),
            what: self.what.into(),
            measured: value.is_finite().then_some(value),
            pass: Some(self.pass),
            kill: self.kill,
            verdict: self.judge(value),
            why: why.into(),
        }
    }

    /// The criterion without a value, and why there is none.
    pub fn not_run(&self, why: impl Into<String>) -> Criterion {
        Criterion {
            verdict: Verdict::NotRun,
            ..self.measured(f64::NAN, why)
        }
    }
}

/// A judged line of the table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Criterion {
    /// Stable name.
    pub id: String,
    /// What is measured, and its unit.
    pub what: String,
    /// The number, if there is one.
    pub measured: Option<f64>,
    /// To ship.
    pub pass: Option<Bound>,
    /// Beyond it: stop.
    pub kill: Option<Bound>,
    /// The outcome.
    pub verdict: Verdict,
    /// How it was measured, intervals, or why it was not.
    pub why: String,
}

/// The verdict on all: the worst of the criteria that ran. What was not run neither passes nor fails, but without any that
/// ran there is no pass.
pub fn overall(criteria: &[Criterion]) -> Verdict {
    let ran = criteria.iter().map(|criterion| criterion.verdict);
    ran.filter(|verdict| *verdict != Verdict::NotRun)
        .max()
        .unwrap_or(Verdict::NotRun)
}

/// What the embedded model's predictions may lose: mean KL divergence in nats and same-top-1 share against f16 on its held-out
/// text in chunks of 512 tokens. On other models a type is held to what llama.cpp's rotated q4_0 loses in the same run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct QualityBar {
    /// Mean KL divergence, at most.
    pub kl: Option<f64>,
    /// Same most probable token, at least.
    pub same_top: Option<f64>,
}

impl QualityBar {
    /// The bar of a cache; of a pair without one of its own, that of its coarser type: more bits may not do worse. `None` for
    /// types without a bar.
    pub fn of(cache: KvSpec) -> Option<Self> {
        let bar = |kl: Option<f64>, same_top: Option<f64>| Some(Self { kl, same_top });
        let (k, v) = (cache.k.name(), cache.v.name());
        match (k, v) {
            ("q8_0", "q8_0") => bar(Some(0.00005), None),
            ("turbo4", "turbo4") => bar(Some(0.0037), Some(0.96)),
            ("turbo3", "turbo3") => bar(Some(0.0150), Some(0.93)),
            ("turbo2", "turbo2") => bar(Some(0.060), Some(0.87)),
            ("q8_0" | "turbo4", "turbo3") => bar(None, Some(0.945)),
            _ => {
                let coarser = if cache.k.bits_per_value() < cache.v.bits_per_value() {
                    cache.k
                } else {
                    cache.v
                };
                let uniform = KvSpec {
                    k: coarser,
                    v: coarser,
                    mode: None,
                };
                (k != v).then(|| Self::of(uniform)).flatten()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_passes_fails_or_kills() {
        let speed = rules::GENERATION;
        for (value, verdict) in [
            (1.3, Verdict::Pass),
            (0.90, Verdict::Pass),
            (0.89, Verdict::Fail),
            (0.75, Verdict::Fail),
            (0.74, Verdict::Kill),
            (f64::NAN, Verdict::NotRun),
        ] {
            assert_eq!(speed.judge(value), verdict, "{value}");
        }
        assert_eq!(rules::PERPLEXITY.judge(0.7), Verdict::Fail);
        assert_eq!(rules::PERPLEXITY.judge(1.01), Verdict::Kill);
        assert_eq!(rules::ATTENTION.judge(0.1), Verdict::Fail, "no kill bound, no kill");
    }

    #[test]
    fn the_worst_verdict_counts_and_what_did_not_run_does_not() {
        let pass = rules::LOAD.measured(0.1, "");
        let fail = rules::LOAD.measured(2.0, "");
        let kill = rules::PROMPT.measured(0.1, "");
        let not_run = rules::NEEDLE.not_run("no reason");
        assert_eq!(overall(&[pass.clone(), not_run.clone()]), Verdict::Pass);
        assert_eq!(overall(&[pass.clone(), fail.clone(), not_run.clone()]), Verdict::Fail);
        assert_eq!(overall(&[pass, kill, fail]), Verdict::Kill);
        assert_eq!(overall(std::slice::from_ref(&not_run)), Verdict::NotRun);
        assert_eq!((not_run.measured, not_run.verdict), (None, Verdict::NotRun));
    }

    #[test]
    fn a_pair_is_held_to_the_bar_of_its_coarser_type() {
        let bar = |text: &str| QualityBar::of(text.parse().unwrap());
        assert_eq!(bar("q8_0/turbo4"), bar("turbo4"));
        assert_eq!(bar("turbo2/turbo4"), bar("turbo2"));
        assert_eq!(bar("turbo4/turbo3").unwrap().same_top, Some(0.945));
        assert_eq!(bar("f16"), None);
        assert_eq!(bar("q4_0"), None);
    }
}

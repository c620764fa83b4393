//! Acceptance of the codec on the machine at hand: the verification checklist of the types, the
//! error they make on random vectors (L0), and what that does to attention (L1). Needs no model.
//!
//! ```no_run
//! use llama_turboquant::{Backend, verify};
//! Backend::init()?;
//! let checks = verify::run(&verify::Plan::detect()?, |_| ());
//! assert!(checks.iter().all(|check| check.passed != Some(false)));
//! # Ok::<(), llama_turboquant::Error>(())
//! ```
//!
//! The bounds are the project's acceptance levels, not what this build happens to reach; `measured`
//! shows how far it stays from them.

mod attention;
mod checklist;
pub mod device;
mod error;
pub mod model;
pub mod rng;
pub mod vectors;

pub use attention::{AttentionAccuracy, attention_accuracy};

use crate::CancelToken;
use crate::engine::codec::{self, Implementation, TurboType};
use crate::error::Result;
use serde::Serialize;

/// Vectors per type for the implementation in use, as the acceptance level asks.
pub const VECTORS: usize = 20_000;

/// Keys of the synthetic attention.
pub const KEYS: usize = 4096;

/// One requirement and what was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// Stable name, `<part>.<what>`.
    pub id: &'static str,
    /// What is checked, in a few words.
    pub title: &'static str,
    /// The bound.
    pub requirement: String,
    /// What was measured, the worst case first.
    pub measured: String,
    /// Whether the bound holds; `None`: skipped, `detail` says why.
    pub passed: Option<bool>,
    /// All single results, one per line.
    pub detail: String,
}

/// What to test, and how much.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The implementation whose errors are measured.
    pub active: Implementation,
    /// The implementations that must agree with the reference to the last bit (the active one is always among them).
    pub compared: Vec<Implementation>,
    /// Names of implementations that this CPU cannot run.
    pub skipped: Vec<String>,
    /// Vectors per type for the error measurements.
    pub vectors: usize,
    /// Keys of the synthetic attention.
    pub keys: usize,
    /// Stops between two groups of checks; what was done by then is returned.
    pub cancel: CancelToken,
}

impl Plan {
    /// Everything this CPU can run, at the sizes the acceptance levels ask for.
    ///
    /// # Errors
    /// If the engine cannot list its implementations.
    pub fn detect() -> Result<Self> {
        let all = Implementation::all()?;
        Ok(Self {
            active: all.active,
            compared: all.runnable,
            skipped: all.skipped,
            vectors: VECTORS,
            keys: KEYS,
            cancel: CancelToken::new(),
        })
    }

    /// The same requirements on a fifth of the vectors and an eighth of the keys.
    #[must_use]
    pub fn quick(self) -> Self {
        Self {
            vectors: VECTORS / 5,
            keys: KEYS / 8,
            ..self
        }
    }

    /// One implementation, named by the user.
    ///
    /// # Errors
    /// If this CPU cannot run it.
    pub fn only(name: &str) -> Result<Self> {
        let active = Implementation::named(name)?;
        Ok(Self {
            compared: vec![active.clone()],
            skipped: Vec::new(),
            active,
            vectors: VECTORS,
            keys: KEYS,
            cancel: CancelToken::new(),
        })
    }
}

type Outcome = Result<Vec<Check>>;
type Group = fn(&Plan, &[TurboType]) -> Outcome;

/// The groups of checks, in the order in which they run: the part's id for a group that cannot run at all.
const GROUPS: [(&str, Group); 9] = [
    ("rotation.structured", checklist::structured),
    ("rotation.involution", checklist::involution),
    ("codebook.lloyd_max", checklist::codebook),
    ("scale.one_fp16", checklist::one_scale),
    ("layout.nothing_else", checklist::nothing_else),
    ("decode.bit_identical", checklist::identical),
    ("error", error::random_vectors),
    ("error.structured", error::structured_vectors),
    ("attention", attention::synthetic),
];

/// Runs all checks; `progress` sees each one as it is done. A check that could not run (the engine
/// reported an error) is a failed one.
pub fn run(plan: &Plan, mut progress: impl FnMut(&Check)) -> Vec<Check> {
    let mut done = Vec::new();
    let types = match codec::types() {
        Ok(types) => types,
        Err(error) => return vec![broken("codec.types", &error)],
    };
    for (id, group) in GROUPS {
        if plan.cancel.is_cancelled() {
            break;
        }
        let checks = group(plan, &types).unwrap_or_else(|error| vec![broken(id, &error)]);
        checks.iter().for_each(&mut progress);
        done.extend(checks);
    }
    done
}

fn broken(id: &'static str, error: &crate::Error) -> Check {
    Check {
        id,
        title: "the engine reported an error",
        requirement: "the check runs".into(),
        measured: error.to_string(),
        passed: Some(false),
        detail: String::new(),
    }
}

/// Collects single results of one check: the verdict is the worst of them.
struct Tally {
    check: Check,
    worst: f64,
    lines: Vec<String>,
}

impl Tally {
    fn new(id: &'static str, title: &'static str, requirement: impl Into<String>) -> Self {
        let check = Check {
            id,
            title,
            requirement: requirement.into(),
            measured: String::new(),
            passed: Some(true),
            detail: String::new(),
        };
        Self {
            check,
            worst: f64::NEG_INFINITY,
            lines: Vec::new(),
        }
    }

    /// `load` is how much of the bound the result uses up: above 1 it fails. The result with the
    /// largest load is the one `measured` shows.
    fn add(&mut self, load: f64, line: String) {
        // a NaN is a failure, and the worst there is
        let load = if load.is_nan() { f64::INFINITY } else { load };
        if load > 1.0 {
            self.check.passed = Some(false);
        }
        if load > self.worst {
            self.worst = load;
            self.check.measured.clone_from(&line);
        }
        self.lines.push(line);
    }

    fn note(&mut self, line: String) {
        self.lines.push(line);
    }

    fn done(mut self) -> Check {
        if self.lines.is_empty() {
            self.check.passed = None;
            self.check.measured = "nothing to measure".into();
        }
        self.check.detail = self.lines.join("\n");
        self.check
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally {
        Tally::new("a.b", "title", "at most 1")
    }

    #[test]
    fn the_worst_result_is_shown_and_decides() {
        let mut tally = tally();
        tally.add(0.5, "fine".into());
        tally.add(1.5, "too much".into());
        tally.add(0.9, "fine too".into());
        let check = tally.done();
        assert_eq!((check.passed, check.measured.as_str()), (Some(false), "too much"));
        assert_eq!(check.detail, "fine\ntoo much\nfine too");
    }

    #[test]
    fn not_a_number_fails() {
        let mut tally = tally();
        tally.add(f64::NAN, "nonsense".into());
        assert_eq!(tally.done().passed, Some(false));
    }

    #[test]
    fn nothing_measured_is_skipped_not_passed() {
        assert_eq!(tally().done().passed, None);
    }
}

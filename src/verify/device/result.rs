//! What came out of a cell, and of a device.

use super::cells::{Cell, Registry};
use super::claims::Claims;
use crate::engine::DeviceInfo;
use serde::Serialize;

/// What one cell's runs found.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The device does not run it.
    Refused,
    /// It ran.
    Ran {
        /// Blocks of a codec, or problems of attention.
        compared: usize,
        /// Blocks that differ in a draw ([`BlockMatch::Tie`](super::compare::BlockMatch::Tie)).
        ties: usize,
        /// Largest relative error; `None` where results are compared exactly.
        error: Option<f64>,
        /// What is wrong, one line each.
        wrong: Vec<String>,
    },
}

impl Verdict {
    pub(super) fn exact(compared: usize, ties: usize, wrong: Vec<String>) -> Self {
        Self::Ran {
            compared,
            ties,
            error: None,
            wrong,
        }
    }

    /// Both together. Of a cell's runs either all are refused or none: one that is refused alone is wrong.
    pub(super) fn and(self, other: Self) -> Self {
        use Verdict::{Ran, Refused};
        match (self, other) {
            (Refused, Refused) => Refused,
            (
                Refused,
                Ran {
                    compared,
                    ties,
                    error,
                    mut wrong,
                },
            )
            | (
                Ran {
                    compared,
                    ties,
                    error,
                    mut wrong,
                },
                Refused,
            ) => {
                wrong.push("one of its runs was refused, another was not".into());
                Ran {
                    compared,
                    ties,
                    error,
                    wrong,
                }
            }
            (
                Ran {
                    compared,
                    ties,
                    error,
                    mut wrong,
                },
                Ran {
                    compared: compared_2,
                    ties: ties_2,
                    error: error_2,
                    wrong: wrong_2,
                },
            ) => {
                wrong.extend(wrong_2);
                Ran {
                    compared: compared + compared_2,
                    ties: ties + ties_2,
                    error: error.into_iter().chain(error_2).reduce(f64::max),
                    wrong,
                }
            }
        }
    }
}

/// How a cell ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It ran and is right.
    Passed,
    /// It is wrong, or refused although this build claims it, or was left out.
    Failed,
    /// The device does not run it, and nobody said it would.
    Refused,
    /// Somebody stopped the work before.
    NotRun,
}

/// A cell and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CellResult {
    /// Which.
    #[serde(flatten)]
    pub cell: Cell,
    /// How it ended.
    pub outcome: Outcome,
    /// Blocks of a codec, or problems of attention, that were compared.
    pub compared: usize,
    /// Of those, draws.
    pub ties: usize,
    /// Largest relative error of attention.
    pub error: Option<f64>,
    /// The bound on it.
    pub bound: Option<f64>,
    /// What is wrong, one line each, the first few.
    pub wrong: Vec<String>,
}

/// Lines about one cell; a broken kernel gets every block wrong.
const MOST_LINES: usize = 4;

impl CellResult {
    /// The verdict beside what the build claims.
    pub(super) fn judge(cell: Cell, verdict: Verdict, claimed: bool, bound: Option<f64>) -> Self {
        let (outcome, compared, ties, error, mut wrong) = match verdict {
            Verdict::Refused if claimed => {
                let why = "the device refuses it, and this build claims it".to_owned();
                (Outcome::Failed, 0, 0, None, vec![why])
            }
            Verdict::Refused => (Outcome::Refused, 0, 0, None, Vec::new()),
            Verdict::Ran {
                compared,
                ties,
                error,
                wrong,
            } => {
                // a cell that compared nothing proves nothing
                let right = wrong.is_empty() && compared > 0;
                let outcome = if right { Outcome::Passed } else { Outcome::Failed };
                (outcome, compared, ties, error, wrong)
            }
        };
        let more = wrong.len().saturating_sub(MOST_LINES);
        if more > 0 {
            wrong.truncate(MOST_LINES);
            wrong.push(format!("and {more} more"));
        }
        Self {
            cell,
            outcome,
            compared,
            ties,
            error,
            bound,
            wrong,
        }
    }

    /// A cell that has no result.
    fn missing(cell: Cell, stopped: bool) -> Self {
        let (outcome, wrong) = if stopped {
            (Outcome::NotRun, Vec::new())
        } else {
            (Outcome::Failed, vec!["it is registered, and nothing ran it".to_owned()])
        };
        Self {
            cell,
            outcome,
            compared: 0,
            ties: 0,
            error: None,
            bound: None,
            wrong,
        }
    }
}

/// How many cells ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Right.
    pub passed: usize,
    /// Wrong.
    pub failed: usize,
    /// Not run by the device, and not claimed.
    pub refused: usize,
    /// Stopped before.
    pub not_run: usize,
    /// Draws among the blocks.
    pub ties: usize,
    /// Blocks and problems compared.
    pub compared: usize,
}

/// A device and its cells, every registered one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeviceReport {
    /// Which device.
    pub device: DeviceInfo,
    /// What this build claims of it, in words.
    pub claims: String,
    /// In the registry's order.
    pub cells: Vec<CellResult>,
}

impl DeviceReport {
    /// Puts the results into the registry's order. A registered cell without a result failed, unless the work was stopped.
    #[must_use]
    pub fn complete(
        device: DeviceInfo,
        claims: &Claims,
        registry: &Registry,
        mut results: Vec<CellResult>,
        stopped: bool,
    ) -> Self {
        let cells = registry.cells().into_iter().map(|cell| {
            let found = results.iter().position(|result| result.cell == cell);
            found.map_or_else(|| CellResult::missing(cell, stopped), |i| results.swap_remove(i))
        });
        Self {
            device,
            claims: claims.text(),
            cells: cells.collect(),
        }
    }

    /// How many cells ended how.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for cell in &self.cells {
            match cell.outcome {
                Outcome::Passed => counts.passed += 1,
                Outcome::Failed => counts.failed += 1,
                Outcome::Refused => counts.refused += 1,
                Outcome::NotRun => counts.not_run += 1,
            }
            counts.ties += cell.ties;
            counts.compared += cell.compared;
        }
        counts
    }

    /// The cells that failed.
    pub fn failures(&self) -> impl Iterator<Item = &CellResult> {
        self.cells.iter().filter(|cell| cell.outcome == Outcome::Failed)
    }
}

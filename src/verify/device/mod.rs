//! Every registered kernel, run on a device through the engine's own graphs and compared with the codec's definition and with
//! float64 attention.
//!
//! ```no_run
//! use llama_turboquant::engine::device_probe::Probe;
//! use llama_turboquant::verify::device::{self, Plan, Registry};
//! use llama_turboquant::{Backend, CancelToken};
//! let backend = Backend::init()?;
//! let registry = Registry::of_engine()?;
//! for (number, info) in backend.devices()?.into_iter().enumerate() {
//!     let plan = Plan { quick: true, cancel: CancelToken::new() };
//!     let report = device::check(info, &mut Probe::open(number, 4)?, &registry, &plan, |_, _| ())?;
//!     assert_eq!(report.failures().count(), 0);
//! }
//! # Ok::<(), llama_turboquant::Error>(())
//! ```

mod attention;
mod cells;
mod claims;
pub mod compare;
mod result;
mod rows;

pub use cells::{Cell, MANY_QUERIES, Registry, RowsKind, head_name};
pub use claims::Claims;
pub use result::{CellResult, Counts, DeviceReport, Outcome, Verdict};

use crate::engine::codec::Implementation;
use crate::engine::device_probe::{Probe, RowsShape};
use crate::engine::probe::AttentionShape;
use crate::error::Result;
use crate::{CancelToken, DeviceInfo};
use attention::Instance;
use std::collections::HashMap;

/// Runs single operators: a [`Probe`], or in tests one that spoils what a probe returns.
pub trait Operators {
    /// As [`Probe::rows`].
    ///
    /// # Errors
    /// As there.
    fn rows(&mut self, shape: &RowsShape, from: &[u8], ids: &[i32], to: &mut [u8]) -> Result<bool>;

    /// As [`Probe::attend`].
    ///
    /// # Errors
    /// As there.
    fn attend(
        &mut self,
        shape: &AttentionShape,
        q: &[f32],
        k: &[u8],
        v: &[u8],
        mask: Option<&[f32]>,
        sinks: Option<&[f32]>,
    ) -> Result<Option<Vec<f32>>>;
}

impl Operators for Probe {
    fn rows(&mut self, shape: &RowsShape, from: &[u8], ids: &[i32], to: &mut [u8]) -> Result<bool> {
        Probe::rows(self, shape, from, ids, to)
    }

    fn attend(
        &mut self,
        shape: &AttentionShape,
        q: &[f32],
        k: &[u8],
        v: &[u8],
        mask: Option<&[f32]>,
        sinks: Option<&[f32]>,
    ) -> Result<Option<Vec<f32>>> {
        Probe::attend(self, shape, q, k, v, mask, sinks)
    }
}

/// How much to check.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Every kernel, but fewer problems for each.
    pub quick: bool,
    /// Stops the check between two operators.
    pub cancel: CancelToken,
}

impl Plan {
    /// Random blocks for each operator that moves rows, besides the edge vectors.
    fn random_blocks(&self) -> usize {
        if self.quick { 24 } else { 2000 }
    }
}

/// How far a check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Operators run.
    pub done: usize,
    /// Of so many.
    pub total: usize,
}

/// Runs every cell of the registry on one device. `progress` sees each operator before it runs: a driver that ends the process
/// has its culprit named. When the plan is cancelled, the rest of the cells is [`Outcome::NotRun`].
///
/// # Errors
/// Only what concerns no cell: a registry that does not fit the engine, a device that cannot even say what it runs.
pub fn check(
    info: DeviceInfo,
    device: &mut dyn Operators,
    registry: &Registry,
    plan: &Plan,
    progress: impl FnMut(Progress, &Cell),
) -> Result<DeviceReport> {
    // only Metal's answer means something, and only Metal is asked
    let matrices = Claims::depend_on_matrices(&info.backend) && attention::runs_plain(device, &registry.kernels)?;
    let claims = Claims::of(&info.backend, matrices);
    let problems = attention::problems(plan.quick);
    let of_rows = registry.types.len() * RowsKind::ALL.len();
    let of_attention = registry.kernels.heads.len() * registry.pairs().len() * problems.len();
    let mut run = Run {
        device,
        registry,
        plan,
        claims: &claims,
        bounds: attention::Bounds::of(info.backend == "CPU")?,
        position: Progress {
            done: 0,
            total: of_rows + of_attention,
        },
        progress,
        results: Vec::new(),
    };
    let finished = run.rows()? && run.attention(&problems)?;
    let results = run.results;
    Ok(DeviceReport::complete(info, &claims, registry, results, !finished))
}

struct Run<'a, F> {
    device: &'a mut dyn Operators,
    registry: &'a Registry,
    plan: &'a Plan,
    claims: &'a Claims,
    bounds: attention::Bounds,
    position: Progress,
    progress: F,
    results: Vec<CellResult>,
}

/// An engine that reports an error is one more wrong result.
fn or_wrong(verdict: Result<Verdict>) -> Verdict {
    verdict.unwrap_or_else(|error| Verdict::exact(0, 0, vec![error.to_string()]))
}

impl<F: FnMut(Progress, &Cell)> Run<'_, F> {
    /// Announces a step; false when somebody wants to stop.
    fn step(&mut self, cell: &Cell) -> bool {
        if self.plan.cancel.is_cancelled() {
            return false;
        }
        (self.progress)(self.position, cell);
        self.position.done += 1;
        true
    }

    fn rows(&mut self) -> Result<bool> {
        let all = Implementation::all()?;
        // the definition; the others are compared with it by another check
        let reference = Implementation::named("scalar").unwrap_or(all.active);
        for ty in &self.registry.types {
            for rows in RowsKind::ALL {
                let name = ty.name.clone();
                let cell = Cell::Rows { rows, ty: name };
                if !self.step(&cell) {
                    return Ok(false);
                }
                let verdict = if self.claims.allow(&cell) {
                    or_wrong(rows::check(
                        self.device,
                        &reference,
                        ty,
                        rows,
                        self.plan.random_blocks(),
                    ))
                } else {
                    Verdict::Refused
                };
                let claimed = self.claims.include(&cell);
                self.results.push(CellResult::judge(cell, verdict, claimed, None));
            }
        }
        Ok(true)
    }

    /// Problem by problem, so that a cache is packed once for all pairs.
    fn attention(&mut self, problems: &[attention::Problem]) -> Result<bool> {
        let (operands, pairs) = (self.registry.operands(), self.registry.pairs());
        for &head in &self.registry.kernels.heads {
            let mut verdicts: HashMap<Cell, Verdict> = HashMap::new();
            for problem in problems {
                let many = problem.is_many();
                let bound = self.bounds.bound(many);
                let instance = Instance::new(*problem, head, &operands, &self.registry.types)?;
                let mut weights = None;
                for (k, v) in &pairs {
                    let cell = Cell::Attention {
                        k: k.clone(),
                        v: v.clone(),
                        head,
                        many,
                    };
                    if !self.step(&cell) {
                        return Ok(false);
                    }
                    // pairs come ordered by K
                    if weights.as_ref().is_none_or(|(name, _)| name != k) {
                        weights = instance.weights(k).map(|weights| (k.clone(), weights));
                    }
                    let verdict = match &weights {
                        Some((_, weights)) => or_wrong(instance.check(self.device, weights, v, bound)),
                        None => Verdict::exact(0, 0, vec![format!("{k}: no such type")]),
                    };
                    let verdict = match verdicts.remove(&cell) {
                        Some(before) => before.and(verdict),
                        None => verdict,
                    };
                    verdicts.insert(cell, verdict);
                }
            }
            for (cell, verdict) in verdicts {
                let claimed = self.claims.include(&cell);
                let many = matches!(cell, Cell::Attention { many: true, .. });
                let bound = Some(self.bounds.bound(many));
                self.results.push(CellResult::judge(cell, verdict, claimed, bound));
            }
        }
        Ok(true)
    }
}

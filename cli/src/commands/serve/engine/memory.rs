//! Whether a model fits the memory, before any of it is taken.

use crate::auto::Auto;
use crate::settings::{ModelSettings, human_bytes};
use llama_turboquant::Error;
use llama_turboquant::machine::Machine;
use llama_turboquant::plan::{MemoryPlan, Share};

/// The memory plan of one model, loaded with certain settings.
#[derive(Clone, Debug)]
pub(super) struct Plan(MemoryPlan);

impl Plan {
    /// Has the engine plan the context.
    ///
    /// # Errors
    /// A KV cache that the model cannot have.
    pub(super) fn new(auto: &mut Auto, settings: &ModelSettings, machine: &Machine) -> Result<Self, Error> {
        auto.plan(settings, 0, machine).map(Self)
    }

    /// All that the model takes; the program has its own memory already.
    pub(super) fn total(&self) -> u64 {
        self.0.model_bytes()
    }

    /// What the engine takes beyond the buffers that it reports: for its threads, for what comes out, for tables of the cells.
    pub(super) fn scratch(&self) -> u64 {
        let of = |share: &Share| share.compute.saturating_add(share.cells);
        self.0.pools.iter().map(|pool| of(&pool.share)).sum()
    }

    /// Whether it fits `available` bytes; memory that the system does not tell of counts as enough.
    pub(super) fn fits(&self, available: Option<u64>) -> bool {
        available.is_none_or(|available| self.total() <= available)
    }

    /// What it needs, in words.
    pub(super) fn describe(&self) -> String {
        let sum = |pick: fn(&Share) -> u64| self.0.pools.iter().map(|pool| pick(&pool.share)).sum::<u64>();
        let projector = match sum(|share| share.projector) {
            0 => String::new(),
            bytes => format!(", {} projector", human_bytes(bytes)),
        };
        format!(
            "{} ({} weights, {} KV cache of {} tokens, {} scratch{projector})",
            human_bytes(self.total()),
            human_bytes(sum(|share| share.weights)),
            human_bytes(sum(|share| share.kv.saturating_add(share.recurrent))),
            self.0.n_ctx,
            human_bytes(self.scratch())
        )
    }
}

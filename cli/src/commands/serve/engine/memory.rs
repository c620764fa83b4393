//! Whether a model fits the memory, before any of it is taken.

use crate::embedded;
use crate::settings::{ModelSettings, human_bytes};
use llama_turboquant::Error;
use llama_turboquant::machine::Machine;
use llama_turboquant::plan::{Footprint, MemoryPlan, Setup, Share};

/// The memory plan of one model, loaded with certain settings.
#[derive(Clone, Debug)]
pub(super) struct Plan(MemoryPlan);

impl Plan {
    /// Reads the file without its weights and has the engine plan the context.
    ///
    /// # Errors
    /// A file that is no model, or a KV cache that the model cannot have.
    pub(super) fn new(settings: &ModelSettings) -> Result<Self, Error> {
        let (engine, context) = (&settings.engine, &settings.context);
        let path = match &engine.file {
            Some(file) => file.clone(),
            None => embedded::path().map_err(|error| Error::Engine(format!("{error:#}")))?,
        };
        let (mut footprint, model) = Footprint::open(path, engine.gpu_layers)?;
        let machine = Machine::detect()?;
        let n_ctx = match context.n_ctx {
            0 => footprint.meta.n_ctx_train,
            n_ctx => n_ctx,
        };
        let mut refused = None;
        for kv in settings.caches() {
            let setup = Setup {
                n_ctx,
                kv,
                ..Setup::of(context, engine.gpu_layers)
            };
            match footprint.learn(&model, &setup) {
                Ok(()) => return MemoryPlan::new(&footprint, &setup, &machine).map(Self),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        Err(refused.unwrap_or_else(|| Error::Invalid("no KV type to try".into())))
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
        format!(
            "{} ({} weights, {} KV cache of {} tokens, {} scratch)",
            human_bytes(self.total()),
            human_bytes(sum(|share| share.weights)),
            human_bytes(sum(|share| share.kv.saturating_add(share.recurrent))),
            self.0.n_ctx,
            human_bytes(self.scratch())
        )
    }
}

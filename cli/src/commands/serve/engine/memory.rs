//! Whether a model fits the memory, before any of it is taken.

use super::heads::Head;
use crate::settings::{ModelSettings, human_bytes};
use llama_turboquant::Error;
use llama_turboquant::kv::CacheShape;
use llama_turboquant::vision::ProjectorPlan;

/// Bytes a model is planned to occupy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Its files, LoRA adapters among them: what is mapped has to be in memory to be fast.
    weights: u64,
    /// Its KV cache, exact to the byte.
    kv: u64,
    /// An estimate of the scratch buffers. The largest holds the scores of the tokens that are computed at once; activations
    /// are of the same order.
    scratch: u64,
    /// Its projector, weights and buffers; 0: none.
    projector: u64,
    n_ctx: u32,
}

impl Plan {
    /// For a model with files of `size` bytes, loaded with these settings.
    ///
    /// # Errors
    /// A KV cache that the model cannot have.
    pub(super) fn new(
        head: &Head,
        size: u64,
        settings: &ModelSettings,
        projector: Option<&ProjectorPlan>,
    ) -> Result<Self, Error> {
        let (meta, context) = (&head.meta, &settings.context);
        let n_ctx = match context.n_ctx {
            0 => meta.n_ctx_train,
            n_ctx => n_ctx,
        };
        let mut refused = None;
        for kv in settings.caches() {
            let resolved = match kv.resolve(meta) {
                Ok(resolved) => resolved,
                Err(error) => {
                    refused = Some(error);
                    continue;
                }
            };
            let shape = CacheShape {
                n_ctx,
                n_ubatch: context.n_ubatch.min(context.n_batch),
                n_seq_max: context.n_seq_max,
                unified: kv.unified,
                swa_full: kv.swa_full,
            };
            let row = u64::from(meta.n_vocab) + 4 * u64::from(meta.n_embd);
            return Ok(Self {
                weights: size.saturating_add(settings.loras.size()),
                kv: resolved.bytes(meta, &shape).total(),
                scratch: u64::from(shape.n_ubatch) * row * size_of::<f32>() as u64,
                projector: projector.map_or(0, ProjectorPlan::bytes),
                n_ctx,
            });
        }
        Err(refused.unwrap_or_else(|| Error::Invalid("no KV type to try".into())))
    }

    /// All of it.
    pub(super) fn total(&self) -> u64 {
        let parts = [self.kv, self.scratch, self.projector];
        parts.into_iter().fold(self.weights, u64::saturating_add)
    }

    /// Whether it fits `available` bytes; memory that the system does not tell of counts as enough.
    pub(super) fn fits(&self, available: Option<u64>) -> bool {
        available.is_none_or(|available| self.total() <= available)
    }

    /// What it needs, in words.
    pub(super) fn describe(&self) -> String {
        let projector = match self.projector {
            0 => String::new(),
            bytes => format!(", {} projector", human_bytes(bytes)),
        };
        format!(
            "{} ({} weights, {} KV cache of {} tokens, {} scratch{projector})",
            human_bytes(self.total()),
            human_bytes(self.weights),
            human_bytes(self.kv),
            self.n_ctx,
            human_bytes(self.scratch)
        )
    }
}

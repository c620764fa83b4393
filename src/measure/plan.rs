//! Whether the arms of a comparison fit the memory together.

use super::arm::{Arm, Options};
use super::corpus::Corpus;
use crate::kv::CacheShape;
use crate::{Backend, Model, Result, memory};
use serde::Serialize;

/// What arms need at the same time, and what there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemoryPlan {
    /// Bytes of all arms: caches, and logits as the engine and the measurement hold them.
    pub need: u64,
    /// Bytes that can be taken now; `None` where the system does not tell.
    pub available: Option<u64>,
}

impl MemoryPlan {
    /// For `arms` on `corpus`; nothing is allocated.
    ///
    /// # Errors
    /// A cache that this model cannot have.
    pub fn new(model: &Model, corpus: &Corpus, arms: &[Arm], options: &Options) -> Result<Self> {
        let meta = model.meta();
        let (n_batch, n_ubatch) = options.batch_sizes(corpus);
        // one copy of a batch here, one in the engine's output buffer, one of a part in the compute buffer
        let rows = (2 * u64::from(n_batch)).saturating_add(u64::from(n_ubatch));
        let logits = rows * u64::from(meta.n_vocab) * size_of::<f32>() as u64;
        let mut need = 0;
        for arm in arms {
            let shape = CacheShape {
                n_ctx: corpus.n_ctx(),
                n_ubatch,
                n_seq_max: 1,
                unified: arm.kv.unified,
                swa_full: arm.kv.swa_full,
            };
            need += arm.kv.resolve(meta)?.bytes(meta, &shape).total() + logits;
        }
        Ok(Self {
            need,
            available: memory::available_bytes(&Backend::init()?.devices()?),
        })
    }

    /// Whether they fit with a tenth to spare for activations, which are not counted. Unknown memory counts as enough: each
    /// context is checked again when it is made.
    pub fn fits(&self) -> bool {
        self.available.is_none_or(|available| self.need <= available / 10 * 9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_is_kept_free() {
        let plan = |need, available| MemoryPlan { need, available }.fits();
        assert!(plan(900, Some(1000)) && !plan(901, Some(1000)) && plan(u64::MAX, None));
    }
}

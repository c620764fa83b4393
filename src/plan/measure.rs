//! The proof of a plan: what the engine allocates, and what the process occupies at most.

use super::Setup;
use crate::engine::MemoryUse;
use crate::{Batch, Context, Model, Result, memory};
use serde::Serialize;

/// What a model and a filled context took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Allocated {
    /// Buffers, as the engine reports them.
    pub buffers: MemoryUse,
    /// The most this process has occupied of main memory since it began; `None` where the system does not tell.
    pub peak_resident: Option<u64>,
    /// What it occupied before the context was filled and computed anything.
    pub resident_loaded: Option<u64>,
}

impl Allocated {
    /// Creates the context of `setup` on a loaded model, computes as many tokens as it has cells, and looks at what that took.
    /// Takes as long as a prompt of that length. The engine reserves room for the scores of a whole ubatch, which only a setup that
    /// asks for them (`n_outputs` of `n_ubatch`) touches: a process that asks for one at a time is seen to occupy less.
    ///
    /// # Errors
    /// As [`Context::new`] and [`Context::decode`].
    pub fn measure(model: &Model, setup: &Setup) -> Result<Self> {
        let mut context = model.context(setup.context())?;
        let resident_loaded = memory::resident();
        fill(&mut context, setup)?;
        Ok(Self {
            buffers: context.memory_use()?,
            peak_resident: memory::peak_resident(),
            resident_loaded,
        })
    }

    /// Bytes of all buffers.
    pub fn total(&self) -> u64 {
        let buffers = [&self.buffers.model, &self.buffers.kv, &self.buffers.compute];
        buffers.iter().flat_map(|part| part.values()).sum()
    }
}

/// Computes tokens until every cell holds one, a ubatch at a time.
fn fill(context: &mut Context, setup: &Setup) -> Result<()> {
    let n_vocab = context.model().meta().n_vocab.max(1);
    let each = if setup.kv.unified {
        setup.n_ctx / setup.n_slots
    } else {
        context.n_ctx_seq()
    };
    for slot in 0..setup.n_slots {
        let mut done = 0;
        while done < each {
            let count = (each - done).min(setup.n_ubatch);
            let mut batch = Batch::new(count as usize);
            for position in done..done + count {
                let token = (position.wrapping_mul(7919).wrapping_add(slot)) % n_vocab;
                let asks = position + setup.n_outputs >= done + count;
                batch.push(token.cast_signed(), position.cast_signed(), slot.cast_signed(), asks);
            }
            context.decode(&batch)?;
            done += count;
        }
    }
    Ok(())
}

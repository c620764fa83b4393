//! Models and machines of the tests.

use crate::ModelMeta;
use crate::plan::{Estimate, Footprint};

/// An invented model whose layers all have full attention.
pub(super) fn meta(layers: u32, kv_heads: u32, head_dim: u32) -> ModelMeta {
    footprint(1.0, layers, kv_heads, head_dim).meta
}

/// The same with weights of this many GiB.
pub(super) fn footprint(gib: f64, layers: u32, kv_heads: u32, head_dim: u32) -> Footprint {
    let mut footprint = Footprint::estimated(&Estimate {
        model_bytes: (gib * f64::from(1 << 30)) as u64,
        layers,
        kv_heads,
        head_dim,
        n_vocab: 0,
        n_embd: 0,
    })
    .unwrap();
    footprint.program = 64 << 20; // the test program's own size is none of theirs
    footprint
}

//! Bytes of a KV cache before it exists. The numbers equal what the engine allocates, to the byte
//! (`tests/kv_memory.rs`).

use super::{KvType, ResolvedKv};
use crate::engine::{LayerMeta, ModelMeta};

/// The settings of a context that decide how many cells its caches have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheShape {
    /// Cells asked for, all sequences together.
    pub n_ctx: u32,
    /// Largest number of tokens computed at once.
    pub n_ubatch: u32,
    /// Sequences.
    pub n_seq_max: u32,
    /// One buffer shared by all sequences.
    pub unified: bool,
    /// Full-size caches for sliding-window layers too.
    pub swa_full: bool,
}

/// Bytes of a context's memory, by purpose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct KvBytes {
    /// Keys.
    pub k: u64,
    /// Values.
    pub v: u64,
    /// Rotation matrices, one per rotated side of a layer.
    pub rotation: u64,
    /// States of recurrent layers; they do not grow with the context.
    pub recurrent: u64,
}

impl KvBytes {
    /// K and V: what grows with the context.
    pub const fn cache(&self) -> u64 {
        self.k + self.v
    }

    /// All of it.
    pub const fn total(&self) -> u64 {
        self.k + self.v + self.rotation + self.recurrent
    }
}

const fn pad256(n: u64) -> u64 {
    n.div_ceil(256) * 256
}

impl CacheShape {
    /// Positions one sequence can hold, as the engine rounds them (multiples of 256).
    pub const fn n_ctx_seq(&self) -> u64 {
        let padded = pad256(self.n_ctx as u64);
        if self.unified {
            padded
        } else {
            pad256(padded / self.n_seq_max as u64)
        }
    }

    /// Cells of one stream of a layer's cache.
    fn cells(&self, layer: &LayerMeta, meta: &ModelMeta) -> u64 {
        let full = self.n_ctx_seq();
        if !meta.swa || !layer.swa || self.swa_full {
            return full;
        }
        let window = u64::from(meta.n_swa) * if self.unified { u64::from(self.n_seq_max) } else { 1 };
        pad256(full.min(window + u64::from(self.n_ubatch)))
    }

    const fn streams(&self) -> u64 {
        if self.unified { 1 } else { self.n_seq_max as u64 }
    }
}

/// Width of the rotation that goes with one side of a layer (0: none), as kernels/hooks/kv_cache.cpp has it.
fn rotation_width(ty: KvType, head_dim: u32, is_k: bool) -> u64 {
    if ty.is_turbo() {
        return ty.layout(head_dim).map_or(0, |layout| u64::from(layout.block));
    }
    if !ty.is_quantized() || !head_dim.is_multiple_of(64) {
        return 0;
    }
    let widest = 1_u32 << head_dim.trailing_zeros();
    u64::from(if is_k { widest } else { 64 })
}

impl ResolvedKv {
    /// Bytes the engine will allocate for these layers in a context of this shape.
    pub fn bytes(&self, meta: &ModelMeta, shape: &CacheShape) -> KvBytes {
        let mut sum = KvBytes::default();
        for types in &self.layers {
            let layer = &meta.layers[types.layer];
            let cells = shape.cells(layer, meta) * shape.streams();
            let heads = u64::from(layer.n_head_kv);
            let side = |ty: KvType, head_dim: u32| {
                ty.layout(head_dim)
                    .map_or(0, |layout| layout.row_bytes(heads * u64::from(head_dim)) * cells)
            };
            sum.k += side(types.k, layer.head_dim_k);
            sum.rotation += 4 * rotation_width(types.k, layer.head_dim_k, true).pow(2);
            if !meta.mla {
                sum.v += side(types.v, layer.head_dim_v);
                sum.rotation += 4 * rotation_width(types.v, layer.head_dim_v, false).pow(2);
            }
        }
        let states = u64::from(shape.n_seq_max.max(1));
        sum.recurrent = meta.layers.iter().map(|layer| layer.recurrent_bytes * states).sum();
        sum
    }
}

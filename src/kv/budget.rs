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
        self.k.saturating_add(self.v)
    }

    /// All of it.
    pub const fn total(&self) -> u64 {
        self.k
            .saturating_add(self.v)
            .saturating_add(self.rotation)
            .saturating_add(self.recurrent)
    }

    /// Both together.
    #[must_use]
    pub const fn plus(&self, other: &Self) -> Self {
        Self {
            k: self.k.saturating_add(other.k),
            v: self.v.saturating_add(other.v),
            rotation: self.rotation.saturating_add(other.rotation),
            recurrent: self.recurrent.saturating_add(other.recurrent),
        }
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
            pad256(padded / if self.n_seq_max == 0 { 1 } else { self.n_seq_max as u64 })
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

/// Bytes that one layer of a context's memory takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerBytes {
    /// The layer's number in the model.
    pub layer: usize,
    /// By purpose.
    pub bytes: KvBytes,
}

impl ResolvedKv {
    /// Bytes the engine will allocate for these layers in a context of this shape.
    pub fn bytes(&self, meta: &ModelMeta, shape: &CacheShape) -> KvBytes {
        self.layer_bytes(meta, shape)
            .iter()
            .fold(KvBytes::default(), |sum, layer| sum.plus(&layer.bytes))
    }

    /// The same by layer: those with a KV cache first, then those with a recurrent state (a layer can have both). Numbers that
    /// no machine could hold saturate.
    pub fn layer_bytes(&self, meta: &ModelMeta, shape: &CacheShape) -> Vec<LayerBytes> {
        let caches = self.layers.iter().map(|types| {
            let layer = &meta.layers[types.layer];
            let cells = shape.cells(layer, meta).saturating_mul(shape.streams());
            let heads = u64::from(layer.n_head_kv);
            let side = |ty: KvType, head_dim: u32| {
                let row = heads.saturating_mul(u64::from(head_dim));
                ty.layout(head_dim)
                    .map_or(0, |layout| layout.row_bytes(row).saturating_mul(cells))
            };
            let matrix = |ty: KvType, head_dim: u32, is_k: bool| 4 * rotation_width(ty, head_dim, is_k).pow(2);
            let mut bytes = KvBytes {
                k: side(types.k, layer.head_dim_k),
                rotation: matrix(types.k, layer.head_dim_k, true),
                ..KvBytes::default()
            };
            if !meta.mla {
                bytes.v = side(types.v, layer.head_dim_v);
                bytes.rotation += matrix(types.v, layer.head_dim_v, false);
            }
            LayerBytes {
                layer: types.layer,
                bytes,
            }
        });
        let states = u64::from(shape.n_seq_max.max(1));
        let recurrent = meta
            .layers
            .iter()
            .enumerate()
            .filter(|(_, layer)| layer.recurrent_bytes > 0);
        let recurrent = recurrent.map(|(number, layer)| LayerBytes {
            layer: number,
            bytes: KvBytes {
                recurrent: layer.recurrent_bytes.saturating_mul(states),
                ..KvBytes::default()
            },
        });
        caches.chain(recurrent).collect()
    }

    /// Cells of all caches together: those of full attention, and those of a sliding window where there are such layers.
    pub fn cells(&self, meta: &ModelMeta, shape: &CacheShape) -> u64 {
        let mut kinds: Vec<(bool, u64)> = self
            .layers
            .iter()
            .map(|types| &meta.layers[types.layer])
            .map(|layer| {
                (
                    meta.swa && layer.swa,
                    shape.cells(layer, meta).saturating_mul(shape.streams()),
                )
            })
            .collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds.iter().map(|(_, cells)| cells).sum()
    }
}

//! How much memory a model takes in a given configuration, by device, before any of it is taken.

use crate::kv::{CacheShape, KvBytes, KvCacheConfig};
use crate::machine::{Fact, Pool};
use crate::{GpuLayers, ModelMeta, Result};
use serde::Serialize;

/// What planning has to know of a model: no file is open, no device is asked.
#[derive(Debug, Clone)]
pub struct Footprint {
    /// Shapes.
    pub meta: ModelMeta,
    /// Bytes of the tensors.
    pub weights: Weights,
    /// What graphs need for scratch.
    pub compute: Compute,
    /// Bytes of an image or audio projector, 0 without one.
    pub projector: u64,
    /// A draft model for speculative decoding.
    pub draft: Option<Box<Footprint>>,
}

/// Bytes of a model's tensors by where they go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Weights {
    /// The token embeddings: always in main memory.
    pub input: u64,
    /// Of each layer, built-in draft heads included.
    pub layers: Vec<u64>,
    /// Output norm and head: on the device once all layers are.
    pub output: u64,
}

/// Bytes of scratch buffers as a function of the shape of a context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum Compute {
    /// From the engine's own plan of this model without allocation: `base + per_cell * cells` for a ubatch of `n_ubatch`.
    Measured {
        /// Tokens computed at once when it was measured.
        n_ubatch: u32,
        /// At no cells.
        base: u64,
        /// For each cell of a sequence.
        per_cell: u64,
    },
    /// From the shapes alone, where there is no file.
    Estimated,
}

/// How a model is to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// Cells of the cache, all slots together.
    pub n_ctx: u32,
    /// Sequences.
    pub n_slots: u32,
    /// Largest number of tokens computed at once.
    pub n_ubatch: u32,
    /// The KV cache.
    pub kv: KvCacheConfig,
    /// The draft's KV cache.
    pub draft_kv: Option<KvCacheConfig>,
    /// Layers on devices.
    pub gpu_layers: GpuLayers,
}

/// Bytes by purpose in one pool of memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    /// Weights.
    pub weights: u64,
    /// K, V, rotations.
    pub kv: u64,
    /// States of recurrent layers.
    pub recurrent: u64,
    /// Scratch.
    pub compute: u64,
    /// The projector.
    pub projector: u64,
    /// A draft model: weights, cache and scratch.
    pub draft: u64,
    /// The program itself and its libraries.
    pub program: u64,
}

impl Share {
    /// All of it.
    pub const fn total(&self) -> u64 {
        self.weights + self.kv + self.recurrent + self.compute + self.projector + self.draft + self.program
    }
}

/// What one pool has and what a plan takes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PoolPlan {
    /// Which.
    pub pool: Pool,
    /// Its name for people.
    pub name: String,
    /// What is taken.
    pub share: Share,
    /// What may be taken.
    pub capacity: Fact<u64>,
}

/// The plan of one configuration on one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryPlan {
    /// By pool; only those that something is taken from.
    pub pools: Vec<PoolPlan>,
    /// The main cache, exact to the byte.
    pub cache: KvBytes,
    /// Bytes to be left free in every pool.
    pub margin: u64,
    /// The context it is for.
    pub n_ctx: u32,
    /// Sequences.
    pub n_slots: u32,
}

impl Footprint {
    /// The cache's bytes for `setup`.
    ///
    /// # Errors
    /// A cache that this model cannot have.
    pub fn cache(&self, setup: &Setup) -> Result<KvBytes> {
        let shape = CacheShape {
            n_ctx: setup.n_ctx,
            n_ubatch: setup.n_ubatch,
            n_seq_max: setup.n_slots,
            unified: setup.kv.unified,
            swa_full: setup.kv.swa_full,
        };
        Ok(setup.kv.resolve(&self.meta)?.bytes(&self.meta, &shape))
    }
}

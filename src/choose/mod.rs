//! Which KV types, layer policy, context, slots and device split fit a machine best: a pure function of facts and wishes.

use crate::kv::{KvCacheConfig, KvType};
use crate::plan::MemoryPlan;
use crate::{GpuLayers, LayerPolicy};
use serde::Serialize;

/// What the user asked for; `None` and 0 are left to us.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wishes {
    /// Cells of the cache, all slots together.
    pub n_ctx: Option<u32>,
    /// The least context that is of use.
    pub min_ctx: Option<u32>,
    /// Sequences.
    pub n_slots: Option<u32>,
    /// Type of K.
    pub k: Option<KvType>,
    /// Type of V.
    pub v: Option<KvType>,
    /// Layer policy.
    pub layers: Option<LayerPolicy>,
    /// The least quality: nothing below it is chosen.
    pub floor: Option<KvType>,
    /// Layers on devices.
    pub gpu_layers: Option<GpuLayers>,
    /// Bytes to be left free in every pool.
    pub margin: Option<u64>,
}

/// What was chosen, what it takes, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The KV cache.
    pub kv: KvCacheConfig,
    /// Cells of the cache, all slots together.
    pub n_ctx: u32,
    /// Sequences.
    pub n_slots: u32,
    /// Layers on devices.
    pub gpu_layers: GpuLayers,
    /// What it takes.
    pub plan: MemoryPlan,
    /// Why this one.
    pub reasons: Vec<Reason>,
    /// What was not chosen, best quality first.
    pub rejected: Vec<Rejected>,
}

/// A sentence for people, with a stable code for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// `fits`, `floor`, `asked`, `guard`, `device`, `context_shortened`, ...
    pub code: &'static str,
    /// The sentence, numbers included.
    pub text: String,
}

/// A configuration that was considered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// Type of K.
    pub k: KvType,
    /// Type of V.
    pub v: KvType,
    /// Why it was not chosen.
    pub reason: Reason,
}

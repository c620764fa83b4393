//! Which KV types, layer policy, context, slots and device split fit a machine best: a pure function of facts and wishes.
//!
//! The rule, with its numbers and thirty worked examples, is in `docs/choosing.md`. In short: the context comes first, then
//! whether the whole model stays on the devices, then quality; and quality above turbo4's is bought only where memory is
//! ample and attention is no slower.

mod candidate;
mod nofit;
mod quality;
mod search;
pub mod select;
mod support;
#[cfg(test)]
mod tests;
mod verdict;
mod wishes;

pub use nofit::{Advice, NoFit};
pub use quality::{Quality, measured};
pub use support::{CPU, Support};

use crate::kv::{KvCacheConfig, KvType, LayerMap};
use crate::machine::Machine;
use crate::plan::{Footprint, MemoryPlan};
use crate::{GpuLayers, LayerPolicy};
use serde::Serialize;

/// What the user asked for; `None` is left to us.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Wishes {
    /// Cells of the cache, all slots together.
    pub n_ctx: Option<u32>,
    /// The least context that is of use; default: 1024, or what is asked for if that is less.
    pub min_ctx: Option<u32>,
    /// Sequences; default: [`DEFAULT_SLOTS`] where they fit, else 1.
    pub n_slots: Option<u32>,
    /// Type of K.
    pub k: Option<KvType>,
    /// Type of V.
    pub v: Option<KvType>,
    /// Layer policy.
    pub layers: Option<LayerPolicy>,
    /// A layer map that may be chosen if it is the best.
    pub map: Option<MapCandidate>,
    /// The least quality: nothing that was measured to be worse than this type (for both K and V) is chosen.
    pub floor: Option<KvType>,
    /// Layers on devices.
    pub gpu_layers: Option<GpuLayers>,
    /// Bytes to be left free in every pool; default: [`default_margin`].
    pub margin: Option<u64>,
    /// Largest number of tokens computed at once; default: 512.
    pub n_ubatch: Option<u32>,
    /// Keep the cache in main memory although layers are on devices.
    pub kv_in_main_memory: bool,
    /// Full-size caches for sliding-window layers.
    pub swa_full: bool,
    /// Accept attention on the CPU for layers on a device that cannot run it.
    pub allow_cpu_attention: bool,
    /// Do not protect model families that a low-bit K is known to break.
    pub no_guard: bool,
}

/// A layer map that [`sensitivity`](crate::measure::sensitivity) made of this model.
#[derive(Debug, Clone, PartialEq)]
pub struct MapCandidate {
    /// The types.
    pub map: LayerMap,
    /// What was measured of it, nats per token; without it, it ranks just before the type with no more bits.
    pub mean_kl: Option<f64>,
}

/// What was chosen, what it takes, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The KV cache.
    pub kv: KvCacheConfig,
    /// Its name: `turbo4`, `q8_0/turbo4`, `turbo2@0`, `layer map`.
    pub name: String,
    /// Cells of the cache, all slots together.
    pub n_ctx: u32,
    /// Sequences.
    pub n_slots: u32,
    /// Layers on devices.
    pub gpu_layers: GpuLayers,
    /// What it takes.
    pub plan: MemoryPlan,
    /// What was measured of this cache, if it was.
    pub quality: Option<Quality>,
    /// Bits per cached value, scales and layers that keep more included.
    pub bits: f64,
    /// Why this one.
    pub reasons: Vec<Reason>,
    /// What the user should know.
    pub warnings: Vec<Reason>,
    /// What was not chosen, best quality first; with the chosen one, every cache that was considered, once.
    pub rejected: Vec<Rejected>,
}

/// A sentence for people, with a stable code for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// Of a choice: `asked`, `fits`, `ample`, `context`, `context_shortened`, `slots`, `split`. Of a rejection: `asked`, `floor`,
    /// `model`, `guard`, `device`, `memory`, `split`, `ample`, `slower`, `larger`, `worse`. Of a warning: `rope`, `sensitive_keys`,
    /// `unchecked_device`, `unknown_memory`, `tight`, `wired_limit`, `default_mode`.
    pub code: &'static str,
    /// The sentence, numbers included.
    pub text: String,
}

/// A configuration that was considered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rejected {
    /// Its name, as [`Decision::name`].
    pub name: String,
    /// Type of K.
    pub k: KvType,
    /// Type of V.
    pub v: KvType,
    /// What was measured of it, if it was.
    pub quality: Option<Quality>,
    /// Why it was not chosen.
    pub reason: Reason,
}

/// Slots of a server where nothing is said.
pub const DEFAULT_SLOTS: u32 = 4;
/// The context that is aimed at before quality, where none is asked for.
pub const BASE_CONTEXT: u32 = 32_768;
/// The longest context that is chosen without being asked for.
pub const LONGEST_DEFAULT_CONTEXT: u32 = 131_072;
/// A cache better than turbo4 may take at most one part in so many of a pool's memory.
pub const AMPLE: u64 = 16;

/// Bytes left free in every pool where nothing is said: a sixteenth of the weights, which is three times what a plan may be off by,
/// but at least 128 MiB and at most 1 GiB. It does not depend on the machine, so that more memory is always more room.
pub fn default_margin(footprint: &Footprint) -> u64 {
    margin_for(footprint.weights.total())
}

const fn margin_for(weights: u64) -> u64 {
    let part = weights / 16;
    if part < 128 << 20 {
        128 << 20
    } else if part > 1 << 30 {
        1 << 30
    } else {
        part
    }
}

/// Chooses what fits `machine` best for the model of `footprint`. Nothing is opened, asked or allocated.
///
/// # Errors
/// [`NoFit`]: wishes that contradict each other or are out of range, a cache that this model or its device cannot have, or
/// too little memory for any, with what would fit.
pub fn choose(footprint: &Footprint, machine: &Machine, support: &Support, wishes: &Wishes) -> Result<Decision, NoFit> {
    let wished = wishes::validate(wishes, &footprint.meta)?;
    let considered = candidate::consider(footprint, machine, support, wishes)?;
    search::Search::new(footprint, machine, support, wishes, wished, considered).decide()
}

impl Reason {
    fn new(code: &'static str, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }
}

/// Bytes for people, in GiB.
fn gib(bytes: u64) -> String {
    let gib = bytes as f64 / f64::from(1 << 30);
    if gib >= 10.0 {
        format!("{gib:.1} GiB")
    } else if gib >= 0.1 {
        format!("{gib:.2} GiB")
    } else {
        format!("{:.1} MiB", gib * 1024.0)
    }
}

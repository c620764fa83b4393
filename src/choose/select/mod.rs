//! The selector's contract: levels turbo4, turbo3, turbo2 and q4_0 with a headroom each, over the same plan as
//! [`choose`](super::choose). What `turboquant select` prints.

mod hardware;
mod judge;
mod level;

pub use hardware::{GpuHardware, Hardware};
pub use judge::select;
pub use level::Level;

use super::Quality;
use serde::Serialize;
use std::collections::BTreeMap;

/// Bytes of the unit of every `_gb` key and of `--model-size`: 2^30, as memory is sold.
pub const GB: f64 = (1_u64 << 30) as f64;

/// What is asked of the selector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Context in tokens.
    pub n_ctx: u32,
    /// This level, even when it does not fit.
    pub prefer: Option<Level>,
    /// Ignore graphics devices.
    pub force_cpu: bool,
}

/// A level with what it takes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LevelPlan {
    /// The level.
    pub level: Level,
    /// Whether the headroom it wants is there; `None`: memory unknown, or not possible here.
    pub fits: Option<bool>,
    /// What it takes where it is judged.
    pub total_required_gb: Option<f64>,
    /// What stays free there.
    pub headroom_gb: Option<f64>,
    /// The cache.
    pub kv_gb: Option<f64>,
    /// Bits per cached value, scales and layers that keep more included.
    pub bits_per_channel: Option<f64>,
    /// Why this model or its device cannot have it.
    pub unsupported: Option<String>,
}

/// What was selected.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Selection {
    /// The level.
    pub level: Level,
    /// Bits per cached value, scales and layers that keep more included.
    pub bits_per_channel: f64,
    /// How many times smaller than f16.
    pub compression_ratio: f64,
    /// `best`, `high`, `balanced` or `fast`.
    pub quality: &'static str,
    /// What was measured of the types, if it was.
    pub measured_quality: Option<Quality>,
    /// Why, in a sentence or two.
    pub reasoning: String,
    /// Context in tokens.
    pub context: u32,
    /// Bytes by purpose, GB, where the level is judged.
    pub parts_gb: PartsGb,
    /// What it takes in all.
    pub total_required_gb: f64,
    /// What there is; `None`: not known.
    pub available_gb: Option<f64>,
    /// What stays free; negative: overcommitted; `None`: not known.
    pub headroom_gb: Option<f64>,
    /// The longest context that keeps this level's headroom, if any does.
    pub longest_context: Option<u32>,
    /// To be set for the command.
    pub env_vars: BTreeMap<&'static str, String>,
    /// For `turboquant serve`.
    pub server_flags: BTreeMap<&'static str, String>,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// Every level.
    pub levels: Vec<LevelPlan>,
    /// The machine.
    pub hardware: Hardware,
}

/// Bytes by purpose, GB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[allow(missing_docs)] // the words are the field's
pub struct PartsGb {
    pub weights: f64,
    pub kv: f64,
    /// The same cache as f16, for comparison.
    pub kv_as_f16: f64,
    /// Scratch buffers, recurrent states, the program itself, a projector or draft.
    pub other: f64,
}

/// Four digits: equal inputs give equal text on every machine.
fn round(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

fn gb(bytes: u64) -> f64 {
    round(bytes as f64 / GB)
}

//! How much memory a model takes in a given configuration, by device, before any of it is taken.
//!
//! ```no_run
//! use llama_turboquant::machine::Machine;
//! use llama_turboquant::plan::{Footprint, MemoryPlan, Setup};
//!
//! # fn main() -> llama_turboquant::Result<()> {
//! let footprint = Footprint::read("model.gguf")?;
//! let setup = Setup { n_ctx: 32_768, ..Setup::default() };
//! let plan = MemoryPlan::new(&footprint, &setup, &Machine::detect()?)?;
//! println!("{}", plan.describe());
//! # Ok(())
//! # }
//! ```

mod compute;
mod estimate;
mod footprint;
mod measure;
mod place;
mod split;
mod words;

use crate::engine::ContextConfig;
use crate::kv::{KvBytes, KvCacheConfig};
use crate::machine::{Fact, Pool};
use crate::{GpuLayers, ModelMeta};
use serde::Serialize;

pub use compute::{Compute, ComputeShape, Measured};
pub use estimate::Estimate;
pub use measure::Allocated;
pub use split::layer_pools;

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
    /// What the program occupies before it loads a model, its libraries and the model's vocabulary included.
    pub program: u64,
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
    /// Of the token embeddings, where the output uses them too: a device with memory of its own gets a copy.
    pub tied: u64,
    /// Of these, what main memory holds twice when the output stays there: kernels of the CPU want them in another form.
    pub copied: u64,
    /// Bytes that stay mapped of the file though main memory holds them in another form too, where all weights stay there.
    pub staged: u64,
}

impl Weights {
    /// All of them, each counted once.
    pub fn total(&self) -> u64 {
        let layers = self.layers.iter().fold(0_u64, |sum, bytes| sum.saturating_add(*bytes));
        self.input.saturating_add(layers).saturating_add(self.output)
    }
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
    /// Tokens of one batch that ask for what comes out (logits, embeddings): generation asks for one per slot.
    pub n_outputs: u32,
    /// Threads for decode, as [`ContextConfig::n_threads`]: each has an area of scratch to work in.
    pub n_threads: u32,
    /// Threads for prefill, as [`ContextConfig::n_threads_batch`].
    pub n_threads_batch: u32,
    /// The KV cache.
    pub kv: KvCacheConfig,
    /// The draft's KV cache; `None`: as the engine has it by default, f16.
    pub draft_kv: Option<KvCacheConfig>,
    /// Layers on devices.
    pub gpu_layers: GpuLayers,
    /// Bytes to be left free in every pool.
    pub margin: u64,
    /// The file is mapped, not read.
    pub mmap: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self::of(&ContextConfig::default(), GpuLayers::default())
    }
}

impl Setup {
    /// The context that it describes; batches are as long as by default, or as what is computed at once.
    pub(crate) fn context(&self) -> ContextConfig {
        let default = ContextConfig::default();
        ContextConfig {
            n_ctx: self.n_ctx,
            n_batch: default.n_batch.max(self.n_ubatch),
            n_ubatch: self.n_ubatch,
            n_seq_max: self.n_slots,
            n_threads: self.n_threads,
            n_threads_batch: self.n_threads_batch,
            kv: self.kv.clone(),
            ..default
        }
    }

    /// That of a context, with no margin and no draft. A context of 0 cells has to be settled first.
    pub fn of(config: &ContextConfig, gpu_layers: GpuLayers) -> Self {
        Self {
            n_ctx: config.n_ctx,
            n_slots: config.n_seq_max,
            n_ubatch: config.n_ubatch.min(config.n_batch),
            n_outputs: config.n_seq_max,
            n_threads: config.n_threads,
            n_threads_batch: config.n_threads_batch,
            kv: config.kv.clone(),
            draft_kv: None,
            gpu_layers,
            margin: 0,
            mmap: true,
        }
    }
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
    /// Which position of which sequence each cell of the cache holds.
    pub cells: u64,
    /// The projector.
    pub projector: u64,
    /// A draft model: weights, cache and scratch.
    pub draft: u64,
    /// The program itself and its libraries.
    pub program: u64,
}

/// A part of a share: its name for people, and its bytes.
pub type Purpose = (&'static str, fn(&Share) -> u64);

impl Share {
    /// Its parts with their names for people, in the order of tables.
    pub const PURPOSES: [Purpose; 8] = [
        ("weights", |share| share.weights),
        ("KV cache", |share| share.kv),
        ("recurrent state", |share| share.recurrent),
        ("scratch", |share| share.compute),
        ("cell tables", |share| share.cells),
        ("projector", |share| share.projector),
        ("draft model", |share| share.draft),
        ("program", |share| share.program),
    ];

    /// All of it.
    pub const fn total(&self) -> u64 {
        self.weights
            .saturating_add(self.kv)
            .saturating_add(self.recurrent)
            .saturating_add(self.compute)
            .saturating_add(self.cells)
            .saturating_add(self.projector)
            .saturating_add(self.draft)
            .saturating_add(self.program)
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
    /// Where `capacity` comes from, in words.
    pub why: String,
    /// Its memory is memory of that pool: what is taken here is taken there too.
    pub within: Option<Pool>,
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
    /// Pages of the mapped file whose content lies elsewhere too: the process is seen to occupy them in main memory, and the system
    /// takes them back when somebody needs memory. Not part of any share.
    pub reclaimable: u64,
    /// The context it is for.
    pub n_ctx: u32,
    /// Sequences.
    pub n_slots: u32,
    /// Whether the scratch buffers were measured on this model for this very context; else they are interpolated or estimated.
    pub exact: bool,
}

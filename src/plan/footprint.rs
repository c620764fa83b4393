//! What a model takes, read from its file.

use super::compute::ComputeShape;
use super::{Compute, Footprint, Measured, Setup, Weights};
use crate::engine::{DryUse, heap, model_was_loaded};
use crate::kv::{CacheShape, KvBytes, KvCacheConfig, KvType};
use crate::{Backend, DeviceKind, Error, GpuLayers, Model, Result, memory};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

/// The smallest context that is measured; the next are four times as large each.
const FIRST_CONTEXT: u32 = 256;
/// The largest context that is measured without being asked for.
const LAST_CONTEXT: u32 = 1 << 18;
/// Beyond this no engine builds a layer (LLAMA_MAX_LAYERS).
pub(super) const MAX_LAYERS: u32 = 512;

impl Footprint {
    /// Reads a model file without its weights.
    ///
    /// # Errors
    /// [`Error::Load`] for a file that is no model; as [`from_model`](Self::from_model).
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let (mut footprint, model) = Self::open(path, GpuLayers::All)?;
        footprint.survey(&model)?;
        Ok(footprint)
    }

    /// [`read`](Self::read) that keeps the model, without its weights, to [`learn`](Self::learn) more from. No scratch buffers are
    /// known yet.
    ///
    /// # Errors
    /// As `read`.
    pub fn open(path: impl AsRef<Path>, gpu_layers: GpuLayers) -> Result<(Self, Model)> {
        Backend::init()?;
        program_bytes();
        let model = Model::builder(path.as_ref())
            .gpu_layers(gpu_layers)
            .metadata_only(true)
            .load()?;
        let footprint = Self::bare(&model)?;
        Ok((footprint, model))
    }

    /// From a model that was loaded with [`metadata_only`](crate::ModelBuilder::metadata_only), [`survey`](Self::survey) included.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a model that has its weights, or whose shape is absurd; the engine's.
    pub fn from_model(model: &Model) -> Result<Self> {
        let mut footprint = Self::bare(model)?;
        footprint.survey(model)?;
        Ok(footprint)
    }

    /// All but scratch buffers.
    fn bare(model: &Model) -> Result<Self> {
        let meta = model.meta().clone();
        if meta.layers.len() > MAX_LAYERS as usize || meta.layers.len() != meta.n_layer_all as usize {
            return Err(Error::Invalid(format!(
                "{}: the file claims {} layers and describes {}; at most {MAX_LAYERS} can be",
                model.path().display(),
                meta.n_layer_all,
                meta.layers.len()
            )));
        }
        let bytes = model.tensor_bytes()?;
        let vocabulary = u64::from(meta.n_vocab).saturating_mul(VOCABULARY_ENTRY);
        Ok(Self {
            weights: Weights {
                input: bytes.input,
                layers: bytes.layers,
                output: bytes.output,
                tied: bytes.tied,
                copied: bytes.copied,
                staged: bytes.staged,
            },
            compute: Compute::Measured(Vec::new()),
            projector: 0,
            draft: None,
            program: program_bytes().saturating_add(ENGINE).saturating_add(vocabulary),
            meta,
        })
    }

    /// Has the engine plan a few contexts up to the length the model was trained for, with f16, q8_0 and turbo4 caches, so that any
    /// context can be planned: milliseconds each.
    ///
    /// # Errors
    /// The engine's.
    pub fn survey(&mut self, model: &Model) -> Result<()> {
        let largest = self.meta.n_ctx_train.clamp(FIRST_CONTEXT, LAST_CONTEXT);
        for ty in [KvType::F16, KvType::Q8_0, KvType::Turbo4] {
            let kv = KvCacheConfig::uniform(ty);
            if kv.resolve(&self.meta).is_err() {
                continue;
            }
            let mut n_ctx = FIRST_CONTEXT;
            loop {
                let setup = Setup {
                    n_ctx: n_ctx.min(largest),
                    kv: kv.clone(),
                    ..Setup::default()
                };
                self.learn(model, &setup)?;
                if n_ctx >= largest {
                    break;
                }
                n_ctx *= 4;
            }
        }
        Ok(())
    }

    /// Asks the engine for the scratch buffers of one more setup, so that plans of it are exact.
    ///
    /// # Errors
    /// As [`Model::plan_context`].
    pub fn learn(&mut self, model: &Model, setup: &Setup) -> Result<()> {
        let shape = ComputeShape::of(setup);
        if self.compute.knows(&shape, setup.n_ctx) {
            return Ok(());
        }
        let dry = model.plan_context(&setup.context())?;
        self.compute.add(measured(shape, setup.n_ctx, dry)?);
        if !model_was_loaded() {
            // nothing but the program, this model's vocabulary and the engine's graphs
            self.program = memory::resident().unwrap_or(0).saturating_add(FIRST_COMPUTATION);
        }
        Ok(())
    }

    /// With LoRA adapters of so many bytes. Their matrices lie where those lie that they change, which is taken to be all layers
    /// alike.
    #[must_use]
    pub fn with_adapters(mut self, bytes: u64) -> Self {
        let mut left = bytes;
        let layers = self.weights.layers.len() as u64;
        for (number, layer) in self.weights.layers.iter_mut().enumerate() {
            let share = left / (layers - number as u64);
            *layer = layer.saturating_add(share);
            left -= share;
        }
        self.weights.output = self.weights.output.saturating_add(left); // a model without layers
        self
    }

    /// With a draft model.
    #[must_use]
    pub fn with_draft(mut self, draft: Footprint) -> Self {
        self.draft = Some(Box::new(draft));
        self
    }

    /// The cache's bytes for `setup`.
    ///
    /// # Errors
    /// A cache that this model cannot have.
    pub fn cache(&self, setup: &Setup) -> Result<KvBytes> {
        Ok(setup
            .kv
            .resolve(&self.meta)?
            .bytes(&self.meta, &setup.cache_shape(&setup.kv)))
    }
}

impl Setup {
    pub(super) fn cache_shape(&self, kv: &KvCacheConfig) -> CacheShape {
        CacheShape {
            n_ctx: self.n_ctx,
            n_ubatch: self.n_ubatch,
            n_seq_max: self.n_slots,
            unified: kv.unified,
            swa_full: kv.swa_full,
        }
    }
}

/// Bytes that the engine keeps for each entry of a vocabulary: its text, its score, and the tables that find it
/// (`docs/results/2026-11-21-memory.md`).
const VOCABULARY_ENTRY: u64 = 200;

/// Bytes that the engine has taken when it has planned its first context: code that was paged in, graphs and their tables. And
/// what the first computation adds: more code, the threads' stacks, a second set of graphs. Measured: see there.
const ENGINE: u64 = 5 << 20;
const FIRST_COMPUTATION: u64 = 3 << 19;

/// What this process occupied when it was first asked: before it loaded a model, if that came first.
pub(super) fn program_bytes() -> u64 {
    static BYTES: OnceLock<u64> = OnceLock::new();
    *BYTES.get_or_init(|| {
        heap::trim();
        memory::resident().unwrap_or(0)
    })
}

fn measured(shape: ComputeShape, n_ctx: u32, dry: DryUse) -> Result<Measured> {
    let compute = &dry.buffers.compute;
    let mut devices = BTreeMap::new();
    for device in Backend::init()?.devices()? {
        let own = |name: &str| name.starts_with(device.name.as_str()) && !name.ends_with("_Host");
        let bytes: u64 = compute
            .iter()
            .filter(|(name, _)| own(name))
            .map(|(_, bytes)| bytes)
            .sum();
        if matches!(device.kind, DeviceKind::Gpu | DeviceKind::Igpu) && bytes > 0 {
            devices.insert(device.name, bytes);
        }
    }
    let all: u64 = compute.values().sum();
    let on_devices: u64 = devices.values().sum();
    Ok(Measured {
        shape,
        n_ctx,
        host: all.saturating_sub(on_devices).saturating_add(dry.work),
        devices,
        output_row: dry.output_row,
    })
}

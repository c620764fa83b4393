//! Contexts: a KV cache over a model, and decoding into it.

use super::backend::{Backend, DeviceKind, parse};
use super::batch::Batch;
use super::call;
use super::cancel::CancelToken;
use super::lora::{self, LoraSet};
use super::model::Model;
use super::sequences::KvMemory;
use crate::kv::{CacheShape, KvBytes, KvCacheConfig, KvIssue, KvNotice, KvType, ResolvedKv};
use crate::{Error, Result, memory, sys};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ptr::NonNull;

/// The settings of a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextConfig {
    /// Cells, all sequences together; 0: what the model was trained with.
    pub n_ctx: u32,
    /// Largest batch [`Context::decode`] takes.
    pub n_batch: u32,
    /// Largest number of tokens computed at once.
    pub n_ubatch: u32,
    /// Sequences (slots).
    pub n_seq_max: u32,
    /// Threads for decode; 0: the physical cores this process may use.
    pub n_threads: u32,
    /// Threads for prefill; 0: as `n_threads`.
    pub n_threads_batch: u32,
    /// The KV cache.
    pub kv: KvCacheConfig,
    /// What comes out of the model.
    pub output: Output,
}

impl Default for ContextConfig {
    fn default() -> Self {
        Self {
            n_ctx: 4096,
            n_batch: 2048,
            n_ubatch: 512,
            n_seq_max: 1,
            n_threads: 0,
            n_threads_batch: 0,
            kv: KvCacheConfig::default(),
            output: Output::Logits,
        }
    }
}

/// What a context computes of the tokens that ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Output {
    /// The scores of the next token.
    #[default]
    Logits,
    /// The hidden state, to be pooled into an embedding of the text.
    Embeddings,
    /// The scores that a reranking model's classifier gives each sequence.
    Rank,
}

/// Bytes a context has allocated, by the engine's buffer names.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, serde::Serialize)]
pub struct MemoryUse {
    /// K, V, rotations and recurrent states.
    pub kv: BTreeMap<String, u64>,
    /// Scratch buffers of the graphs.
    pub compute: BTreeMap<String, u64>,
    /// Weights.
    pub model: BTreeMap<String, u64>,
}

impl MemoryUse {
    /// The bytes of some buffers that lie in a card's own memory, by the names of the devices. Other buffers, whatever they
    /// are called (`CPU_REPACK`, `AMX`, ...), are main memory.
    pub fn on_cards(buffers: &BTreeMap<String, u64>) -> u64 {
        let devices = Backend::init()
            .and_then(|backend| backend.devices())
            .unwrap_or_default();
        let of_a_card = |name: &str| {
            let mut cards = devices.iter().filter(|device| device.kind == DeviceKind::Gpu);
            cards.any(|card| name.starts_with(card.name.as_str()) && !name.ends_with("_Host"))
        };
        let on_cards = buffers.iter().filter(|(name, _)| of_a_card(name));
        on_cards.map(|(_, bytes)| bytes).sum()
    }
}

/// A KV cache over a model. `Send` but not `Sync`: it belongs to one thread at a time.
#[derive(Debug)]
pub struct Context {
    raw: NonNull<sys::tq_context>,
    model: Model,
    config: ContextConfig,
    kv: ResolvedKv,
    /// Kept alive while the engine polls its flag.
    cancel: Option<CancelToken>,
    loras: LoraSet,
    /// What the engine has set, and so must be kept alive.
    applied_loras: LoraSet,
}

// SAFETY: the engine keeps no thread-local state for a context, so it may move between threads; its functions are not
// thread-safe, which is why `Context` is not `Sync` and everything that computes takes `&mut self`.
unsafe impl Send for Context {}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: `raw` came from `tq_context_new`, is freed only here, and the model outlives it.
        unsafe { sys::tq_context_free(self.raw.as_ptr()) }
    }
}

impl ContextConfig {
    /// The most sequences a context can have: LLAMA_MAX_SEQ of the pinned engine.
    pub const MAX_SEQUENCES: u32 = 256;

    pub(super) fn shape(&self) -> CacheShape {
        CacheShape {
            n_ctx: self.n_ctx,
            n_ubatch: self.n_ubatch.min(self.n_batch),
            n_seq_max: self.n_seq_max,
            unified: self.kv.unified,
            swa_full: self.kv.swa_full,
        }
    }

    /// The shim's form of it; `types` (two per layer of the model) must outlive the result.
    pub(super) fn params(&self, types: &[i32]) -> sys::tq_context_params {
        let as_i32 = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
        sys::tq_context_params {
            n_ctx: self.n_ctx,
            n_batch: self.n_batch,
            n_ubatch: self.n_ubatch,
            n_seq_max: self.n_seq_max,
            n_threads: as_i32(self.n_threads),
            n_threads_batch: as_i32(self.n_threads_batch),
            layer_types: types.as_ptr(),
            n_layer_types: u32::try_from(types.len() / 2).unwrap_or(0),
            kv_unified: self.kv.unified,
            swa_full: self.kv.swa_full,
            offload_kv: self.kv.offload,
            embeddings: self.output != Output::Logits,
            rank: self.output == Output::Rank,
        }
    }

    /// Fills in what 0 stands for, and refuses what the engine could only assert on.
    pub(super) fn settle(mut self, model: &Model) -> Result<Self> {
        let refuse = |text: String| Err(Error::Invalid(text));
        if self.n_ctx == 0 {
            self.n_ctx = model.meta().n_ctx_train;
        }
        if self.n_ctx > i32::MAX as u32 {
            return refuse(format!(
                "a context of {} tokens is beyond the engine's limit of {}",
                self.n_ctx,
                i32::MAX
            ));
        }
        if self.n_batch == 0 || self.n_ubatch == 0 {
            return refuse("n_batch and n_ubatch must be at least 1".into());
        }
        if self.n_seq_max == 0 || self.n_seq_max > Self::MAX_SEQUENCES {
            return refuse(format!(
                "{} sequences asked for; a context has 1 to {}",
                self.n_seq_max,
                Self::MAX_SEQUENCES
            ));
        }
        if self.n_threads == 0 {
            self.n_threads = memory::physical_cores();
        }
        if self.n_threads_batch == 0 {
            self.n_threads_batch = self.n_threads;
        }
        if self.n_threads.max(self.n_threads_batch) > MAX_THREADS {
            return refuse(format!(
                "{} threads asked for; the engine takes at most {MAX_THREADS}",
                self.n_threads.max(self.n_threads_batch)
            ));
        }
        self.n_batch = self.n_batch.min(self.n_ctx.max(256));
        self.n_ubatch = self.n_ubatch.min(self.n_batch);
        Ok(self)
    }
}

/// GGML_MAX_N_THREADS of the pinned engine.
pub(super) const MAX_THREADS: u32 = 512;

impl Context {
    /// Creates a context. The cache is planned first: what cannot work, or does not fit the memory that is free, is
    /// refused before anything is allocated.
    ///
    /// # Errors
    /// [`Error::UnsupportedKv`], [`Error::OutOfMemory`] with the numbers, [`Error::Invalid`] for settings out of range,
    /// [`Error::Engine`] with the engine's words.
    pub fn new(model: &Model, config: ContextConfig) -> Result<Self> {
        let config = config.settle(model)?;
        let meta = model.meta();
        let mut kv = config.kv.resolve(meta)?;
        check_devices(model, &config.kv, &mut kv)?;
        for notice in &kv.notices {
            match notice {
                KvNotice::DefaultMode { .. } => tracing::info!("{notice}"),
                _ => tracing::warn!("{notice}"),
            }
        }
        let need = kv.bytes(meta, &config.shape()).total();
        match memory::available_bytes(&Backend::init()?.devices()?) {
            Some(free) if need > free => {
                return Err(Error::OutOfMemory {
                    what: format!(
                        "the KV cache of {} tokens as {}/{}",
                        config.n_ctx, config.kv.k, config.kv.v
                    ),
                    need,
                    free,
                });
            }
            Some(_) => {}
            None => tracing::warn!(
                "free memory could not be detected; the KV cache of {need} bytes is not checked against it"
            ),
        }

        let types = layer_type_ids(model, &kv);
        let params = config.params(&types);
        let mut raw = std::ptr::null_mut();
        // SAFETY: the model is alive and `self.model` keeps it so; `params` and the types it points to (two per layer of
        // the model) outlive the call, which copies them.
        call::check(|error| unsafe { sys::tq_context_new(model.raw(), &raw const params, &raw mut raw, error) })?;
        let raw = NonNull::new(raw).ok_or_else(|| Error::Engine("the engine returned no context".into()))?;
        Ok(Self {
            raw,
            model: model.clone(),
            config,
            kv,
            cancel: None,
            loras: LoraSet::default(),
            applied_loras: LoraSet::default(),
        })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The settings, with defaults filled in.
    pub fn config(&self) -> &ContextConfig {
        &self.config
    }

    /// The types of the cache's layers, and what the user should know about them.
    pub fn kv(&self) -> &ResolvedKv {
        &self.kv
    }

    /// Bytes the cache was planned to take.
    pub fn kv_bytes(&self) -> KvBytes {
        self.kv.bytes(self.model.meta(), &self.config.shape())
    }

    /// Bytes that a cache of these types would have taken, with all else as it is.
    ///
    /// # Errors
    /// Types that this model cannot have, as [`KvCacheConfig::resolve`].
    pub fn kv_bytes_with(&self, kv: &KvCacheConfig) -> Result<KvBytes> {
        let meta = self.model.meta();
        Ok(kv.resolve(meta)?.bytes(meta, &self.config.shape()))
    }

    /// Cells, all sequences together.
    pub fn n_ctx(&self) -> u32 {
        // SAFETY: `raw` is a live context.
        unsafe { sys::tq_context_n_ctx(self.raw()) }
    }

    /// Positions one sequence can hold.
    pub fn n_ctx_seq(&self) -> u32 {
        // SAFETY: `raw` is a live context.
        unsafe { sys::tq_context_n_ctx_seq(self.raw()) }
    }

    /// The largest batch [`decode`](Self::decode) takes.
    pub fn n_batch(&self) -> u32 {
        // SAFETY: `raw` is a live context.
        unsafe { sys::tq_context_n_batch(self.raw()) }
    }

    /// Sets (or, with `None`, removes) the token that stops [`decode`](Self::decode).
    pub fn set_cancel(&mut self, token: Option<CancelToken>) {
        let flag = token.as_ref().map_or(std::ptr::null(), CancelToken::as_ptr);
        // SAFETY: the flag lives in the token, which `self.cancel` keeps until the engine has another one.
        unsafe { sys::tq_context_set_cancel(self.raw(), flag) };
        self.cancel = token;
    }

    /// Computes a batch and appends it to the cache.
    ///
    /// # Errors
    /// [`Error::ContextFull`] when no cells are left, [`Error::Cancelled`], [`Error::Invalid`] for tokens, sequences or
    /// positions that do not exist, [`Error::Engine`].
    pub fn decode(&mut self, batch: &Batch) -> Result<()> {
        self.apply_loras()?;
        let raw_batch = sys::tq_batch {
            n_tokens: batch.len(),
            tokens: batch.tokens.as_ptr(),
            positions: batch.positions.as_ptr(),
            sequences: batch.sequences.as_ptr(),
            wants_logits: batch.logits.as_ptr(),
        };
        // SAFETY: the four arrays have `n_tokens` entries (`Batch::push` keeps them equal) and outlive the call; the shim
        // checks their content.
        call::check(|error| unsafe { sys::tq_context_decode(self.raw(), &raw const raw_batch, error) }).map_err(
            |failure| match failure.status {
                sys::TQ_FULL => Error::ContextFull {
                    n_prompt: batch.len(),
                    n_ctx: self.n_ctx_seq() as usize,
                },
                _ => failure.into(),
            },
        )
    }

    /// Logits (one per vocabulary entry) of batch entry `i` of the last decode; `None` if it did not ask for them.
    pub fn logits(&self, i: usize) -> Option<&[f32]> {
        let i = i32::try_from(i).ok()?;
        // SAFETY: `raw` is a live context; the shim returns null or `n_vocab` floats that live until the next `decode`,
        // which needs `&mut self`.
        unsafe {
            let logits = sys::tq_context_logits(self.raw(), i);
            (!logits.is_null()).then(|| std::slice::from_raw_parts(logits, self.model.meta().n_vocab as usize))
        }
    }

    /// Embedding (`n_embd_out` values, neither pooled nor normalized) of batch entry `i` of the last decode; `None` if it
    /// did not ask for one, or the context was not made for [`Output::Embeddings`].
    pub fn embedding(&self, i: usize) -> Option<&[f32]> {
        let i = i32::try_from(i)
            .ok()
            .filter(|_| self.config.output == Output::Embeddings)?;
        // SAFETY: `raw` is a live context; the shim returns null or `n_embd_out` floats that live until the next `decode`,
        // which needs `&mut self`.
        unsafe {
            let values = sys::tq_context_embedding(self.raw(), i);
            (!values.is_null()).then(|| std::slice::from_raw_parts(values, self.model.meta().n_embd_out as usize))
        }
    }

    /// Scores (`n_cls_out` values) of sequence `seq` of the last decode; `None` if it was not in it, or the context was not
    /// made for [`Output::Rank`].
    pub fn rank(&self, seq: i32) -> Option<&[f32]> {
        if self.config.output != Output::Rank {
            return None;
        }
        // SAFETY: `raw` is a live context; the shim returns null or `n_cls_out` floats that live until the next `decode`,
        // which needs `&mut self`.
        unsafe {
            let scores = sys::tq_context_rank(self.raw(), seq);
            (!scores.is_null()).then(|| std::slice::from_raw_parts(scores, self.model.meta().n_cls_out as usize))
        }
    }

    /// The adapters that [`decode`](Self::decode) applies.
    pub fn loras(&self) -> &LoraSet {
        &self.loras
    }

    pub(super) fn replace_loras(&mut self, loras: LoraSet) {
        self.loras = loras;
    }

    /// Only before something is computed: the engine measures its graphs anew for other adapters.
    fn apply_loras(&mut self) -> Result<()> {
        if self.applied_loras != self.loras {
            lora::apply(self.raw(), &self.loras)?;
            self.applied_loras = self.loras.clone();
        }
        Ok(())
    }

    /// Operations on the cache's sequences.
    pub fn memory(&mut self) -> KvMemory<'_> {
        KvMemory(self)
    }

    /// Bytes allocated, as the engine reports them.
    ///
    /// # Errors
    /// The engine's, which has none in practice.
    pub fn memory_use(&self) -> Result<MemoryUse> {
        // SAFETY: `raw` is a live context; both slots are valid.
        let json = call::text(|out, error| unsafe { sys::tq_context_memory(self.raw(), out, error) })?;
        parse("memory report", &json)
    }

    pub(super) fn raw(&self) -> *mut sys::tq_context {
        self.raw.as_ptr()
    }
}

/// (K, V) engine type of every model layer; layers without a cache get f16, which nothing reads.
pub(super) fn layer_type_ids(model: &Model, kv: &ResolvedKv) -> Vec<i32> {
    let meta = model.meta();
    let f16 = KvType::F16.layout(1).map_or(1, |layout| layout.id);
    let mut ids = vec![f16; 2 * meta.n_layer_all as usize];
    for types in &kv.layers {
        let layer = &meta.layers[types.layer];
        let id = |ty: KvType, head_dim: u32| ty.layout(head_dim).map_or(f16, |layout| layout.id);
        ids[2 * types.layer] = id(types.k, layer.head_dim_k);
        ids[2 * types.layer + 1] = id(types.v, layer.head_dim_v);
    }
    ids
}

/// Refuses (or, where the user accepted it, notes) attention that a device would hand to the CPU.
fn check_devices(model: &Model, config: &KvCacheConfig, kv: &mut ResolvedKv) -> Result<()> {
    if !config.offload {
        return Ok(());
    }
    let backend = Backend::init()?;
    let devices = backend.devices()?;
    let mut noted: Vec<String> = Vec::new();
    for types in kv.layers.clone() {
        let layer = &model.meta().layers[types.layer];
        let Some(number) = devices
            .iter()
            .position(|d| d.name == layer.device && d.kind != DeviceKind::Cpu)
        else {
            continue;
        };
        let head_dim = (layer.head_dim_k, layer.head_dim_v);
        if backend.runs_attention(number, types.k, types.v, head_dim)? || noted.contains(&layer.device) {
            continue;
        }
        if !config.allow_cpu_attention {
            let mut works = Vec::new();
            for k in KvType::ALL {
                for v in KvType::ALL {
                    if backend.runs_attention(number, k, v, head_dim)? {
                        works.push(format!("{k}/{v}"));
                    }
                }
            }
            return Err(KvIssue::DeviceFallback {
                device: layer.device.clone(),
                k: types.k,
                v: types.v,
                head_dim: layer.head_dim_k,
                works: works.join(", "),
                faults: devices[number].faults.clone(),
            }
            .into());
        }
        noted.push(layer.device.clone());
        kv.notices.push(KvNotice::CpuAttention {
            device: layer.device.clone(),
        });
    }
    Ok(())
}

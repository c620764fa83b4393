//! LoRA adapters: small changes to a model's matrices, loaded beside it and applied while it computes.
//!
//! A matrix `W` with factors `A` (rank x inputs) and `B` (outputs x rank) acts as `W + scale * alpha / rank * B * A`, where a
//! file without `alpha` has `alpha = rank` (Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", section 4.1).
//! Nothing is merged, so scales change from one batch to the next.
//!
//! ```no_run
//! use llama_turboquant::{ContextConfig, Model};
//!
//! # fn main() -> llama_turboquant::Result<()> {
//! let model = Model::load("model.gguf")?;
//! let adapter = model.load_lora("adapter.gguf")?;
//! let mut context = model.context(ContextConfig::default())?;
//! context.set_loras(&[(adapter, 0.5)])?;
//! # Ok(())
//! # }
//! ```

use super::backend::parse;
use super::call;
use super::context::Context;
use super::model::{Model, Token, check_file};
use crate::{Error, Result, sys};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;

/// What an adapter is.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct LoraInfo {
    /// `general.name` of its file; empty: it has none.
    pub name: String,
    /// What it was trained for, where its file says that.
    pub task_name: String,
    /// What its prompts should begin with, where its file says that.
    pub prompt_prefix: String,
    /// The factor `alpha`; 0: the file has none, which counts as its rank.
    pub alpha: f32,
    /// An activated LoRA (aLoRA) is meant for what follows these tokens; empty: this one is for whole texts.
    pub invocation_tokens: Vec<Token>,
    /// Matrices that it changes.
    pub tensors: usize,
    /// Bytes that it occupies, by the engine's buffer names.
    pub buffers: BTreeMap<String, u64>,
    /// 16 hex digits of its metadata and weights: tells adapters of the same shape apart.
    pub fingerprint: String,
}

impl LoraInfo {
    /// Bytes that it occupies.
    pub fn bytes(&self) -> u64 {
        self.buffers.values().sum()
    }
}

/// A loaded adapter; clones share it, and it keeps its model. Made by [`Model::load_lora`].
#[derive(Clone)]
pub struct LoraAdapter(Arc<Inner>);

pub(super) struct Inner {
    raw: NonNull<sys::tq_lora>,
    path: PathBuf,
    info: LoraInfo,
    /// Freed after the adapter, which belongs to it.
    model: Model,
}

// SAFETY: a loaded adapter is never written again; its tensors are read by the graphs of its model's contexts. Loading and
// freeing, which write into the model, are locked against these by the shim.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: `raw` came from `tq_lora_load`, and contexts that have it set hold a clone of the `Arc`.
        unsafe { sys::tq_lora_free(self.raw.as_ptr()) }
    }
}

impl LoraAdapter {
    pub(super) fn load(model: &Model, path: &Path) -> Result<Self> {
        let load_error = |reason: String| Error::LoadLora {
            path: path.to_owned(),
            reason,
        };
        check_file(path).map_err(load_error)?;
        let text = path
            .to_str()
            .ok_or_else(|| load_error("the path is not valid UTF-8, which the engine needs".into()))?;
        let text = call::c_string("path", text)?;
        let mut raw = std::ptr::null_mut();
        // SAFETY: the model is alive, the path is NUL-terminated, and both slots are valid.
        let loaded = call::check(|error| unsafe { sys::tq_lora_load(model.raw(), text.as_ptr(), &raw mut raw, error) });
        loaded.map_err(|failure| load_error(failure.text))?;
        let raw = NonNull::new(raw).ok_or_else(|| load_error("the engine returned nothing".into()))?;
        // SAFETY: `raw` is a loaded adapter; both slots are valid.
        let described = call::text(|out, error| unsafe { sys::tq_lora_describe(raw.as_ptr(), out, error) });
        let info = described
            .map_err(Error::from)
            .and_then(|json| parse("description of a LoRA adapter", &json));
        match info {
            Ok(info) => Ok(Self(Arc::new(Inner {
                raw,
                path: path.to_owned(),
                info,
                model: model.clone(),
            }))),
            Err(error) => {
                // SAFETY: `raw` was just loaded and has no other owner.
                unsafe { sys::tq_lora_free(raw.as_ptr()) };
                Err(error)
            }
        }
    }

    /// What it is.
    pub fn info(&self) -> &LoraInfo {
        &self.0.info
    }

    /// The file it came from.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The model it was loaded for.
    pub fn model(&self) -> &Model {
        &self.0.model
    }

    /// Whether it was loaded for this very load of a model.
    pub fn is_of(&self, model: &Model) -> bool {
        self.0.model.is(model)
    }

    fn raw(&self) -> *mut sys::tq_lora {
        self.0.raw.as_ptr()
    }

    /// A reference that does not keep it loaded.
    pub(super) fn downgrade(&self) -> std::sync::Weak<Inner> {
        Arc::downgrade(&self.0)
    }

    pub(super) fn upgrade(weak: &std::sync::Weak<Inner>) -> Option<Self> {
        weak.upgrade().map(Self)
    }
}

/// The same load of a file; two loads of one file are two adapters.
impl PartialEq for LoraAdapter {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for LoraAdapter {}

impl fmt::Debug for LoraAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoraAdapter")
            .field("path", &self.0.path)
            .field("info", &self.0.info)
            .finish_non_exhaustive()
    }
}

/// Adapters with their scales, as one value: what is computed under equal sets can be continued under either, and computed
/// in one batch. Adapters of scale 0 are not in it, and their order does not count. Adapters count as equal if they have the same
/// fingerprint and are of the same model, also when they were loaded apart.
#[derive(Debug, Clone, Default)]
pub struct LoraSet(Arc<[(LoraAdapter, f32)]>);

impl LoraSet {
    /// The set of these adapters.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a scale that is not finite, or an adapter that is named twice.
    pub fn new(loras: &[(LoraAdapter, f32)]) -> Result<Self> {
        let mut set: Vec<(LoraAdapter, f32)> = Vec::with_capacity(loras.len());
        for (i, (adapter, scale)) in loras.iter().enumerate() {
            let path = adapter.path().display();
            if !scale.is_finite() {
                return Err(Error::Invalid(format!(
                    "the scale of LoRA adapter {path} is {scale}; it must be a finite number"
                )));
            }
            if loras[..i].iter().any(|(other, _)| other == adapter) {
                return Err(Error::Invalid(format!(
                    "LoRA adapter {path} is named twice; name it once, with one scale"
                )));
            }
            if *scale != 0.0 {
                set.push((adapter.clone(), *scale));
            }
        }
        set.sort_by(|(a, a_scale), (b, b_scale)| {
            let fingerprints = a.info().fingerprint.cmp(&b.info().fingerprint);
            fingerprints.then(a_scale.total_cmp(b_scale))
        });
        Ok(Self(set.into()))
    }

    /// The set that a saved sequence names (see [`SeqInfo::loras`](super::SeqInfo::loras)), of the adapters that `model` has
    /// loaded.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a text that is none, or an adapter that is not loaded.
    pub fn of_saved(text: &str, model: &Model) -> Result<Self> {
        let loaded = model.loras();
        let one = |word: &str| {
            let (fingerprint, scale) = word
                .split_once('*')
                .and_then(|(fingerprint, scale)| Some((fingerprint, scale.parse().ok()?)))
                .ok_or_else(|| Error::Invalid(format!("`{word}` names no LoRA adapter and its scale")))?;
            let found = loaded.iter().find(|adapter| adapter.info().fingerprint == fingerprint);
            let adapter = found.ok_or_else(|| {
                Error::Invalid(format!(
                    "the saved sequence was computed with the LoRA adapter of the fingerprint {fingerprint}, which is not loaded \
                     here; load it, or compute the sequence again"
                ))
            })?;
            Ok((adapter.clone(), scale))
        };
        let set: Vec<(LoraAdapter, f32)> = text.split_whitespace().map(one).collect::<Result<_>>()?;
        Self::new(&set)
    }
}

impl PartialEq for LoraSet {
    fn eq(&self, other: &Self) -> bool {
        let alike = |((a, a_scale), (b, b_scale)): (&(LoraAdapter, f32), &(LoraAdapter, f32))| {
            a.info().fingerprint == b.info().fingerprint && a_scale == b_scale && a.is_of(b.model())
        };
        self.len() == other.len() && self.iter().zip(other.iter()).all(alike)
    }
}

impl Deref for LoraSet {
    type Target = [(LoraAdapter, f32)];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// `fingerprint*scale` of each, in an order that is the same in every process; empty: none.
impl fmt::Display for LoraSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self
            .iter()
            .map(|(adapter, scale)| format!("{}*{scale}", adapter.info().fingerprint));
        f.write_str(&words.collect::<Vec<_>>().join(" "))
    }
}

impl Context {
    /// Adapters that [`decode`](Self::decode) applies from now on, instead of those before; an empty list: none. What the
    /// cache holds stays as it was computed: remove it, unless it is meant to go on from there.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an adapter of another model, one that is named twice, or a scale that is not finite; what was
    /// set before stays.
    pub fn set_loras(&mut self, loras: &[(LoraAdapter, f32)]) -> Result<()> {
        if **self.loras() == *loras {
            return Ok(());
        }
        let set = LoraSet::new(loras)?;
        if let Some((adapter, _)) = set.iter().find(|(adapter, _)| !adapter.is_of(self.model())) {
            return Err(Error::Invalid(format!(
                "LoRA adapter {} was loaded for another model than this context's; load it with this one",
                adapter.path().display()
            )));
        }
        self.replace_loras(set);
        Ok(())
    }
}

/// Hands a set to the engine.
pub(super) fn apply(context: *mut sys::tq_context, set: &LoraSet) -> Result<()> {
    let raw: Vec<*mut sys::tq_lora> = set.iter().map(|(adapter, _)| adapter.raw()).collect();
    let scales: Vec<f32> = set.iter().map(|(_, scale)| *scale).collect();
    // SAFETY: the context is live; both arrays have `raw.len()` entries and are copied; the adapters are of the context's model,
    // and the context keeps them until it has others.
    call::check(|error| unsafe {
        sys::tq_context_set_loras(context, raw.as_ptr(), scales.as_ptr(), raw.len(), error)
    })?;
    Ok(())
}

//! Model files: loading, describing, tokens.

mod tokenize;

use super::backend::{Backend, parse};
use super::call;
use super::context::{Context, ContextConfig};
use super::lora::{self, LoraAdapter};
use super::meta::ModelMeta;
use crate::error::Failure;
use crate::{Error, Result, sys};
use std::ffi::c_void;
use std::fs::File;
use std::io::Read;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A vocabulary index.
pub type Token = i32;

/// How many layers go to the devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum GpuLayers {
    /// All of them, if there is a device.
    #[default]
    All,
    /// This many, counted from the last.
    Count(u32),
}

/// A loaded model; clones share it, and contexts keep it alive.
#[derive(Debug, Clone)]
pub struct Model(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    raw: NonNull<sys::tq_model>,
    path: PathBuf,
    meta: ModelMeta,
    /// Adapters that were loaded for it.
    loras: Mutex<Vec<Weak<lora::Inner>>>,
}

// SAFETY: a loaded model is never written again: llama.cpp's functions on it take `const` pointers, and the vocabulary
// and the tensors they read are immutable. Freeing happens once, in the last owner's `drop`.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: `raw` came from `tq_model_load` and every context holds a clone of the `Arc`, so none is left.
        unsafe { sys::tq_model_free(self.raw.as_ptr()) }
    }
}

/// Whether this process has ever loaded weights.
static WEIGHTS: AtomicBool = AtomicBool::new(false);

/// Whether this process has ever loaded a model with its weights: what it occupies is then more than the program.
pub(crate) fn model_was_loaded() -> bool {
    WEIGHTS.load(Ordering::Relaxed)
}

type Progress = Box<dyn FnMut(f32) -> ControlFlow<()> + Send>;

/// How to load a model; made by [`Model::builder`].
pub struct ModelBuilder {
    path: PathBuf,
    gpu_layers: GpuLayers,
    mmap: bool,
    metadata_only: bool,
    progress: Option<Progress>,
}

impl ModelBuilder {
    /// How many layers go to the devices.
    #[must_use]
    pub fn gpu_layers(mut self, layers: GpuLayers) -> Self {
        self.gpu_layers = layers;
        self
    }

    /// Map the file instead of reading it (default: yes).
    #[must_use]
    pub fn mmap(mut self, mmap: bool) -> Self {
        self.mmap = mmap;
        self
    }

    /// Read shapes and metadata but no weights: enough to plan, not to compute.
    #[must_use]
    pub fn metadata_only(mut self, only: bool) -> Self {
        self.metadata_only = only;
        self
    }

    /// Calls `f` with the progress from 0 to 1; `Break` stops loading with [`Error::Cancelled`].
    #[must_use]
    pub fn progress(mut self, f: impl FnMut(f32) -> ControlFlow<()> + Send + 'static) -> Self {
        self.progress = Some(Box::new(f));
        self
    }

    /// Loads the model.
    ///
    /// # Errors
    /// [`Error::Load`] with the path and the reason; [`Error::Cancelled`] if the progress function stopped it.
    pub fn load(mut self) -> Result<Model> {
        Backend::init()?;
        let load_error = |reason: String| Error::Load {
            path: self.path.clone(),
            reason,
        };
        check_file(&self.path).map_err(load_error)?;
        let path = self
            .path
            .to_str()
            .ok_or_else(|| load_error("the path is not valid UTF-8, which the engine needs".into()))?;
        let path = call::c_string("path", path)?;
        let params = sys::tq_model_params {
            n_gpu_layers: match self.gpu_layers {
                GpuLayers::All => -1,
                GpuLayers::Count(n) => i32::try_from(n).unwrap_or(-1),
            },
            use_mmap: self.mmap,
            no_alloc: self.metadata_only,
            progress: Some(on_progress),
            progress_user: (&raw mut self.progress).cast::<c_void>(),
        };
        let mut raw = std::ptr::null_mut();
        // SAFETY: the path is NUL-terminated; `params` and the closure behind `progress_user` outlive the call, which
        // does not keep them; `raw` and `error` are valid slots.
        let loaded =
            call::check(|error| unsafe { sys::tq_model_load(path.as_ptr(), &raw const params, &raw mut raw, error) });
        loaded.map_err(|failure: Failure| match failure.status {
            sys::TQ_ABORTED => Error::Cancelled,
            _ => load_error(failure.text),
        })?;
        let raw = NonNull::new(raw).ok_or_else(|| load_error("the engine returned nothing".into()))?;
        WEIGHTS.fetch_or(!self.metadata_only, Ordering::Relaxed);
        let meta = match describe(raw) {
            Ok(meta) => meta,
            Err(error) => {
                // SAFETY: `raw` was just loaded and has no other owner.
                unsafe { sys::tq_model_free(raw.as_ptr()) };
                return Err(error);
            }
        };
        Ok(Model(Arc::new(Inner {
            raw,
            path: self.path,
            meta,
            loras: Mutex::default(),
        })))
    }
}

/// Names the common mistakes before the engine is asked, whose answer to all of them is "failed to load".
pub(super) fn check_file(path: &Path) -> Result<(), String> {
    let meta = path.metadata().map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => "no such file".to_owned(),
        _ => e.to_string(),
    })?;
    if meta.is_dir() {
        return Err("this is a directory; name the .gguf file in it".into());
    }
    if meta.len() == 0 {
        return Err("the file is empty; was a download interrupted?".into());
    }
    let mut magic = [0; 4];
    let mut file = File::open(path).map_err(|e| e.to_string())?;
    match file.read_exact(&mut magic) {
        Ok(()) if &magic == b"GGUF" => Ok(()),
        Ok(()) => Err(format!(
            "not a GGUF file (it starts with {:?})",
            String::from_utf8_lossy(&magic)
        )),
        Err(_) => Err("not a GGUF file (shorter than its signature)".into()),
    }
}

fn describe(raw: NonNull<sys::tq_model>) -> Result<ModelMeta> {
    // SAFETY: `raw` is a loaded model; both slots are valid.
    let json = call::text(|out, error| unsafe { sys::tq_model_describe(raw.as_ptr(), out, error) })?;
    parse("model description", &json)
}

unsafe extern "C" fn on_progress(progress: f32, user: *mut c_void) -> bool {
    // SAFETY: `user` is the `Option<Progress>` of the `load` call that is still running on this thread.
    let callback = unsafe { &mut *user.cast::<Option<Progress>>() };
    let Some(callback) = callback else { return true };
    // A panic must not unwind through C++; it stops the loading.
    catch_unwind(AssertUnwindSafe(|| callback(progress).is_continue())).unwrap_or(false)
}

impl Model {
    /// Starts describing how to load the model at `path`.
    pub fn builder(path: impl Into<PathBuf>) -> ModelBuilder {
        ModelBuilder {
            path: path.into(),
            gpu_layers: GpuLayers::default(),
            mmap: true,
            metadata_only: false,
            progress: None,
        }
    }

    /// Loads the model at `path` with default settings.
    ///
    /// # Errors
    /// As [`ModelBuilder::load`].
    pub fn load(path: impl Into<PathBuf>) -> Result<Model> {
        Self::builder(path).load()
    }

    /// What the model is.
    pub fn meta(&self) -> &ModelMeta {
        &self.0.meta
    }

    /// The file it came from.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// All GGUF metadata as text.
    ///
    /// # Errors
    /// The engine's, which has none in practice.
    pub fn metadata(&self) -> Result<serde_json::Map<String, serde_json::Value>> {
        // SAFETY: `raw` is a loaded model; both slots are valid.
        let json = call::text(|out, error| unsafe { sys::tq_model_metadata(self.raw(), out, error) })?;
        parse("metadata", &json)
    }

    /// Creates a context.
    ///
    /// # Errors
    /// As [`Context::new`].
    pub fn context(&self, config: ContextConfig) -> Result<Context> {
        Context::new(self, config)
    }

    /// Loads a LoRA adapter that was made for this model: a GGUF file as llama.cpp's `convert_lora_to_gguf.py` writes it.
    /// [`Context::set_loras`] applies it. Waits for steps that contexts of this model are computing.
    ///
    /// # Errors
    /// [`Error::LoadLora`] with the path and the reason: no such file, not GGUF, cut short, not an adapter, made for another
    /// architecture or for matrices of other shapes.
    pub fn load_lora(&self, path: impl AsRef<Path>) -> Result<LoraAdapter> {
        let adapter = LoraAdapter::load(self, path.as_ref())?;
        let mut loras = self.0.loras.lock().unwrap_or_else(PoisonError::into_inner);
        loras.retain(|lora| lora.strong_count() > 0);
        loras.push(adapter.downgrade());
        Ok(adapter)
    }

    /// The adapters of this model that somebody holds, oldest first.
    pub fn loras(&self) -> Vec<LoraAdapter> {
        let loras = self.0.loras.lock().unwrap_or_else(PoisonError::into_inner);
        loras.iter().filter_map(LoraAdapter::upgrade).collect()
    }

    /// Whether it is the same load of a file.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The bytes of one token: not always whole characters. `special` spells out control tokens.
    ///
    /// # Errors
    /// A token that is not in the vocabulary.
    pub fn piece(&self, token: Token, special: bool) -> Result<Vec<u8>> {
        let mut piece = call::Text::new();
        // SAFETY: `raw` is a loaded model; both slots are valid. The shim checks the token.
        call::check(|error| unsafe { sys::tq_model_piece(self.raw(), token, special, piece.as_mut_ptr(), error) })?;
        Ok(piece.bytes().to_vec())
    }

    /// The text of `tokens`; bytes that are no UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// A token that is not in the vocabulary.
    pub fn detokenize(&self, tokens: &[Token], special: bool) -> Result<String> {
        let mut bytes = Vec::new();
        for &token in tokens {
            bytes.extend(self.piece(token, special)?);
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Whether `token` ends a generation.
    pub fn is_eog(&self, token: Token) -> bool {
        // SAFETY: `raw` is a loaded model; the shim checks the token.
        unsafe { sys::tq_model_is_eog(self.raw(), token) }
    }

    /// Whether `token` is a control token.
    pub fn is_control(&self, token: Token) -> bool {
        // SAFETY: `raw` is a loaded model; the shim checks the token.
        unsafe { sys::tq_model_is_control(self.raw(), token) }
    }

    pub(super) fn raw(&self) -> *mut sys::tq_model {
        self.0.raw.as_ptr()
    }
}

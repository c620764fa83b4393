//! Random-weight models of any shape: for tests, for measuring memory and speed without a download.
//!
//! ```no_run
//! use llama_turboquant::engine::synth::SynthParams;
//! let params = SynthParams { heads: 8, kv_heads: 2, head_dim: 128, ..SynthParams::default() };
//! params.write("model.gguf")?;
//! # Ok::<(), llama_turboquant::Error>(())
//! ```

use super::call::{self, c_string};
use crate::error::{Error, Failure, Result};
use crate::sys;
use serde::{Deserialize, Serialize};
use std::any::Any;
use std::ffi::{CString, c_void};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

/// Shape of a synthetic model. The engine validates it, so that what is written also loads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SynthParams {
    /// Architecture: `llama`, `qwen2`, `qwen2vl` (M-RoPE), `qwen3`, `gemma3` (sliding windows), `lfm2` (every
    /// other layer recurrent) or `deepseek2` (MLA).
    pub arch: String,
    /// Layers.
    pub layers: u32,
    /// Query heads, a multiple of `kv_heads`.
    pub heads: u32,
    /// KV heads (`deepseek2` has one, whatever is said here).
    pub kv_heads: u32,
    /// Values per head; even.
    pub head_dim: u32,
    /// Width of the residual stream; 0: `heads * head_dim`.
    pub embd: u32,
    /// Width of the feed-forward part; 0: `2 * embd`.
    pub ff: u32,
    /// Tokens of the vocabulary, at least 300.
    pub vocab: u32,
    /// Type of the matrices: `f32`, `f16`, `q8_0` or `q4_0`.
    #[serde(rename = "type")]
    pub weight_type: String,
    /// Seed of the weights; equal parameters give equal files.
    pub seed: u64,
    /// Context length that the file states.
    pub n_ctx: u32,
    /// `gemma3`: sliding window of the local layers.
    pub window: u32,
    /// `qwen2`: standard deviation of the K bias (published models have huge ones).
    pub k_bias: f32,
}

impl Default for SynthParams {
    fn default() -> Self {
        Self {
            arch: "llama".into(),
            layers: 2,
            heads: 4,
            kv_heads: 2,
            head_dim: 64,
            embd: 0,
            ff: 0,
            vocab: 512,
            weight_type: "f16".into(),
            seed: 1,
            n_ctx: 4096,
            window: 512,
            k_bias: 1.0,
        }
    }
}

impl SynthParams {
    /// The default shape of another architecture.
    #[must_use]
    pub fn of(arch: &str) -> Self {
        Self {
            arch: arch.into(),
            ..Self::default()
        }
    }

    /// Size in bytes of the file that [`write`](Self::write) would write.
    ///
    /// # Errors
    /// If the parameters do not describe a model that loads; the text names the key.
    pub fn size(&self) -> Result<u64> {
        let json = self.json()?;
        let mut bytes = 0;
        // SAFETY: `json` is NUL-terminated and outlives the call; `bytes` is a live local.
        call::check(|error| unsafe { sys::tq_model_synth_size(json.as_ptr(), &raw mut bytes, error) })?;
        Ok(bytes)
    }

    /// Writes the model. Nothing is left at `path` unless the whole file was written.
    ///
    /// # Errors
    /// If the parameters are refused (see [`size`](Self::size)) or the file cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        self.write_with(path, |_| ControlFlow::Continue(()))
    }

    /// [`write`](Self::write) that reports progress (0..=1) and can be stopped.
    ///
    /// # Errors
    /// As `write`; [`Error::Cancelled`] if `progress` breaks.
    pub fn write_with<F>(&self, path: impl AsRef<Path>, progress: F) -> Result<()>
    where
        F: FnMut(f32) -> ControlFlow<()>,
    {
        let path = path.as_ref();
        let name = path
            .to_str()
            .ok_or_else(|| Error::Invalid(format!("the path {} is not UTF-8", path.display())))?;
        let (name, json) = (c_string("path", name)?, self.json()?);
        let mut reporter = Reporter { progress, panic: None };
        let user = (&raw mut reporter).cast::<c_void>();
        // SAFETY: the strings outlive the call; `user` points to `reporter`, of the type `report::<F>` expects,
        // which nothing else touches until the call has returned.
        let result = call::check(|error| unsafe {
            sys::tq_model_synth(name.as_ptr(), json.as_ptr(), Some(report::<F>), user, error)
        });
        if let Some(panic) = reporter.panic {
            resume_unwind(panic);
        }
        Ok(result?)
    }

    fn json(&self) -> Result<CString, Failure> {
        let json = serde_json::to_string(self).map_err(|e| Failure {
            status: sys::TQ_INVALID,
            text: format!("the parameters: {e}"),
        })?;
        c_string("the parameters", &json)
    }
}

struct Reporter<F> {
    progress: F,
    /// A panic of `progress`, carried over the C frames.
    panic: Option<Box<dyn Any + Send>>,
}

unsafe extern "C" fn report<F: FnMut(f32) -> ControlFlow<()>>(progress: f32, user: *mut c_void) -> bool {
    // SAFETY: `user` is the `Reporter<F>` of `write_with`, alive and not otherwise borrowed during the call.
    let reporter = unsafe { &mut *user.cast::<Reporter<F>>() };
    match catch_unwind(AssertUnwindSafe(|| (reporter.progress)(progress))) {
        Ok(flow) => flow.is_continue(),
        Err(panic) => {
            reporter.panic = Some(panic);
            false
        }
    }
}

//! Projectors: the encoders that turn an image into what a model reads in place of tokens.

use super::backend::{Backend, parse};
use super::call;
use super::context::Context;
use super::model::{Model, Token, check_file};
use crate::{Error, Result, memory, sys};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

/// How to load a projector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectorConfig {
    /// Encode on a device, if there is one.
    pub offload: bool,
    /// Threads; 0: the physical cores this process may use.
    pub n_threads: u32,
    /// Tokens an image takes at least, with models that take images of any size; `None`: as the file says.
    pub image_min_tokens: Option<u32>,
    /// Tokens an image takes at most, likewise.
    pub image_max_tokens: Option<u32>,
    /// Encode once at the start, so that the first image does not wait for buffers.
    pub warmup: bool,
}

impl Default for ProjectorConfig {
    fn default() -> Self {
        Self {
            offload: true,
            n_threads: 0,
            image_min_tokens: None,
            image_max_tokens: None,
            warmup: true,
        }
    }
}

impl ProjectorConfig {
    fn raw(&self) -> Result<sys::tq_projector_params> {
        let (least, most) = (self.image_min_tokens, self.image_max_tokens);
        let refused = match (least, most) {
            (Some(0), _) | (_, Some(0)) => Some("an image takes one token at least".to_owned()),
            (Some(least), Some(most)) if least > most => Some(format!(
                "an image cannot take at least {least} tokens and at most {most}"
            )),
            _ => None,
        };
        if let Some(text) = refused {
            return Err(Error::Invalid(text));
        }
        let tokens = |n: Option<u32>| n.map_or(-1, |n| i32::try_from(n).unwrap_or(i32::MAX));
        let n_threads = match self.n_threads {
            0 => memory::physical_cores(),
            n => n,
        };
        Ok(sys::tq_projector_params {
            use_gpu: self.offload,
            n_threads: i32::try_from(n_threads.min(super::context::MAX_THREADS)).unwrap_or(1),
            image_min_tokens: tokens(least),
            image_max_tokens: tokens(most),
            warmup: self.warmup,
        })
    }
}

/// What a projector takes and makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct ProjectorInfo {
    /// It takes images.
    pub images: bool,
    /// It takes audio, which this crate does not give it.
    pub audio: bool,
    /// Positions have four sections (time, row, column, unused): M-RoPE.
    pub mrope: bool,
    /// Values of an embedding.
    pub n_embd: u32,
}

/// What a projector takes of memory, and of a context.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ProjectorPlan {
    /// Bytes of weights and buffers, by the names of the devices.
    pub devices: BTreeMap<String, u64>,
    /// Tokens of the largest image; `None`: it does not say.
    pub image_max_tokens: Option<u32>,
    /// An image is computed in one piece: it must fit `n_ubatch`.
    pub non_causal: bool,
}

impl ProjectorPlan {
    /// Looks at a file without loading it.
    ///
    /// # Errors
    /// [`Error::Load`] with the path and the reason; [`Error::Invalid`] for settings that cannot be.
    pub fn of(path: &Path, config: &ProjectorConfig) -> Result<Self> {
        /// Upstream silences its log meanwhile, which is one for the process.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        Backend::init()?;
        let (text, params) = (c_path(path)?, config.raw()?);
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the path is NUL-terminated; the parameters outlive the call; both slots are valid; one call at a time.
        let json =
            call::text(|out, error| unsafe { sys::tq_projector_memory(text.as_ptr(), &raw const params, out, error) })
                .map_err(|failure| load_error(path, failure.text))?;
        parse("projector plan", &json)
    }

    /// Bytes, all devices together.
    pub fn bytes(&self) -> u64 {
        self.devices.values().sum()
    }
}

fn load_error(path: &Path, reason: String) -> Error {
    Error::Load {
        path: path.to_owned(),
        reason,
    }
}

fn c_path(path: &Path) -> Result<CString> {
    check_file(path).map_err(|reason| load_error(path, reason))?;
    let text = path
        .to_str()
        .ok_or_else(|| load_error(path, "the path is not valid UTF-8, which the engine needs".into()))?;
    Ok(call::c_string("path", text)?)
}

/// A loaded projector. Preparing images is done by any number of threads, encoding by one at a time.
#[derive(Debug)]
pub(crate) struct RawProjector {
    raw: NonNull<sys::tq_projector>,
    /// Held while encoding: the projector has one set of buffers.
    encoding: Mutex<()>,
    path: PathBuf,
    model: Model,
    info: ProjectorInfo,
}

// SAFETY: the engine keeps no thread-local state for a projector; preparing only reads it, and encoding, which does not,
// happens under `encoding`.
unsafe impl Send for RawProjector {}
// SAFETY: as above.
unsafe impl Sync for RawProjector {}

impl Drop for RawProjector {
    fn drop(&mut self) {
        // SAFETY: `raw` came from `tq_projector_load`, is freed only here, and the model outlives it.
        unsafe { sys::tq_projector_free(self.raw.as_ptr()) }
    }
}

impl RawProjector {
    pub(crate) fn load(model: &Model, path: &Path, config: &ProjectorConfig) -> Result<Self> {
        Backend::init()?;
        let (text, params) = (c_path(path)?, config.raw()?);
        let mut raw = std::ptr::null_mut();
        // SAFETY: the model is live and `self.model` keeps it so; the path is NUL-terminated; the parameters outlive the
        // call, which copies them.
        call::check(|error| unsafe {
            sys::tq_projector_load(model.raw(), text.as_ptr(), &raw const params, &raw mut raw, error)
        })
        .map_err(|failure| load_error(path, failure.text))?;
        let raw = NonNull::new(raw).ok_or_else(|| load_error(path, "the engine returned nothing".into()))?;
        let mut projector = Self {
            raw,
            encoding: Mutex::default(),
            path: path.to_owned(),
            model: model.clone(),
            info: ProjectorInfo {
                images: false,
                audio: false,
                mrope: false,
                n_embd: 0,
            },
        };
        // SAFETY: the projector is live; both slots are valid.
        let json = call::text(|out, error| unsafe { sys::tq_projector_describe(raw.as_ptr(), out, error) })?;
        projector.info = parse("projector description", &json)?;
        if !projector.info.images {
            return Err(load_error(path, "it takes no images".into()));
        }
        Ok(projector)
    }

    pub(crate) fn info(&self) -> ProjectorInfo {
        self.info
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn model(&self) -> &Model {
        &self.model
    }

    /// What the model sees in place of an image of `width` times `height` RGB pixels.
    pub(crate) fn prepare(&self, width: u32, height: u32, rgb: &[u8]) -> Result<Chunks> {
        if width == 0 || height == 0 || rgb.len() as u64 != 3 * u64::from(width) * u64::from(height) {
            return Err(Error::Invalid(format!(
                "{} bytes are no image of {width}x{height} RGB pixels",
                rgb.len()
            )));
        }
        let image = sys::tq_image {
            width,
            height,
            rgb: rgb.as_ptr(),
        };
        let mut raw = std::ptr::null_mut();
        // SAFETY: the projector is live and only read; the image has the pixels that its size says, as was just checked,
        // and outlives the call.
        call::check(|error| unsafe {
            sys::tq_projector_prepare(self.raw.as_ptr(), &raw const image, &raw mut raw, error)
        })?;
        let raw = NonNull::new(raw).ok_or_else(|| Error::Engine("the engine returned no chunks".into()))?;
        let mut chunks = Chunks {
            raw,
            list: Vec::new(),
            sections: if self.info.mrope { 4 } else { 1 },
        };
        // SAFETY: the chunks are live; both slots are valid.
        let json = call::text(|out, error| unsafe { sys::tq_chunks_describe(raw.as_ptr(), out, error) })?;
        chunks.list = parse("description of an image", &json)?;
        Ok(chunks)
    }

    /// The embeddings of chunk `number`, `n_tokens` times `n_embd` values. Blocks while another thread encodes.
    pub(crate) fn encode(&self, chunks: &Chunks, number: usize) -> Result<Vec<f32>> {
        let Some(Chunk::Image { n_tokens, .. }) = chunks.list.get(number) else {
            return Err(Error::Invalid(format!("chunk {number} is no image")));
        };
        let mut values = vec![0.0; n_tokens * self.info.n_embd as usize];
        let _turn = self.encoding.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: projector and chunks are live, `values` has the length that is given, and nobody else encodes.
        call::check(|error| unsafe {
            sys::tq_projector_encode(
                self.raw.as_ptr(),
                chunks.raw.as_ptr(),
                number,
                values.as_mut_ptr(),
                values.len(),
                error,
            )
        })?;
        Ok(values)
    }
}

/// A part of what the model sees in place of an image.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Chunk {
    Tokens {
        tokens: Vec<Token>,
    },
    Image {
        n_tokens: usize,
        /// Positions it takes: as many as tokens, or with M-RoPE the longer side of the grid.
        n_positions: usize,
        non_causal: bool,
    },
}

/// An image as the projector has prepared it.
#[derive(Debug)]
pub(crate) struct Chunks {
    raw: NonNull<sys::tq_chunks>,
    list: Vec<Chunk>,
    sections: usize,
}

// SAFETY: chunks are values of their own; the engine keeps nothing of them elsewhere.
unsafe impl Send for Chunks {}
// SAFETY: through `&self` they are only read.
unsafe impl Sync for Chunks {}

impl Drop for Chunks {
    fn drop(&mut self) {
        // SAFETY: `raw` came from `tq_projector_prepare` and is freed only here.
        unsafe { sys::tq_chunks_free(self.raw.as_ptr()) }
    }
}

impl Chunks {
    pub(crate) fn list(&self) -> &[Chunk] {
        &self.list
    }

    /// Lets go of the pixels, once all is encoded.
    pub(crate) fn strip(&mut self) {
        // SAFETY: the chunks are live and borrowed mutably.
        unsafe { sys::tq_chunks_strip(self.raw.as_ptr()) }
    }

    /// The positions of chunk `number` when it begins at position `first`, section after section.
    pub(crate) fn positions(&self, number: usize, first: i32) -> Result<Vec<i32>> {
        let Some(Chunk::Image { n_tokens, .. }) = self.list.get(number) else {
            return Err(Error::Invalid(format!("chunk {number} is no image")));
        };
        let mut positions = vec![0; n_tokens * self.sections];
        // SAFETY: the chunks are live, and `positions` has the length that is given.
        call::check(|error| unsafe {
            sys::tq_chunks_positions(
                self.raw.as_ptr(),
                number,
                first,
                positions.as_mut_ptr(),
                positions.len(),
                error,
            )
        })?;
        Ok(positions)
    }
}

/// Embeddings to be computed in place of tokens, all of one sequence.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Embeddings<'a> {
    /// `n_embd` values for each.
    pub(crate) values: &'a [f32],
    /// One for each, or with M-RoPE four sections of that many.
    pub(crate) positions: &'a [i32],
    pub(crate) n_tokens: usize,
    pub(crate) non_causal: bool,
}

impl Context {
    /// Computes embeddings and appends them to the cache.
    pub(crate) fn decode_embeddings(&mut self, seq: i32, embeddings: Embeddings<'_>) -> Result<()> {
        let raw_embeddings = sys::tq_embeddings {
            n_tokens: embeddings.n_tokens,
            values: embeddings.values.as_ptr(),
            n_values: embeddings.values.len(),
            positions: embeddings.positions.as_ptr(),
            n_sections: embeddings.positions.len() / embeddings.n_tokens.max(1),
            sequence: seq,
            non_causal: embeddings.non_causal,
        };
        // SAFETY: both arrays have the lengths that are given (`n_sections` times `n_tokens` is at most that of the
        // positions) and outlive the call; the shim checks that they fit the model, the context and each other.
        call::check(|error| unsafe { sys::tq_context_decode_embeddings(self.raw(), &raw const raw_embeddings, error) })
            .map_err(|failure| match failure.status {
                sys::TQ_FULL => Error::ContextFull {
                    n_prompt: embeddings.n_tokens,
                    n_ctx: self.n_ctx_seq() as usize,
                },
                _ => failure.into(),
            })
    }
}

//! What can go wrong, and the single conversion from the shim's status.

use crate::sys;
use std::path::PathBuf;

/// The crate's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error says what was attempted, on what, and (in `reason`) the engine's own words.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A model file could not be loaded.
    #[error("cannot load model {}: {reason}", path.display())]
    Load {
        /// The file that was asked for.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A LoRA adapter could not be loaded.
    #[error("cannot load LoRA adapter {}: {reason}", path.display())]
    LoadLora {
        /// The file that was asked for.
        path: PathBuf,
        /// What is wrong with it, or why it does not belong to the model.
        reason: String,
    },
    /// A KV cache type, or a pair of types, does not work with this model or device.
    #[error("{0}")]
    UnsupportedKv(#[from] crate::kv::KvIssue),
    /// The memory needed is not there; nothing was allocated.
    #[error("not enough memory for {what}: {need} bytes needed, {free} bytes available")]
    OutOfMemory {
        /// What the memory is for.
        what: String,
        /// Bytes needed.
        need: u64,
        /// Bytes available.
        free: u64,
    },
    /// A prompt does not fit the context.
    #[error("the request of {n_prompt} tokens exceeds the available context size of {n_ctx} tokens")]
    ContextFull {
        /// Tokens of the prompt.
        n_prompt: usize,
        /// Tokens the context can hold.
        n_ctx: usize,
    },
    /// The operation was cancelled by its [`CancelToken`](crate::CancelToken).
    #[error("cancelled")]
    Cancelled,
    /// An argument is out of range or malformed.
    #[error("{0}")]
    Invalid(String),
    /// Valid, but not possible here.
    #[error("{0}")]
    Unsupported(String),
    /// A chat template could not be read or applied.
    #[error("chat template: {0}")]
    Template(String),
    /// A grammar or JSON schema could not be compiled.
    #[error("grammar: {0}")]
    Grammar(String),
    /// The engine failed; the text is its own.
    #[error("{0}")]
    Engine(String),
    /// A file could not be written, because the disk, the user's share of it, or what a file may have, is full.
    #[error("cannot write {}: {source}; it takes {need} bytes, make room for them and try again", path.display())]
    DiskFull {
        /// The file.
        path: PathBuf,
        /// Bytes that it has when it is whole.
        need: u64,
        /// The system's words.
        source: std::io::Error,
    },
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// A failed call of the shim, before the layer that made it adds what it was about.
#[derive(Debug)]
pub(crate) struct Failure {
    pub status: sys::tq_status,
    pub text: String,
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure.status {
            sys::TQ_INVALID => Error::Invalid(failure.text),
            sys::TQ_UNSUPPORTED => Error::Unsupported(failure.text),
            sys::TQ_ABORTED => Error::Cancelled,
            _ => Error::Engine(failure.text),
        }
    }
}

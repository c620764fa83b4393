//! What can be wrong with a name or a folder of models.

use std::path::PathBuf;

/// An operation on the models folder that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No model of that name.
    #[error("model '{0}' not found")]
    NotFound(String),
    /// A name that cannot be given to a model.
    #[error("invalid model name '{name}': {reason}")]
    InvalidName {
        /// As it came, shortened.
        name: String,
        /// What a name must look like.
        reason: &'static str,
    },
    /// The name stands for something that the program did not put there.
    #[error("{0}")]
    NotOurs(String),
    /// A description of a model that cannot be followed.
    #[error("{0}")]
    Invalid(String),
    /// Something that Ollama does and this program does not.
    #[error("{0}")]
    NotSupported(String),
    /// Uploaded bytes that are not what their digest says.
    #[error("the upload's digest is sha256:{got}, not sha256:{expected} as announced; nothing was kept, send it again")]
    Digest {
        /// In the request.
        expected: String,
        /// Of the bytes.
        got: String,
    },
    /// Not enough room.
    #[error(
        "{path} has {free} bytes free, and {need} more are needed; make room or choose another folder (--models-dir)"
    )]
    DiskFull {
        /// The folder.
        path: PathBuf,
        /// Bytes that would be written.
        need: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The file system refused.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// A verb.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
}

/// For `map_err`: says what was attempted.
pub(crate) fn cannot<'a>(
    what: &'static str,
    path: &'a std::path::Path,
) -> impl FnOnce(std::io::Error) -> Error + use<'a> {
    move |source| Error::Io {
        what,
        path: path.to_owned(),
        source,
    }
}

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
    /// No room after all, in the midst of writing.
    #[error(
        "cannot write {path}: {source}; {need} more bytes are needed. Make room or choose another folder (--models-dir), and try \
         again"
    )]
    NoRoom {
        /// The file.
        path: PathBuf,
        /// Bytes that were still to be written.
        need: u64,
        /// The system's words.
        source: std::io::Error,
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

/// Whether an error means that a file cannot become larger: the disk, the user's share of it, or what a file may have, is full.
pub(crate) fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// For `map_err` where `need` bytes were still to be written to a file.
pub(crate) fn cannot_write(path: &std::path::Path, need: u64) -> impl FnOnce(std::io::Error) -> Error + use<'_> {
    move |source| match is_full(&source) {
        true => Error::NoRoom {
            path: path.to_owned(),
            need,
            source,
        },
        false => cannot("write", path)(source),
    }
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

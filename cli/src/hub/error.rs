//! What can be wrong with a download.

use crate::store;

/// A download that did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Text that names no model on a hub.
    #[error("'{text}' names no model on a hub: {reason}; write org/repo, org/repo:QUANT or org/repo:file.gguf")]
    Reference {
        /// As it came, shortened.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A URL of a hub that cannot be used.
    #[error("the hub's URL '{url}' cannot be used: {reason} (--hub-url, HF_ENDPOINT)")]
    Url {
        /// As it came.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The hub has no such repository or file.
    #[error("{0}")]
    NotFound(String),
    /// The hub does not give it to everybody.
    #[error(
        "{url}: the hub refuses access ({status}); the name may be wrong, or the model needs an accepted licence and a token \
         (HF_TOKEN or --hf-token)"
    )]
    Denied {
        /// What was asked for.
        url: String,
        /// 401 or 403.
        status: u16,
    },
    /// Nothing may be asked of a hub.
    #[error("{url} is not asked, because of --offline; pull the model without it first")]
    Offline {
        /// What would have been asked for.
        url: String,
    },
    /// Bytes that are not those the hub announced.
    #[error("{file}: its SHA-256 is {got}, and the hub says {expected}; the download was deleted, pull it again")]
    Checksum {
        /// In the repository.
        file: String,
        /// By the hub.
        expected: String,
        /// Of the bytes.
        got: String,
    },
    /// Somebody asked to stop. What has come so far is kept.
    #[error("the download was interrupted; what has come so far is kept, and the next pull goes on from there")]
    Cancelled,
    /// The hub's answer makes no sense, or leads where it must not.
    #[error("{url}: {reason}")]
    Answer {
        /// What was asked for.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The connection did not hold, also not when tried again.
    #[error("{url}: {reason}; given up after {attempts} attempts, what has come so far is kept")]
    Connection {
        /// What was asked for.
        url: String,
        /// Of the last attempt.
        reason: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// The models folder.
    #[error(transparent)]
    Store(#[from] store::Error),
}

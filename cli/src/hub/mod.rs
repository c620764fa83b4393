//! Downloads from a hub in the manner of Hugging Face.
//!
//! ```text
//! pull -> reference (what is asked for) -> files (what the hub has, which are meant) -> transfer (one file, resumed) -> Store
//! ```
//!
//! Own code over `ureq` instead of the crate `hf-hub` 1.0: that one resumes no file that broke off, does not check what it
//! stored against the hub's SHA-256, and brings a second HTTP stack (reqwest, hyper, hf-xet) and its cache layout.

mod address;
mod error;
mod files;
mod http;
mod patience;
mod pull;
mod reference;
mod reply;
mod transfer;

pub use error::Error;
pub use files::{RemoteFile, wanted};
pub use http::{Hub, HubSettings};
pub use patience::Patience;
pub use pull::{Status, obtain, pull};
pub use reference::{Reference, Selector};

/// The hub for users who name none.
pub const DEFAULT_URL: &str = "https://huggingface.co";

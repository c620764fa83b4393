//! The endpoints, one file each: path, method and body.
//!
//! A file offers `router()`, which `app.rs` merges.

pub mod api_blobs;
pub mod api_copy;
pub mod api_create;
pub mod api_delete;
pub mod api_pull;
pub mod api_unsupported;
pub mod chat_completions;
pub mod completion;
pub mod completions;
pub mod detokenize;
pub mod health;
pub mod models;
pub mod props;
pub mod root;
pub mod tokenize;

//! The endpoints, one file each: path, method and body.
//!
//! A file offers `router()`, which `app.rs` merges.

pub mod chat_completions;
pub mod completion;
pub mod completions;
pub mod detokenize;
pub mod health;
pub mod metrics;
pub mod models;
pub mod openapi;
pub mod props;
pub mod root;
pub mod slot_list;
pub mod tokenize;

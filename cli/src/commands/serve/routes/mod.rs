//! The endpoints, one file each: path, method and body.
//!
//! A file offers `router()`, which `app.rs` merges.

pub mod api_blobs;
pub mod api_chat;
pub mod api_copy;
pub mod api_create;
pub mod api_delete;
pub mod api_embed;
pub mod api_embeddings;
pub mod api_generate;
pub mod api_ps;
pub mod api_pull;
pub mod api_show;
pub mod api_tags;
pub mod api_unsupported;
pub mod api_version;
pub mod apply_template;
pub mod chat_completions;
pub mod completion;
pub mod completions;
pub mod detokenize;
pub mod embeddings;
pub mod health;
pub mod infill;
pub mod lora_adapters;
pub mod messages;
pub mod metrics;
pub mod models;
pub mod models_load;
pub mod models_unload;
pub mod openapi;
pub mod props;
pub mod rerank;
pub mod responses;
pub mod results;
pub mod root;
pub mod slot_actions;
pub mod slot_list;
pub mod tokenize;
pub mod web_files;

//! What `turboquant serve` promises to its clients, one test per promise, against a scripted
//! backend: no model, no engine.

use llama_turboquant_cli::commands::serve;

mod cancel;
mod chat;
mod chat_request;
mod chat_stream;
mod completions;
mod errors;
mod guards;
mod looks;
mod metrics;
mod models;
mod native_completion;
mod openapi;
mod requests;
mod socket;
mod support;
mod tokens;
mod validation;

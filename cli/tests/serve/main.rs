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
mod models;
mod models_folder;
mod native_completion;
mod socket;
#[path = "../hub/stand_in.rs"]
#[allow(dead_code)] // this binary uses a part of it
mod stand_in;
mod support;
mod tokens;
mod validation;

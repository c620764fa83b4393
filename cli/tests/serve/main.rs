//! What `turboquant serve` promises to its clients, one test per promise, against a scripted
//! backend: no model, no engine.

use llama_turboquant_cli::commands::serve;

mod cancel;
#[path = "../support/certificate.rs"]
mod certificate;
mod chat;
mod chat_request;
mod chat_stream;
mod completions;
mod defaults;
mod embeddings;
mod errors;
mod faults;
mod fuzz;
mod guards;
mod hub;
mod infill;
mod listening;
mod load;
mod looks;
mod lora;
mod messages;
mod metrics;
mod models;
mod models_folder;
mod native_completion;
mod ollama_answers;
mod ollama_embed;
mod ollama_errors;
mod ollama_models;
mod ollama_options;
mod ollama_requests;
mod ollama_tools;
mod openapi;
mod progress;
mod requests;
mod rerank;
mod responses;
mod results;
mod socket;
mod support;
mod tokens;
mod validation;
mod web;

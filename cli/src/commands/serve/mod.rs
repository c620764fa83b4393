//! `turboquant serve`: an HTTP server for the clients people already have.
//!
//! ```text
//! request -> app (guards) -> routes/<endpoint> -> openai (parse) -> Job -> Backend
//! response <- routes/<endpoint> <- openai (shape) <- Choices <- Event <-----'
//! ```
//!
//! The layer knows the engine only through [`backend::Backend`]. A new endpoint is a file in
//! [`routes`] and one `.merge(...)` in [`mod@app`]; a new dialect is a module beside [`openai`] that
//! reads requests into jobs and implements [`stream::Dialect`].

pub mod access;
pub mod activity;
pub mod address;
pub mod anthropic;
pub mod app;
pub mod backend;
pub mod body;
pub mod choices;
pub mod command;
pub mod crowd;
pub mod defaults;
pub mod doors;
pub mod engine;
pub mod error;
pub mod error_shape;
pub mod guard;
pub mod ids;
pub mod keep_alive;
pub mod listen;
pub mod load_notice;
pub mod observe;
pub mod ollama;
pub mod ollama_store;
pub mod on_offer;
pub mod openai;
pub mod openapi;
pub mod paced;
pub mod responses;
pub mod results;
pub mod routes;
pub mod sse;
pub mod start;
pub mod state;
pub mod stream;
pub mod tls;
pub mod web;
pub mod wire;

pub use app::app;
pub use listen::{Connections, bind, interrupted, listen, serve, serve_all};
pub use state::{AppState, Settings};

//! Ollama's dialect: requests to jobs, events to lines of JSON.
//!
//! ```text
//! body -> target (which model, what its alias says) -> options, format, think
//!      -> generate | chat -> Job -> answer (one line per event, or one object)
//! ```
//!
//! Errors are [`ApiError`](crate::commands::serve::error::ApiError)s as everywhere; `app.rs` writes those of `/api/*` in
//! the shape that [`error`] defines.

pub mod answer;
pub mod chat;
pub mod context;
pub mod embed;
pub mod error;
pub mod fit;
pub mod generate;
pub mod lines;
mod messages;
mod options;
pub mod request;
pub mod shown;
pub mod target;
pub mod time;
pub mod whole;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Content type of everything that is not a stream.
pub const JSON: &str = "application/json; charset=utf-8";

/// A response of one JSON object.
// Serialized from the value itself: a detour over `Value` widens an f32 and then prints digits that mean nothing.
pub fn json(value: &impl Serialize) -> Response {
    ([(header::CONTENT_TYPE, JSON)], text(value)).into_response()
}

fn text(value: &impl Serialize) -> Vec<u8> {
    // Fails only for maps with keys that are not strings, and none of our shapes has one.
    serde_json::to_vec(value).expect("answers are serializable")
}

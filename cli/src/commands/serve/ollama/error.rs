//! Errors as Ollama's clients see them: `{"error":"text"}`.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::commands::serve::error::ApiError;
use crate::commands::serve::error_shape::ErrorShape;

/// Where this dialect is spoken.
const PREFIX: &str = "/api/";

/// What Ollama says of a full queue, its two spaces included; clients compare it.
const BUSY: &str = "server busy, please try again.  maximum pending requests exceeded";

/// Errors under `/api/`.
pub const SHAPE: ErrorShape = ErrorShape {
    speaks: |path| path.starts_with(PREFIX),
    status: |error, _| status(error),
    body,
    content_type: super::JSON,
};

/// Ollama answers 503 where OpenAI answers 429.
fn status(error: &ApiError) -> StatusCode {
    match error.status() {
        StatusCode::TOO_MANY_REQUESTS => StatusCode::SERVICE_UNAVAILABLE,
        status => status,
    }
}

/// The body, also sent as the last line of a stream that breaks off.
pub fn body(error: &ApiError) -> Value {
    match error.status() {
        StatusCode::TOO_MANY_REQUESTS => json!({ "error": BUSY }),
        _ => json!({ "error": error.message() }),
    }
}

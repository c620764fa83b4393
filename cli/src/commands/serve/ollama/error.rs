//! Errors as Ollama's clients see them: `{"error":"text"}`.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use serde_json::{Value, json};

use crate::commands::serve::error::ApiError;

/// Where this dialect is spoken.
const PREFIX: &str = "/api/";

/// What Ollama says of a full queue, its two spaces included; clients compare it.
const BUSY: &str = "server busy, please try again.  maximum pending requests exceeded";

/// Writes errors under `/api/` in Ollama's shape, wherever they came from: handler, guard or router.
pub async fn speak(request: Request, next: Next) -> Response {
    let ours = request.uri().path().starts_with(PREFIX);
    let response = next.run(request).await;
    match response.extensions().get::<ApiError>() {
        Some(error) if ours => translate(&error.clone(), response),
        _ => response,
    }
}

/// Keeps the headers, which say when to try again and which methods there are.
fn translate(error: &ApiError, mut response: Response) -> Response {
    *response.status_mut() = status(error);
    *response.body_mut() = Body::from(body(error).to_string());
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(super::JSON));
    response
}

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

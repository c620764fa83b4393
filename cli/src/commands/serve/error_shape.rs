//! Errors in the shape of the dialect that is spoken at their path, wherever they came from: handler, guard or router.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use serde_json::Value;

use crate::commands::serve::error::ApiError;
use crate::commands::serve::{anthropic, ollama};

/// How a dialect other than OpenAI's writes an error.
pub struct ErrorShape {
    /// Whether the dialect is spoken at this path.
    pub speaks: fn(&str) -> bool,
    /// The status, which may depend on the headers that say when to try again.
    pub status: fn(&ApiError, &HeaderMap) -> StatusCode,
    /// The body.
    pub body: fn(&ApiError) -> Value,
    /// Its content type.
    pub content_type: &'static str,
}

const SHAPES: [ErrorShape; 2] = [ollama::error::SHAPE, anthropic::error::SHAPE];

/// Writes an error in the shape of its path. Headers stay: they say when to try again, and which methods there are.
pub async fn speak(request: Request, next: Next) -> Response {
    let shape = SHAPES.iter().find(|shape| (shape.speaks)(request.uri().path()));
    let mut response = next.run(request).await;
    let Some((shape, error)) = shape.zip(response.extensions().get::<ApiError>().cloned()) else {
        return response;
    };
    *response.status_mut() = (shape.status)(&error, response.headers());
    *response.body_mut() = Body::from((shape.body)(&error).to_string());
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(shape.content_type));
    response
}

//! Errors as Anthropic's clients expect them.

use axum::http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};

use crate::commands::serve::error::ApiError;
use crate::commands::serve::error_shape::ErrorShape;

/// What Anthropic's servers send when they have no room.
const OVERLOADED: u16 = 529;

/// Errors of this dialect's routes.
pub const SHAPE: ErrorShape = ErrorShape {
    speaks: is_ours,
    status,
    body,
    content_type: "application/json",
};

fn is_ours(path: &str) -> bool {
    let path = path.strip_prefix("/v1").unwrap_or(path);
    path.strip_prefix("/messages")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// 503 is not among Anthropic's statuses. One that passes is 529, which clients wait out.
fn status(error: &ApiError, headers: &HeaderMap) -> StatusCode {
    match error.status() {
        StatusCode::SERVICE_UNAVAILABLE if headers.contains_key(header::RETRY_AFTER) => {
            StatusCode::from_u16(OVERLOADED).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
        }
        StatusCode::SERVICE_UNAVAILABLE => StatusCode::INTERNAL_SERVER_ERROR,
        status => status,
    }
}

/// The body, also sent as the last event of a stream that breaks off.
pub fn body(error: &ApiError) -> Value {
    let kind = match error.status() {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::NOT_FOUND => "not_found_error",
        StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
        status if status.is_server_error() => "api_error",
        _ => "invalid_request_error",
    };
    json!({ "type": "error", "error": { "type": kind, "message": message(error) } })
}

/// Clients search the text for these words, and then shorten the conversation.
fn message(error: &ApiError) -> String {
    let body = error.body();
    let number = |name: &str| body["error"][name].as_u64();
    match (number("n_prompt_tokens"), number("n_ctx")) {
        (Some(n_prompt), Some(n_ctx)) => format!("prompt is too long: {n_prompt} tokens > {n_ctx} maximum"),
        _ => error.message().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::is_ours;

    #[test]
    fn only_the_routes_of_this_dialect_have_its_errors() {
        for path in ["/v1/messages", "/messages", "/v1/messages/count_tokens"] {
            assert!(is_ours(path), "{path}");
        }
        for path in ["/v1/chat/completions", "/v1/messagesx", "/", "/v1"] {
            assert!(!is_ours(path), "{path}");
        }
    }
}

//! Errors as clients see them: one type, turned into a response once.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::commands::serve::backend::BackendError;

/// An error with all that its response says.
///
/// The body has OpenAI's shape. The response carries the error along as an extension, so that a layer in `app.rs` can write
/// it in the shape of another dialect.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError(Box<Parts>);

#[derive(Clone, Debug, PartialEq)]
struct Parts {
    status: StatusCode,
    message: String,
    param: Option<String>,
    code: Option<&'static str>,
    context: Option<Context>,
    retry: Retry,
}

/// The two numbers that let a client shorten its prompt.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Context {
    n_prompt: u32,
    n_ctx: u32,
}

/// What a client may conclude about trying again. SDKs retry 429 and 5xx on their own, and obey
/// these headers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Retry {
    Unsaid,
    After(Duration),
    Never,
}

impl ApiError {
    /// An error with a status and a message for the caller.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            status,
            message: message.into(),
            param: None,
            code: None,
            context: None,
            retry: Retry::Unsaid,
        }))
    }

    /// 400, about the request as a whole.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 400, about one field. The message need not repeat its name.
    pub fn param(param: impl Into<String>, message: impl std::fmt::Display) -> Self {
        let param = param.into();
        let mut error = Self::invalid(format!("'{param}' {message}"));
        error.0.param = Some(param);
        error
    }

    /// 404 for a model that is not there.
    pub fn model_not_found(model: &str) -> Self {
        let mut error = Self::new(StatusCode::NOT_FOUND, format!("model '{model}' not found")).code("model_not_found");
        error.0.param = Some("model".into());
        error
    }

    /// Adds a code for programs to branch on.
    pub fn code(mut self, code: &'static str) -> Self {
        self.0.code = Some(code);
        self
    }

    /// Tells clients that trying again is in vain.
    pub fn never_retry(mut self) -> Self {
        self.0.retry = Retry::Never;
        self
    }

    /// The status of the response.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The text for the caller.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Whether the prompt did not fit into the context.
    pub fn is_context_overflow(&self) -> bool {
        self.0.context.is_some()
    }

    /// The body, also sent as the last event of a stream that breaks off.
    pub fn body(&self) -> Value {
        let Parts {
            message,
            param,
            code,
            context,
            ..
        } = &*self.0;
        let mut error = json!({ "message": message, "type": self.kind(), "param": param, "code": code });
        if let Some(Context { n_prompt, n_ctx }) = context {
            error["n_prompt_tokens"] = json!(n_prompt);
            error["n_ctx"] = json!(n_ctx);
        }
        json!({ "error": error })
    }

    /// The `type` field, as llama-server names it.
    fn kind(&self) -> &'static str {
        match self.0.status {
            _ if self.0.context.is_some() => "exceed_context_size_error",
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::NOT_FOUND => "not_found_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            StatusCode::NOT_IMPLEMENTED => "not_supported_error",
            StatusCode::SERVICE_UNAVAILABLE => "unavailable_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        }
    }
}

impl From<BackendError> for ApiError {
    fn from(error: BackendError) -> Self {
        match error {
            BackendError::InvalidRequest { message, param } => {
                let mut error = Self::invalid(message);
                error.0.param = param;
                error
            }
            BackendError::ContextOverflow { n_prompt, n_ctx } => {
                // Clients search the text for llama-server's wording.
                let mut error = Self::invalid(format!(
                    "the request has {n_prompt} tokens, which exceeds the available context size \
                     of {n_ctx} tokens; shorten it or start the server with a larger context"
                ))
                .code("context_length_exceeded");
                error.0.context = Some(Context { n_prompt, n_ctx });
                error
            }
            BackendError::Overloaded { retry_after } => {
                let mut error = Self::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "the server is busy and its queue is full",
                );
                error.0.retry = Retry::After(retry_after);
                error
            }
            BackendError::Busy { message, retry_after } => {
                let mut error = Self::new(StatusCode::SERVICE_UNAVAILABLE, message);
                error.0.retry = Retry::After(retry_after);
                error
            }
            BackendError::UnknownModel(name) => Self::model_not_found(&name),
            BackendError::Loading => {
                let mut error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "Loading model");
                error.0.retry = Retry::After(Duration::from_secs(2));
                error
            }
            BackendError::NotSupported(message) => Self::new(StatusCode::NOT_IMPLEMENTED, message).never_retry(),
            BackendError::Unavailable(message) => Self::new(StatusCode::SERVICE_UNAVAILABLE, message).never_retry(),
            BackendError::NoRoom { message, detail } => {
                tracing::warn!("{detail}");
                Self::new(StatusCode::INSUFFICIENT_STORAGE, message)
                    .code("insufficient_storage")
                    .never_retry()
            }
            BackendError::Internal { message, detail } => {
                tracing::error!(%detail, "{message}");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status(), Json(self.body())).into_response();
        let headers = response.headers_mut();
        match self.0.retry {
            Retry::Unsaid => {}
            Retry::After(wait) => {
                // Whole seconds, and never 0: clients read that as "at once".
                let seconds = wait.as_millis().div_ceil(1000).clamp(1, 3600) as u64;
                headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
            Retry::Never => {
                headers.insert("x-should-retry", HeaderValue::from_static("false"));
            }
        }
        if self.status() == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // A dialect with errors of another shape finds it here.
        response.extensions_mut().insert(self);
        response
    }
}

//! Errors as Ollama's clients read them: `{"error":"text"}`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::commands::serve::error::ApiError;
use crate::{hub, store};

/// An error with its status.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// Of the response, where none was begun.
    pub status: StatusCode,
    /// For the reader.
    pub message: String,
}

impl Failure {
    /// An error with a status and a text for the caller.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    /// 500; what happened goes into the log.
    pub fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "a request for the models folder failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the models folder cannot be used; see the server's log",
        )
    }

    /// 507; the error has paths of this machine, and goes into the log.
    fn full(error: &store::Error, room: &str) -> Self {
        tracing::warn!("{error}");
        Self::new(
            StatusCode::INSUFFICIENT_STORAGE,
            format!(
                "the disk of the models folder is full: {room}; make room and try again, what has come so far is kept"
            ),
        )
    }

    /// The body; also the last line of a stream that breaks off.
    pub fn body(&self) -> Value {
        json!({ "error": self.message })
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(self.body())).into_response()
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::new(error.status(), error.message())
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        let status = match &error {
            store::Error::NotFound(_) => StatusCode::NOT_FOUND,
            store::Error::InvalidName { .. }
            | store::Error::NotOurs(_)
            | store::Error::Invalid(_)
            | store::Error::Digest { .. } => StatusCode::BAD_REQUEST,
            store::Error::NotSupported(_) => StatusCode::NOT_IMPLEMENTED,
            store::Error::DiskFull { need, free, .. } => {
                let room = format!("{need} more bytes are needed, and {free} are free");
                return Self::full(&error, &room);
            }
            store::Error::NoRoom { need, .. } => {
                return Self::full(&error, &format!("{need} more bytes are needed"));
            }
            store::Error::Io { source, .. } if store::is_full(source) => {
                return Self::full(&error, "a few more bytes are needed");
            }
            store::Error::Io { .. } => return Self::internal(&error),
        };
        Self::new(status, error.to_string())
    }
}

impl From<hub::Error> for Failure {
    fn from(error: hub::Error) -> Self {
        let status = match error {
            hub::Error::Reference { .. } => StatusCode::BAD_REQUEST,
            hub::Error::NotFound(_) => StatusCode::NOT_FOUND,
            // not 401: the client's own key was right
            hub::Error::Denied { .. } => StatusCode::FORBIDDEN,
            hub::Error::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
            hub::Error::Offline { .. } => StatusCode::NOT_IMPLEMENTED,
            hub::Error::Store(error) => return error.into(),
            hub::Error::Url { .. }
            | hub::Error::Checksum { .. }
            | hub::Error::Answer { .. }
            | hub::Error::Connection { .. } => StatusCode::BAD_GATEWAY,
        };
        Self::new(status, error.to_string())
    }
}

//! What the routes share that manage models in Ollama's dialect.

mod error;
mod lines;

pub use error::Failure;
pub use lines::{CancelOnDrop, Line, Lines, lines};

use std::sync::Arc;

use axum::http::StatusCode;

use crate::commands::serve::body::{Body, Fields};
use crate::commands::serve::error::ApiError;
use crate::commands::serve::state::AppState;
use crate::store::Store;

/// The store, or why there is none.
pub fn store(state: &AppState) -> Result<Arc<Store>, Failure> {
    state.store.clone().ok_or_else(|| {
        let message = "this server has no models folder that clients may change; start it with --models-dir";
        Failure::new(StatusCode::NOT_IMPLEMENTED, message)
    })
}

/// The model of a request: `model`, or `name` of older clients.
pub fn model(body: &Body) -> Result<String, Failure> {
    let fields = Fields(&body.0);
    let named = match fields.str("model")? {
        Some(model) if !model.is_empty() => Some(model),
        _ => fields.str("name")?,
    };
    let named = named.filter(|name| !name.is_empty());
    Ok(named.ok_or_else(|| ApiError::param("model", "is required"))?.to_owned())
}

/// Runs a call that takes its time without holding up the requests of others.
pub async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, crate::store::Error> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(call).await {
        Ok(result) => Ok(result?),
        Err(error) => Err(Failure::internal(&error)),
    }
}

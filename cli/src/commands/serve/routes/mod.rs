//! The endpoints, one file each: path, method and body.
//!
//! A file offers `router()`, which `app.rs` merges.

pub mod chat_completions;
pub mod completion;
pub mod completions;
pub mod detokenize;
pub mod health;
pub mod models;
pub mod props;
pub mod root;
pub mod tokenize;

use super::backend::BackendError;
use super::error::ApiError;

/// Runs a call that takes its time without holding up the requests of others.
async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, BackendError> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(call).await {
        Ok(result) => Ok(result?),
        Err(error) => Err(BackendError::internal("the engine failed", error.to_string()).into()),
    }
}

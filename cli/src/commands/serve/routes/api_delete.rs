//! `DELETE /api/delete`: a name, and its files where nothing else needs them.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::delete;

use crate::commands::serve::backend::BackendError;
use crate::commands::serve::body::Body;
use crate::commands::serve::error::ApiError;
use crate::commands::serve::ollama_store::{self, Failure};
use crate::commands::serve::state::{AppState, blocking};

/// The route.
pub fn router() -> Router<AppState> {
    Router::new().route("/api/delete", delete(remove))
}

/// The model is unloaded first, when its running jobs have ended: they read its files.
async fn remove(State(state): State<AppState>, body: Result<Body, ApiError>) -> Result<StatusCode, Failure> {
    let model = ollama_store::model(&body?)?;
    let store = ollama_store::store(&state)?;
    let (looked, name) = (store.clone(), model.clone());
    // what is not deleted is not unloaded either
    let manifest = ollama_store::blocking(move || looked.deletable(&name)).await?;
    let backend = state.backend.clone();
    blocking(move || match backend.unload(&manifest.name) {
        // not offered, because its files are gone; or never unloaded
        Err(BackendError::UnknownModel(_) | BackendError::NotSupported(_)) => Ok(false),
        unloaded => unloaded,
    })
    .await?;
    ollama_store::blocking(move || store.delete(&model)).await?;
    Ok(StatusCode::OK)
}

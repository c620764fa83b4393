//! `DELETE /api/delete`: a name, and its files where nothing else needs them.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::delete;

use crate::commands::serve::body::Body;
use crate::commands::serve::error::ApiError;
use crate::commands::serve::ollama_store::{self, Failure, blocking};
use crate::commands::serve::state::AppState;

/// The route.
pub fn router() -> Router<AppState> {
    Router::new().route("/api/delete", delete(remove))
}

async fn remove(State(state): State<AppState>, body: Result<Body, ApiError>) -> Result<StatusCode, Failure> {
    let model = ollama_store::model(&body?)?;
    let store = ollama_store::store(&state)?;
    blocking(move || store.delete(&model)).await?;
    Ok(StatusCode::OK)
}

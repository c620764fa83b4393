//! `POST /api/copy`: a second name for a model.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;

use crate::commands::serve::body::{Body, Fields};
use crate::commands::serve::error::ApiError;
use crate::commands::serve::ollama_store::{self, Failure, blocking};
use crate::commands::serve::state::AppState;

/// The route.
pub fn router() -> Router<AppState> {
    Router::new().route("/api/copy", post(copy))
}

async fn copy(State(state): State<AppState>, body: Result<Body, ApiError>) -> Result<StatusCode, Failure> {
    let body = body?;
    let field = |name| -> Result<String, Failure> {
        let text = Fields(&body.0).str(name)?.filter(|text| !text.is_empty());
        Ok(text.ok_or_else(|| ApiError::param(name, "is required"))?.to_owned())
    };
    let (source, destination) = (field("source")?, field("destination")?);
    let store = ollama_store::store(&state)?;
    blocking(move || store.copy(&source, &destination)).await?;
    Ok(StatusCode::OK)
}

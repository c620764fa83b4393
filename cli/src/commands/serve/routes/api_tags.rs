//! `GET /api/tags`: what is on offer, as Ollama lists it.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json};

use crate::commands::serve::error::ApiError;
use crate::commands::serve::ollama::{self, shown};
use crate::commands::serve::state::{AppState, blocking};

/// The route.
pub fn router() -> Router<AppState> {
    Router::new().route("/api/tags", get(tags))
}

async fn tags(State(state): State<AppState>) -> Result<Response, ApiError> {
    let offers = blocking(move || state.backend.offers()).await?;
    let models: Vec<Value> = offers.iter().map(shown::tag).collect();
    Ok(ollama::json(&json!({ "models": models })))
}

//! `GET /api/ps`: what is loaded, as Ollama lists it.

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
    Router::new().route("/api/ps", get(processes))
}

async fn processes(State(state): State<AppState>) -> Result<Response, ApiError> {
    let running = state.backend.running();
    let offers = blocking(move || state.backend.offers()).await?;
    let offer = |id: &str| offers.iter().find(|offer| offer.id == id);
    let models: Vec<Value> = running
        .iter()
        .map(|running| shown::process(running, offer(&running.card.id)))
        .collect();
    Ok(ollama::json(&json!({ "models": models })))
}

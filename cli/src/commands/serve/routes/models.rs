//! `GET /v1/models` and `/v1/models/{id}`: what is served.

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::commands::serve::backend::ModelCard;
use crate::commands::serve::error::ApiError;
use crate::commands::serve::state::AppState;

/// The routes. The id takes the rest of the path: names such as `org/model` have slashes, which not
/// every SDK escapes.
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/v1/models", get(list))
        .route("/models", get(list))
        .route("/v1/models/{*id}", get(retrieve))
        .route("/models/{*id}", get(retrieve))
}

async fn list(State(state): State<AppState>) -> Json<Value> {
    let models: Vec<Value> = state.backend.models().iter().map(describe).collect();
    Json(json!({ "object": "list", "data": models }))
}

async fn retrieve(State(state): State<AppState>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let cards = state.backend.models();
    let card = cards
        .iter()
        .find(|card| card.id == id)
        .ok_or_else(|| ApiError::model_not_found(&id))?;
    Ok(Json(describe(card)))
}

fn describe(card: &ModelCard) -> Value {
    json!({
        "id": card.id,
        "object": "model",
        "created": card.created,
        "owned_by": "turboquant",
        "meta": {
            "n_vocab": card.n_vocab,
            "n_ctx": card.n_ctx,
            "n_ctx_train": card.n_ctx_train,
            "n_embd": card.n_embd,
            "n_params": card.n_params,
            "size": card.size,
        },
    })
}

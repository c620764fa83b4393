//! `GET /v1/models` and `/v1/models/{id}`: what is on offer.

use std::time::UNIX_EPOCH;

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::commands::serve::backend::{Offer, Running};
use crate::commands::serve::error::ApiError;
use crate::commands::serve::state::{AppState, blocking};

/// The routes. The id takes the rest of the path: names such as `org/model` have slashes, which not
/// every SDK escapes.
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/v1/models", get(list))
        .route("/models", get(list))
        .route("/v1/models/{*id}", get(retrieve))
        .route("/models/{*id}", get(retrieve))
}

async fn list(State(state): State<AppState>) -> Result<Json<Value>, ApiError> {
    Ok(Json(json!({ "object": "list", "data": described(&state).await? })))
}

async fn retrieve(State(state): State<AppState>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let models = described(&state).await?;
    let found = models.into_iter().find(|model| model["id"] == id.as_str());
    found.map(Json).ok_or_else(|| ApiError::model_not_found(&id))
}

async fn described(state: &AppState) -> Result<Vec<Value>, ApiError> {
    let backend = state.backend.clone();
    let offers = blocking(move || backend.offers()).await?;
    let (running, loading) = (state.backend.running(), state.backend.loading());
    let describe = |offer: &Offer| {
        let running = running.iter().find(|running| running.card.id == offer.id);
        // one that is loaded again is both
        let status = match running {
            _ if loading.contains(&offer.id) => "loading",
            Some(_) => "loaded",
            None => "unloaded",
        };
        describe(offer, running, status)
    };
    Ok(offers.iter().map(describe).collect())
}

/// What a request may bring.
fn taken(offer: &Offer) -> Vec<&'static str> {
    let abilities = &offer.abilities;
    let kinds = [(true, "text"), (abilities.vision, "image"), (abilities.audio, "audio")];
    kinds
        .into_iter()
        .filter_map(|(taken, kind)| taken.then_some(kind))
        .collect()
}

fn describe(offer: &Offer, running: Option<&Running>, status: &str) -> Value {
    let created = offer
        .modified
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    json!({
        "id": offer.id,
        "object": "model",
        "created": created,
        "owned_by": "turboquant",
        "status": { "value": status },
        "architecture": { "input_modalities": taken(offer), "output_modalities": ["text"] },
        "meta": {
            "n_vocab": offer.n_vocab,
            "n_ctx": running.map(|running| running.card.n_ctx),
            "n_ctx_train": offer.n_ctx_train,
            "n_embd": offer.n_embd,
            "n_params": offer.n_params,
            "size": offer.size,
        },
    })
}

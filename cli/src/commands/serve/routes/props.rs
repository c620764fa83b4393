//! `GET /props`: how the server is set up; llama-server's fields, and the KV cache.

use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::commands::serve::error::ApiError;
use crate::commands::serve::state::AppState;

/// The route.
pub fn router() -> Router<AppState> {
    Router::new().route("/props", get(props))
}

#[derive(Deserialize)]
struct Which {
    model: Option<String>,
}

async fn props(State(state): State<AppState>, Query(which): Query<Which>) -> Result<Json<Value>, ApiError> {
    let card = state.model(which.model.as_deref())?;
    let status = state.backend.status();
    Ok(Json(json!({
        "default_generation_settings": { "n_ctx": card.n_ctx },
        "total_slots": status.slots,
        "model_alias": card.id,
        "modalities": { "vision": card.vision, "audio": card.audio },
        "build_info": state.settings.fingerprint,
        "kv": {
            "type_k": card.kv.type_k,
            "type_v": card.kv.type_v,
            "bytes_per_token": card.kv.bytes_per_token,
        },
        "queue": { "busy": status.busy, "waiting": status.queued, "limit": status.queue_limit },
    })))
}

//! `GET /props`: how the server is set up; llama-server's fields, and the KV cache.

use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::commands::serve::backend::Wanted;
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
    let card = state.open(Wanted::named(which.model.as_deref())).await?.card;
    let running = state.backend.running();
    let running = running.iter().find(|running| running.card.id == card.id);
    let busy = running.map_or(0, |running| running.slots.iter().filter(|slot| slot.busy).count());
    Ok(Json(json!({
        "default_generation_settings": { "n_ctx": card.n_ctx },
        "total_slots": card.slots,
        "model_alias": card.id,
        "modalities": { "vision": card.abilities.vision, "audio": card.abilities.audio },
        "build_info": state.settings.fingerprint,
        "kv": {
            "type_k": card.kv.type_k,
            "type_v": card.kv.type_v,
            "bytes_per_token": card.kv.bytes_per_token,
        },
        "queue": {
            "busy": busy,
            "waiting": running.map(|running| running.queued),
            "limit": running.map(|running| running.queue_limit),
        },
    })))
}

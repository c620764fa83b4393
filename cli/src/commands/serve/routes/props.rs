//! `GET /props`: how the server is set up; llama-server's fields, and the KV cache. Looking never loads a model.

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::commands::serve::backend::{Abilities, Details, Inside, Offer, Running};
use crate::commands::serve::error::ApiError;
use crate::commands::serve::observe::Subject;
use crate::commands::serve::state::AppState;

/// The route.
pub fn router() -> Router<AppState> {
    Router::new().route("/props", get(props).post(change))
}

#[derive(Deserialize)]
struct Which {
    model: Option<String>,
}

async fn change() -> ApiError {
    let message = "properties cannot be changed while the server runs; start it with other options";
    ApiError::new(StatusCode::NOT_IMPLEMENTED, message).never_retry()
}

async fn props(State(state): State<AppState>, Query(which): Query<Which>) -> Result<Json<Value>, ApiError> {
    let mut props = match Subject::find(&state, which.model).await? {
        Subject::Loaded(running, details) => {
            let inside = state.backend.inside(&running.card.id).unwrap_or_default();
            loaded(&running, details.as_deref(), &inside)
        }
        Subject::Unloaded(offer, details) => unloaded(&offer, details.as_deref()),
        Subject::Server => server(&state.backend.running()),
    };
    props["build_info"] = json!(state.settings.fingerprint);
    Ok(Json(props))
}

fn loaded(running: &Running, details: Option<&Details>, inside: &Inside) -> Value {
    let card = &running.card;
    let busy = running.slots.iter().filter(|slot| slot.busy).count();
    json!({
        "loaded": true,
        "default_generation_settings": { "n_ctx": card.n_ctx, "params": sampling_defaults(details) },
        "total_slots": card.slots,
        "model_alias": card.id,
        "model_path": details.map(|details| &details.file),
        "chat_template": details.and_then(|details| details.template.as_ref()),
        "chat_template_caps": inside.template_caps,
        "modalities": modalities(&card.abilities),
        "kv": {
            "type_k": card.kv.type_k,
            "type_v": card.kv.type_v,
            "bytes_per_token": card.kv.bytes_per_token,
            "bytes_per_token_f16": inside.kv_bytes_per_token_f16,
            "cells_total": card.n_ctx_total,
            "cells_used": running.kv_cells_used,
            "bytes_total": running.memory.kv,
            "bytes_used": (f64::from(running.kv_cells_used) * card.kv.bytes_per_token).round(),
            "prompt_cache": running.prompt_cache.to_json(),
            "layers": inside.kv_layers.iter().map(|layer| json!({
                "layer": layer.layer, "type_k": layer.type_k, "type_v": layer.type_v,
            })).collect::<Vec<_>>(),
            "supported": inside.kv_supported.iter().map(|device| json!({
                "device": device.device, "pairs": device.pairs,
            })).collect::<Vec<_>>(),
        },
        "queue": { "busy": busy, "waiting": running.queued, "limit": running.queue_limit },
    })
}

fn unloaded(offer: &Offer, details: Option<&Details>) -> Value {
    json!({
        "loaded": false,
        "default_generation_settings": { "params": sampling_defaults(details) },
        "total_slots": 0,
        "model_alias": offer.id,
        "model_path": details.map(|details| &details.file),
        "chat_template": details.and_then(|details| details.template.as_ref()),
        "modalities": modalities(&offer.abilities),
    })
}

/// Of several models none was named. The shape is that of llama-server's router.
fn server(running: &[Running]) -> Value {
    json!({
        "role": "router",
        "loaded": !running.is_empty(),
        "models_loaded": running.iter().map(|model| &model.card.id).collect::<Vec<_>>(),
        "default_generation_settings": { "n_ctx": 0, "params": sampling_defaults(None) },
        "total_slots": running.iter().map(|model| model.card.slots).sum::<u32>(),
    })
}

fn modalities(abilities: &Abilities) -> Value {
    json!({ "vision": abilities.vision, "audio": abilities.audio })
}

/// What a request gets that says nothing: llama.cpp's defaults, which the library leaves in force (see
/// `SamplingParams`), and over them the options that were given to an alias.
fn sampling_defaults(details: Option<&Details>) -> Map<String, Value> {
    let defaults = json!({
        "seed": u32::MAX, // llama.cpp's spelling of "random"
        "temperature": 0.8,
        "top_k": 40,
        "top_p": 0.95,
        "min_p": 0.05,
        "typical_p": 1.0,
        "top_n_sigma": -1.0,
        "xtc_probability": 0.0,
        "xtc_threshold": 0.1,
        "repeat_last_n": 64,
        "repeat_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "dry_multiplier": 0.0,
        "dry_base": 1.75,
        "dry_allowed_length": 2,
        "mirostat": 0,
        "mirostat_tau": 5.0,
        "mirostat_eta": 0.1,
    });
    let Value::Object(mut params) = defaults else {
        return Map::new();
    };
    let given = details.map(|details| &details.parameters).into_iter().flatten();
    params.extend(given.map(|(name, value)| (name.clone(), value.clone())));
    params
}

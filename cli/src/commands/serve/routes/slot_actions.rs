//! `POST /slots/{id}?action=save|restore|erase`: what llama-server does with a slot that is idle.

use axum::extract::{Path, Query, State};
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

use crate::commands::serve::backend::{SlotAction, SlotReport, Wanted};
use crate::commands::serve::body::{Fields, OptionalBody};
use crate::commands::serve::engine::is_plain;
use crate::commands::serve::error::ApiError;
use crate::commands::serve::state::{AppState, blocking};

/// The route.
pub fn router() -> Router<AppState> {
    Router::new().route("/slots/{id}", post(act))
}

#[derive(Deserialize)]
struct Asked {
    action: Option<String>,
    model: Option<String>,
}

async fn act(
    State(state): State<AppState>,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
    OptionalBody(body): OptionalBody,
) -> Result<Json<Value>, ApiError> {
    let action = action(asked.action.as_deref(), &body)?;
    let name = asked
        .model
        .as_deref()
        .map_or_else(|| Fields(&body).str("model"), |name| Ok(Some(name)))?;
    let model = state.open(Wanted::named(name)).await?;
    let slots = model.card.slots;
    let slot = id.parse().ok().filter(|&id: &u32| id < slots).ok_or_else(|| {
        ApiError::param(
            "id_slot",
            format_args!("is `{id}`; this server has the slots 0 to {}", slots.saturating_sub(1)),
        )
    })?;

    let (backend, asked) = (Arc::clone(&state.backend), action.clone());
    let report = blocking(move || backend.slot(&model.card.id, slot, asked)).await?;
    Ok(Json(answer(slot, &action, report)))
}

fn action(name: Option<&str>, body: &Map<String, Value>) -> Result<SlotAction, ApiError> {
    let file = || {
        let name = Fields(body).str("filename")?;
        let name = name.ok_or_else(|| ApiError::param("filename", "is required"))?;
        if !is_plain(name) {
            let rule =
                "must be a plain file name: letters, digits and ._-+, at most 128 of them, no dot in front, no folder";
            return Err(ApiError::param("filename", rule));
        }
        Ok(name.to_owned())
    };
    match name {
        Some("save") => file().map(SlotAction::Save),
        Some("restore") => file().map(SlotAction::Restore),
        Some("erase") => Ok(SlotAction::Erase),
        _ => Err(ApiError::param("action", "must be save, restore or erase")),
    }
}

/// llama-server's fields.
fn answer(slot: u32, action: &SlotAction, report: SlotReport) -> Value {
    let SlotReport { n_tokens, bytes, took } = report;
    let ms = took.as_secs_f64() * 1e3;
    match action {
        SlotAction::Save(name) => json!({
            "id_slot": slot,
            "filename": name,
            "n_saved": n_tokens,
            "n_written": bytes,
            "timings": { "save_ms": ms },
        }),
        SlotAction::Restore(name) => json!({
            "id_slot": slot,
            "filename": name,
            "n_restored": n_tokens,
            "n_read": bytes,
            "timings": { "restore_ms": ms },
        }),
        SlotAction::Erase => json!({ "id_slot": slot, "n_erased": n_tokens }),
    }
}

//! `GET /slots`: what each slot is doing; llama-server's fields, where they are known.

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::commands::serve::backend::{Running, SlotStatus};
use crate::commands::serve::error::ApiError;
use crate::commands::serve::observe::Subject;
use crate::commands::serve::state::AppState;

/// The route.
pub fn router() -> Router<AppState> {
    Router::new().route("/slots", get(slots))
}

#[derive(Deserialize)]
struct Look {
    model: Option<String>,
    fail_on_no_slot: Option<String>,
}

async fn slots(State(state): State<AppState>, Query(look): Query<Look>) -> Result<Json<Value>, ApiError> {
    if !state.settings.slots {
        let message = "this server was started without the list of its slots";
        return Err(ApiError::new(StatusCode::NOT_IMPLEMENTED, message).never_retry());
    }
    let running = match Subject::find(&state, look.model).await? {
        Subject::Loaded(running, _) => vec![*running],
        Subject::Unloaded(..) => Vec::new(),
        Subject::Server => state.backend.running(),
    };
    if look.fail_on_no_slot.is_some_and(|flag| flag != "0") {
        idle_slot(&running)?;
    }
    Ok(Json(running.iter().flat_map(of_model).collect()))
}

/// Fails unless a slot is idle, for balancers that would rather ask elsewhere.
///
/// # Errors
/// 503 otherwise, also when no model is loaded.
pub fn idle_slot(running: &[Running]) -> Result<(), ApiError> {
    if running.iter().any(|model| model.slots.iter().any(|slot| !slot.busy)) {
        return Ok(());
    }
    Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "no slot available"))
}

fn of_model(model: &Running) -> impl Iterator<Item = Value> {
    model.slots.iter().map(|slot| describe(model, slot))
}

/// Not here, because the engine does not say them: `id_task`, and the running job's `params` and `n_remain`.
fn describe(model: &Running, slot: &SlotStatus) -> Value {
    json!({
        "id": slot.id,
        "model": model.card.id,
        "n_ctx": model.card.n_ctx,
        "is_processing": slot.busy,
        "n_prompt_tokens": slot.n_prompt,
        "n_prompt_tokens_processed": slot.n_prompt_done,
        "n_cached_tokens": slot.n_cached,
        "next_token": {
            "has_next_token": slot.busy,
            "n_decoded": slot.n_decoded,
        },
    })
}

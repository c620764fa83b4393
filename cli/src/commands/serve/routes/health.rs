//! `GET /health`: whether requests are served. Load balancers poll it, so it needs no key, and says no more than they ask.

use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::commands::serve::error::ApiError;
use crate::commands::serve::routes::slot_list::idle_slot;
use crate::commands::serve::state::AppState;

/// The routes.
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/health", get(health))
        .route("/v1/health", get(health))
}

#[derive(Deserialize)]
struct Look {
    fail_on_no_slot: Option<String>,
    include_slots: Option<String>,
}

async fn health(State(state): State<AppState>, Query(look): Query<Look>) -> Result<Json<Value>, ApiError> {
    state.ready()?;
    let set = |flag: Option<String>| flag.is_some_and(|flag| flag != "0");
    let (fail_on_no_slot, include_slots) = (set(look.fail_on_no_slot), set(look.include_slots));
    let mut health = json!({ "status": "ok" });
    if fail_on_no_slot || include_slots {
        let running = state.backend.running();
        if fail_on_no_slot {
            idle_slot(&running)?;
        }
        if include_slots {
            let slots = || running.iter().flat_map(|model| &model.slots);
            health["slots_idle"] = json!(slots().filter(|slot| !slot.busy).count());
            health["slots_processing"] = json!(slots().filter(|slot| slot.busy).count());
            health["queued"] = json!(running.iter().map(|model| model.queued).sum::<u32>());
        }
    }
    Ok(Json(health))
}

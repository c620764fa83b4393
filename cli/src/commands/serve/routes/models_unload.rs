//! `POST /models/unload`: gives the memory of a model back, as llama-server's router has it. Requests that run are served
//! to their end first.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::commands::serve::body::{Body, Fields};
use crate::commands::serve::error::ApiError;
use crate::commands::serve::state::{AppState, blocking};

/// The route.
pub fn router() -> Router<AppState> {
    Router::new().route("/models/unload", post(unload))
}

async fn unload(State(state): State<AppState>, Body(body): Body) -> Result<Json<Value>, ApiError> {
    let name = Fields(&body).str("model")?;
    let name = name.ok_or_else(|| ApiError::param("model", "is required"))?.to_owned();
    let (backend, model) = (state.backend.clone(), name.clone());
    if blocking(move || backend.unload(&model)).await? {
        Ok(Json(json!({ "success": true })))
    } else {
        Err(ApiError::param(
            "model",
            format_args!("is '{name}', which is not loaded"),
        ))
    }
}

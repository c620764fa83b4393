//! `POST /models/load`: loads a model before it is needed, as llama-server's router has it. The answer comes when the model
//! is loaded; a client that goes away stops the load.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::commands::serve::backend::Wanted;
use crate::commands::serve::body::{Body, Fields};
use crate::commands::serve::error::ApiError;
use crate::commands::serve::openai::generation::wanted;
use crate::commands::serve::state::AppState;

/// The route.
pub fn router() -> Router<AppState> {
    Router::new().route("/models/load", post(load))
}

async fn load(State(state): State<AppState>, Body(body): Body) -> Result<Json<Value>, ApiError> {
    let wanted = Wanted {
        exact: true,
        ..wanted(Fields(&body))?
    };
    if wanted.name.is_none() {
        return Err(ApiError::param("model", "is required"));
    }
    state.open(wanted).await?;
    Ok(Json(json!({ "success": true })))
}

//! `GET /openapi.json`: the description of this API.

use axum::routing::get;
use axum::{Json, Router};
use serde_json::Value;

use crate::commands::serve::backend::BackendError;
use crate::commands::serve::error::ApiError;
use crate::commands::serve::openapi::document;
use crate::commands::serve::state::AppState;

/// The route.
pub fn router() -> Router<AppState> {
    Router::new().route("/openapi.json", get(describe))
}

async fn describe() -> Result<Json<Value>, ApiError> {
    let document = document();
    let document = document
        .map_err(|error| BackendError::internal("the description of the API cannot be read", error.to_string()))?;
    Ok(Json(document))
}

//! `POST /api/create`: a model from another model, or from an uploaded file.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::json;
use tokio::sync::mpsc;

use crate::commands::serve::backend::CancelToken;
use crate::commands::serve::body::{Body, Fields};
use crate::commands::serve::error::ApiError;
use crate::commands::serve::ollama_store::{self, Failure, blocking, lines};
use crate::commands::serve::state::AppState;
use crate::store::Creation;

/// What Ollama says on the way. The work is done before the first line, so that its errors have their own status.
const STEPS: [&str; 4] = [
    "reading model metadata",
    "creating new layer",
    "writing manifest",
    "success",
];

/// The route.
pub fn router() -> Router<AppState> {
    Router::new().route("/api/create", post(create))
}

async fn create(State(state): State<AppState>, body: Result<Body, ApiError>) -> Result<Response, Failure> {
    let body = body?;
    let name = ollama_store::model(&body)?;
    let stream = Fields(&body.0).bool("stream")?.unwrap_or(true);
    let creation = Creation::from_json(&body.0)?;
    let store = ollama_store::store(&state)?;
    blocking(move || store.create(&name, &creation)).await?;
    if !stream {
        return Ok(Json(json!({ "status": "success" })).into_response());
    }
    let (sender, receiver) = mpsc::channel(STEPS.len());
    for step in STEPS {
        // there is room for all of them
        let _ = sender.try_send(Ok(json!({ "status": step })));
    }
    Ok(lines(receiver, CancelToken::new(), state.closing()))
}

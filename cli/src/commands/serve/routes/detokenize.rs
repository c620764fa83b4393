//! `POST /detokenize`: tokens to text, as llama-server has it.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::commands::serve::body::{Body, Fields};
use crate::commands::serve::error::ApiError;
use crate::commands::serve::openai::generation::wanted;
use crate::commands::serve::state::{AppState, blocking};

/// The route.
pub fn router() -> Router<AppState> {
    Router::new().route("/detokenize", post(detokenize))
}

async fn detokenize(State(state): State<AppState>, Body(body): Body) -> Result<Json<Value>, ApiError> {
    let fields = Fields(&body);
    let model = state.open(wanted(fields)?).await?;
    let card = &model.card;
    let tokens = fields
        .array("tokens")?
        .ok_or_else(|| ApiError::param("tokens", "is required"))?;
    let tokens = tokens.iter().map(|value| card.token(value)).collect::<Option<Vec<_>>>();
    let tokens = tokens.ok_or_else(|| ApiError::param("tokens", "must be ids in the vocabulary"))?;
    let id = card.id.clone();
    let content = blocking(move || state.backend.detokenize(&id, &tokens)).await?;
    Ok(Json(json!({ "content": content })))
}

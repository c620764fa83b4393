//! `POST /apply-template`: the prompt that a chat becomes, as llama-server has it. Nothing is generated.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::commands::serve::body::{Body, Fields};
use crate::commands::serve::choices::Job;
use crate::commands::serve::error::ApiError;
use crate::commands::serve::openai::chat_request::ChatRequest;
use crate::commands::serve::openai::generation::wanted;
use crate::commands::serve::state::{AppState, blocking};

/// The route.
pub fn router() -> Router<AppState> {
    Router::new().route("/apply-template", post(apply))
}

async fn apply(State(state): State<AppState>, Body(body): Body) -> Result<Json<Value>, ApiError> {
    let model = state.open(wanted(Fields(&body))?).await?;
    let (_, jobs) = ChatRequest::parse(&body, &model.card)?;
    let Some(Job::Chat(job)) = jobs.into_iter().next() else {
        return Err(ApiError::invalid("there is no chat in this request"));
    };
    let id = model.card.id.clone();
    let prompt = blocking(move || state.backend.render(&id, job.prompt)).await?;
    Ok(Json(json!({ "prompt": prompt })))
}

//! `POST /v1/messages`, Anthropic's form of a chat, and `/v1/messages/count_tokens`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::commands::serve::anthropic::answer::Message;
use crate::commands::serve::anthropic::request::{self, MessagesRequest};
use crate::commands::serve::anthropic::stream::MessageStream;
use crate::commands::serve::body::{Body, Fields};
use crate::commands::serve::choices::Choices;
use crate::commands::serve::error::ApiError;
use crate::commands::serve::openai::generation::wanted;
use crate::commands::serve::state::AppState;
use crate::commands::serve::stream;

/// The routes.
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/v1/messages", post(messages))
        .route("/messages", post(messages))
        .route("/v1/messages/count_tokens", post(count))
        .route("/messages/count_tokens", post(count))
}

async fn messages(State(state): State<AppState>, Body(body): Body) -> Result<Response, ApiError> {
    let model = state.open(wanted(Fields(&body))?).await?;
    let (request, job) = MessagesRequest::parse(&body, &model.card)?;
    let choices = Choices::start(&state, &model, vec![job])?;
    if request.stream {
        let answer = MessageStream::new(request);
        return stream::respond(choices, answer, state.settings.ping_interval).await;
    }
    let message = Message::gather(choices, &request).await?;
    Ok(Json(message).into_response())
}

async fn count(State(state): State<AppState>, Body(body): Body) -> Result<Json<Value>, ApiError> {
    let model = state.open(wanted(Fields(&body))?).await?;
    let prompt = request::prompt(Fields(&body), &model.card)?;
    let tokens = state.count(&model, prompt).await?;
    Ok(Json(json!({ "input_tokens": tokens })))
}

//! `POST /v1/chat/completions`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};

use crate::commands::serve::body::{Body, Fields};
use crate::commands::serve::choices::Choices;
use crate::commands::serve::error::ApiError;
use crate::commands::serve::openai::chat_answer::ChatAnswer;
use crate::commands::serve::openai::chat_request::ChatRequest;
use crate::commands::serve::openai::chat_stream::ChatStream;
use crate::commands::serve::openai::generation::wanted;
use crate::commands::serve::state::AppState;
use crate::commands::serve::stream;

/// The routes.
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/chat/completions", post(chat))
}

async fn chat(State(state): State<AppState>, Body(body): Body) -> Result<Response, ApiError> {
    let model = state.open(wanted(Fields(&body))?).await?;
    let (request, jobs) = ChatRequest::parse(&body, &model.card)?;
    let choices = Choices::start(&state, &model, jobs)?;
    if request.delivery.stream {
        let answer = ChatStream::new(&request, &state);
        return stream::respond(choices, answer, state.settings.ping_interval).await;
    }
    let answer = ChatAnswer::gather(choices, &request, &state).await?;
    Ok(Json(answer).into_response())
}

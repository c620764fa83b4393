//! `POST /v1/chat/completions`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};

use crate::commands::serve::body::Body;
use crate::commands::serve::choices::Choices;
use crate::commands::serve::error::ApiError;
use crate::commands::serve::openai::chat_answer::ChatAnswer;
use crate::commands::serve::openai::chat_request::ChatRequest;
use crate::commands::serve::openai::chat_stream::ChatStream;
use crate::commands::serve::state::AppState;
use crate::commands::serve::stream;

/// The routes.
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/chat/completions", post(chat))
}

async fn chat(State(state): State<AppState>, Body(body): Body) -> Result<Response, ApiError> {
    let (request, jobs) = ChatRequest::parse(&body, &state)?;
    let choices = Choices::start(&state, jobs)?;
    if request.delivery.stream {
        let answer = ChatStream::new(&request, &state);
        return stream::respond(choices, answer, state.settings.ping_interval).await;
    }
    let answer = ChatAnswer::gather(choices, &request, &state).await?;
    Ok(Json(answer).into_response())
}

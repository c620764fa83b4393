//! `POST /v1/completions`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};

use crate::commands::serve::body::{Body, Fields};
use crate::commands::serve::choices::Choices;
use crate::commands::serve::error::ApiError;
use crate::commands::serve::openai::completion_answer::{Completion, CompletionStream};
use crate::commands::serve::openai::completion_request::CompletionRequest;
use crate::commands::serve::openai::generation::wanted;
use crate::commands::serve::state::AppState;
use crate::commands::serve::stream;

/// The routes.
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/v1/completions", post(complete))
        .route("/completions", post(complete))
}

async fn complete(State(state): State<AppState>, Body(body): Body) -> Result<Response, ApiError> {
    let model = state.open(wanted(Fields(&body))?).await?;
    let (request, jobs) = CompletionRequest::parse(&body, &model.card, &state)?;
    let choices = Choices::start(&state, &model, jobs)?;
    if request.delivery.stream {
        let answer = CompletionStream::new(&request, &state);
        return stream::respond(choices, answer, state.settings.ping_interval).await;
    }
    let answer = Completion::gather(choices, &request, &state).await?;
    Ok(Json(answer).into_response())
}

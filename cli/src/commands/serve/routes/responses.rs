//! `POST /v1/responses`: OpenAI's newer form of a chat; `/v1/responses/input_tokens` counts.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::commands::serve::body::{Body, Fields};
use crate::commands::serve::choices::Choices;
use crate::commands::serve::error::ApiError;
use crate::commands::serve::openai::generation::wanted;
use crate::commands::serve::responses::output::Output;
use crate::commands::serve::responses::request::{self, ResponsesRequest};
use crate::commands::serve::responses::stream::ResponseStream;
use crate::commands::serve::state::AppState;
use crate::commands::serve::stream;

/// The routes.
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/v1/responses", post(respond))
        .route("/responses", post(respond))
        .route("/v1/responses/input_tokens", post(count))
        .route("/responses/input_tokens", post(count))
}

async fn respond(State(state): State<AppState>, Body(body): Body) -> Result<Response, ApiError> {
    let model = state.open(wanted(Fields(&body))?).await?;
    let (request, job) = ResponsesRequest::parse(&body, &model.card)?;
    let mut choices = Choices::start(&state, &model, vec![job])?;
    if request.stream {
        let answer = ResponseStream::new(request.echo);
        return stream::respond(choices, answer, state.settings.ping_interval).await;
    }
    let mut output = Output::new(request.echo);
    while let Some((_, event)) = choices.next().await? {
        output.event(event, &mut |_| {});
    }
    Ok(Json(output.response()).into_response())
}

async fn count(State(state): State<AppState>, Body(body): Body) -> Result<Json<Value>, ApiError> {
    let model = state.open(wanted(Fields(&body))?).await?;
    let (prompt, _) = request::prompt(Fields(&body), &model.card)?;
    let tokens = state.count(&model, prompt).await?;
    Ok(Json(
        json!({ "object": "response.input_tokens", "input_tokens": tokens }),
    ))
}

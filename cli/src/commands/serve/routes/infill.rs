//! `POST /infill`: fills a place in a text, as llama-server has it; the fields and the answer are those of `/completion`.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;

use super::completion;
use crate::commands::serve::backend::Prompt;
use crate::commands::serve::body::{Body, Fields};
use crate::commands::serve::error::ApiError;
use crate::commands::serve::openai::completion_request::CompletionRequest;
use crate::commands::serve::openai::generation::wanted;
use crate::commands::serve::openai::infill::infill;
use crate::commands::serve::state::AppState;

/// The route.
pub fn router() -> Router<AppState> {
    Router::new().route("/infill", post(fill))
}

async fn fill(State(state): State<AppState>, Body(body): Body) -> Result<Response, ApiError> {
    let fields = Fields(&body);
    let model = state.open(wanted(fields)?).await?;
    let prompt = Prompt::Infill(Box::new(infill(fields, &model.card)?));
    let (request, jobs) = CompletionRequest::with_prompts(fields, vec![prompt], &model.card, &state)?;
    completion::answer(&state, &model, request, jobs).await
}

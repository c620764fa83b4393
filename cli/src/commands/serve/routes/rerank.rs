//! `POST /v1/rerank`, under the four names that clients of llama-server, Jina and Cohere use.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value;

use crate::commands::serve::backend::CancelToken;
use crate::commands::serve::body::{Body, Fields};
use crate::commands::serve::error::ApiError;
use crate::commands::serve::openai::generation::wanted;
use crate::commands::serve::openai::rerank::RerankRequest;
use crate::commands::serve::state::{AppState, cancellable};

/// The routes.
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/v1/rerank", post(rerank))
        .route("/rerank", post(rerank))
        .route("/v1/reranking", post(rerank))
        .route("/reranking", post(rerank))
}

async fn rerank(State(state): State<AppState>, Body(body): Body) -> Result<Json<Value>, ApiError> {
    let model = state.open(wanted(Fields(&body))?).await?;
    let cancel = CancelToken::new();
    let limit = state.settings.max_choices;
    let (request, job) = RerankRequest::parse(&body, &model.card, limit, cancel.clone())?;
    let documents = job.documents.clone();
    let scores = cancellable(&state, cancel, move |backend| backend.rerank(job)).await?;
    state.used(scores.n_tokens);
    Ok(Json(request.answer(&model.card.id, &documents, &scores)))
}

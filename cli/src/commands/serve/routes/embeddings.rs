//! `POST /v1/embeddings`.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};

use crate::commands::serve::backend::CancelToken;
use crate::commands::serve::body::{Body, Fields};
use crate::commands::serve::error::ApiError;
use crate::commands::serve::openai::embeddings::{EmbeddingsAnswer, EmbeddingsRequest};
use crate::commands::serve::openai::generation::wanted;
use crate::commands::serve::state::{AppState, cancellable};

/// The routes.
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/v1/embeddings", post(embed))
        .route("/embeddings", post(embed))
}

async fn embed(State(state): State<AppState>, Body(body): Body) -> Result<Json<EmbeddingsAnswer>, ApiError> {
    let model = state.open(wanted(Fields(&body))?).await?;
    let cancel = CancelToken::new();
    let limit = state.settings.max_choices;
    let (request, job) = EmbeddingsRequest::parse(&body, &model.card, limit, cancel.clone())?;
    let embeddings = cancellable(&state, cancel, move |backend| backend.embed(job)).await?;
    state.used(embeddings.n_tokens);
    Ok(Json(request.answer(&model.card.id, embeddings)?))
}

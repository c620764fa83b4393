//! `POST /api/embeddings`: the embedding of one text; Ollama's older form.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;

use crate::commands::serve::body::Body;
use crate::commands::serve::error::ApiError;
use crate::commands::serve::ollama::embed;
use crate::commands::serve::state::AppState;

/// The route.
pub fn router() -> Router<AppState> {
    Router::new().route("/api/embeddings", post(embeddings))
}

async fn embeddings(State(state): State<AppState>, Body(body): Body) -> Result<Response, ApiError> {
    embed::embeddings(&state, &body).await
}

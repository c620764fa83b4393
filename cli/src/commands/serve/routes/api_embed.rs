//! `POST /api/embed`: embeddings of texts, as Ollama has it.

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
    Router::new().route("/api/embed", post(embed))
}

async fn embed(State(state): State<AppState>, Body(body): Body) -> Result<Response, ApiError> {
    embed::embed(&state, &body).await
}

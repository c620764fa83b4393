//! `POST /api/generate`: an answer to one prompt, as Ollama has it.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;

use crate::commands::serve::body::Body;
use crate::commands::serve::error::ApiError;
use crate::commands::serve::ollama::generate;
use crate::commands::serve::state::AppState;

/// The route.
pub fn router() -> Router<AppState> {
    Router::new().route("/api/generate", post(generate))
}

async fn generate(State(state): State<AppState>, Body(body): Body) -> Result<Response, ApiError> {
    generate::generate(&state, &body).await
}

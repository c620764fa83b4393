//! `POST /api/chat`: a chat, as Ollama has it.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;

use crate::commands::serve::body::Body;
use crate::commands::serve::error::ApiError;
use crate::commands::serve::ollama::chat;
use crate::commands::serve::state::AppState;

/// The route.
pub fn router() -> Router<AppState> {
    Router::new().route("/api/chat", post(chat))
}

async fn chat(State(state): State<AppState>, Body(body): Body) -> Result<Response, ApiError> {
    chat::chat(&state, &body).await
}

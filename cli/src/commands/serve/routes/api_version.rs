//! `GET /api/version`.

use axum::Router;
use axum::response::Response;
use axum::routing::get;
use serde_json::json;

use crate::commands::serve::ollama;
use crate::commands::serve::state::AppState;

/// The release of Ollama whose API this is, not our own version: clients switch features on and off by comparing it (VS
/// Code's Copilot wants 0.6.4 at least), and parse it as three bare numbers. 0.12.11 brought the newest field we serve,
/// `logprobs`.
const OLLAMA_API: &str = "0.12.11";

/// The route.
pub fn router() -> Router<AppState> {
    Router::new().route("/api/version", get(version))
}

async fn version() -> Response {
    ollama::json(&json!({ "version": OLLAMA_API, "turboquant": env!("CARGO_PKG_VERSION") }))
}

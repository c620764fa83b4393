//! `GET /`: the line by which Ollama's clients tell that a server is there.

use axum::Router;
use axum::routing::get;

use crate::commands::serve::state::AppState;

/// The route; axum answers HEAD along with GET.
pub fn router() -> Router<AppState> {
    Router::new().route("/", get(root))
}

/// Compared byte for byte by some clients, so without a line feed.
async fn root() -> &'static str {
    "Ollama is running"
}

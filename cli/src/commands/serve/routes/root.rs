//! `GET /`: a line for whoever opens the address in a browser.

use axum::Router;
use axum::routing::get;

use crate::commands::serve::state::AppState;

/// The route.
pub fn router() -> Router<AppState> {
    Router::new().route("/", get(root))
}

async fn root() -> &'static str {
    "turboquant is running. The OpenAI API is at /v1.\n"
}

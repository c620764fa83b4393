//! What Ollama has and this server has not: 501, so that a client can say so.

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use axum::routing::any;

use crate::commands::serve::ollama_store::Failure;
use crate::commands::serve::state::AppState;

/// Publishing models, accounts and services of ollama.com.
pub const PATHS: [&str; 7] = [
    "/api/push",
    "/api/me",
    "/api/signin",
    "/api/signout",
    "/api/user/keys/{*key}",
    "/api/web_search",
    "/api/web_fetch",
];

/// The routes.
pub fn router() -> Router<AppState> {
    PATHS
        .into_iter()
        .fold(Router::new(), |router, path| router.route(path, any(unsupported)))
}

async fn unsupported(method: Method, uri: Uri) -> Failure {
    let message = format!("{method} {} is not supported by this server", uri.path());
    Failure::new(StatusCode::NOT_IMPLEMENTED, message)
}

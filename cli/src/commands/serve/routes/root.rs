//! `GET /`: to browsers the web page, to all others the line by which Ollama's clients tell that a server is there.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::commands::serve::state::AppState;
use crate::commands::serve::web;

/// Compared byte for byte by some clients, so without a line feed.
const RUNNING: &str = "Ollama is running";

/// The route; axum answers HEAD along with GET.
pub fn router() -> Router<AppState> {
    Router::new().route("/", get(root))
}

async fn root(State(state): State<AppState>, headers: HeaderMap) -> Response {
    if !state.settings.webui {
        return RUNNING.into_response();
    }
    let mut response = if web::wants_html(&headers) {
        web::respond(&web::PAGE, &headers)
    } else {
        RUNNING.into_response()
    };
    // the CORS layer adds what it goes by
    response
        .headers_mut()
        .append(header::VARY, HeaderValue::from_static("accept"));
    response
}

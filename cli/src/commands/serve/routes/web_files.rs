//! `GET /web/{file}`: the files of the web page.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;

use crate::commands::serve::error::ApiError;
use crate::commands::serve::state::AppState;
use crate::commands::serve::web;

/// The route.
pub fn router() -> Router<AppState> {
    Router::new().route("/web/{file}", get(file))
}

async fn file(
    State(state): State<AppState>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let file = web::find(&name).filter(|_| state.settings.webui);
    let file = file.ok_or_else(|| {
        let message = format!("the web page has no file '{name}'");
        ApiError::new(StatusCode::NOT_FOUND, message)
    })?;
    Ok(web::respond(file, &headers))
}

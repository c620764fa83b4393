//! `GET /results` and `/results/{name}`: measurements in the folder of `--results`, for the web page. Read-only.

use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::commands::serve::backend::BackendError;
use crate::commands::serve::error::ApiError;
use crate::commands::serve::state::{AppState, blocking};

/// The routes.
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/results", get(list))
        .route("/results/{name}", get(one))
}

async fn list(State(state): State<AppState>) -> Result<Json<Value>, ApiError> {
    let Some(folder) = state.settings.results.clone() else {
        return Ok(Json(
            json!({ "object": "list", "configured": false, "left_out": 0, "data": [] }),
        ));
    };
    let listing = blocking(move || folder.list().map_err(unreadable)).await?;
    Ok(Json(
        json!({ "object": "list", "configured": true, "left_out": listing.left_out, "data": listing.files }),
    ))
}

async fn one(State(state): State<AppState>, Path(name): Path<String>) -> Result<Response, ApiError> {
    let folder = state.settings.results.clone();
    let wanted = name.clone();
    let text = blocking(move || match folder {
        Some(folder) => folder.read(&wanted).map_err(unreadable),
        None => Ok(None),
    });
    let text = text.await?.ok_or_else(|| {
        ApiError::new(
            StatusCode::NOT_FOUND,
            format!("there are no results named '{name}'; GET /results lists those that there are"),
        )
        .code("results_not_found")
    })?;
    // as it was written: a record is for programs that compare bytes, too
    let kind = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

fn unreadable(error: std::io::Error) -> BackendError {
    BackendError::internal("the results cannot be read", error.to_string())
}

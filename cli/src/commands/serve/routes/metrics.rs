//! `GET /metrics`: counters, histograms and gauges for Prometheus, llama-server's names and our own.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::commands::serve::backend::BackendError;
use crate::commands::serve::error::ApiError;
use crate::commands::serve::observe::CONTENT_TYPE;
use crate::commands::serve::state::{AppState, blocking};

/// The route.
pub fn router() -> Router<AppState> {
    Router::new().route("/metrics", get(metrics))
}

async fn metrics(State(state): State<AppState>) -> Result<Response, ApiError> {
    if !state.settings.metrics {
        let message = "this server was started without metrics";
        return Err(ApiError::new(StatusCode::NOT_IMPLEMENTED, message).never_retry());
    }
    // also while a model loads: how long that takes is worth watching
    let text = blocking(move || {
        let text = state.meter.text(&*state.backend);
        text.map_err(|error| BackendError::internal("the metrics could not be written", error.to_string()))
    })
    .await?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}

//! `HEAD` and `POST /api/blobs/{digest}`: files that a model is created from.
//!
//! The body goes to the disk as it comes, so the limit for bodies that are kept in memory does not apply; the free disk
//! space does.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::head;
use futures::StreamExt;
use tokio::sync::mpsc;

use crate::commands::serve::ollama_store::{self, Failure, blocking};
use crate::commands::serve::state::AppState;
use crate::store::Digest;

/// Pieces of a body that wait for the disk.
const QUEUE: usize = 16;

/// The route.
pub fn router() -> Router<AppState> {
    Router::new().route("/api/blobs/{digest}", head(known).post(upload))
}

async fn known(State(state): State<AppState>, Path(digest): Path<String>) -> Result<StatusCode, Failure> {
    let store = ollama_store::store(&state)?;
    let digest = Digest::new(&digest)?;
    let known = blocking(move || Ok(store.has_blob(&digest))).await?;
    Ok(if known { StatusCode::OK } else { StatusCode::NOT_FOUND })
}

async fn upload(
    State(state): State<AppState>,
    Path(digest): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Failure> {
    let store = ollama_store::store(&state)?;
    let digest = Digest::new(&digest)?;
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|text| text.to_str().ok()?.parse().ok());
    let (sender, mut receiver) = mpsc::channel::<Result<axum::body::Bytes, String>>(QUEUE);
    let writing = tokio::spawn(blocking(move || {
        let mut upload = store.receive(&digest, length.unwrap_or(0))?;
        loop {
            match receiver.blocking_recv() {
                Some(Ok(bytes)) => upload.write(&bytes)?,
                Some(Err(end)) if end.is_empty() => return upload.finish(),
                Some(Err(reason)) => {
                    return Err(crate::store::Error::Invalid(format!("the upload broke off: {reason}")));
                }
                // the client is gone, and this request with it
                None => return Err(crate::store::Error::Invalid("the upload broke off".into())),
            }
        }
    }));
    let mut body = body.into_data_stream();
    loop {
        let (piece, last) = match body.next().await {
            Some(Ok(bytes)) => (Ok(bytes), false),
            Some(Err(error)) => (Err(error.to_string()), true),
            None => (Err(String::new()), true),
        };
        // the writer ends early on an error, which it returns
        if sender.send(piece).await.is_err() || last {
            break;
        }
    }
    writing.await.map_err(|error| Failure::internal(&error))??;
    Ok(StatusCode::CREATED)
}

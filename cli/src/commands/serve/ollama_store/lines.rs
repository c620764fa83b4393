//! Streams of JSON lines, each its own chunk.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use super::Failure;
use crate::commands::serve::backend::CancelToken;

/// A line, or the error after which nothing comes.
pub type Line = Result<Value, Failure>;

/// Where work that blocks writes its lines.
pub type Lines = mpsc::Sender<Line>;

/// The response that sends `lines` as they come. When the client goes away, or the server closes, `cancel` is cancelled.
pub fn lines(lines: mpsc::Receiver<Line>, cancel: CancelToken, closing: watch::Receiver<bool>) -> Response {
    let live = Live {
        lines,
        cancel: CancelOnDrop(cancel),
        closing,
    };
    let chunks = stream::unfold(live, |mut live| async move {
        let line = live.next().await?;
        let value = line.unwrap_or_else(|failure| failure.body());
        Some((Ok::<_, Infallible>(Bytes::from(format!("{value}\n"))), live))
    });
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::from_stream(chunks)).into_response()
}

struct Live {
    lines: mpsc::Receiver<Line>,
    cancel: CancelOnDrop,
    closing: watch::Receiver<bool>,
}

impl Live {
    async fn next(&mut self) -> Option<Line> {
        let Self { lines, cancel, closing } = self;
        let closed = async {
            // an error means that the state is gone, and the server with it
            let _ = closing.wait_for(|closing| *closing).await;
        };
        tokio::select! {
            line = lines.recv() => return line,
            () = closed => cancel.0.cancel(),
        }
        // the work says that it was cancelled
        lines.recv().await
    }
}

/// Cancels the work of a client that went away: the server drops the response, and this with it.
pub struct CancelOnDrop(pub CancelToken);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

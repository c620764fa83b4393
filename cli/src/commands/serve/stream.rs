//! Streamed responses: drives the jobs, leaves the bytes to the dialect.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::stream;

use crate::commands::serve::backend::Event;
use crate::commands::serve::choices::Choices;
use crate::commands::serve::error::ApiError;

/// Frames to send. Each leaves as one HTTP chunk: some clients parse chunks as if they were lines.
pub type Frames = VecDeque<Bytes>;

/// How an API dialect writes a stream.
pub trait Dialect: Send + 'static {
    /// Content type of the response.
    const CONTENT_TYPE: &'static str;

    /// What to send in a long silence, if the format has a way to say nothing.
    const PING: Option<Bytes>;

    /// Before the first event.
    fn open(&mut self, out: &mut Frames);

    /// One event, never `Failed`.
    fn event(&mut self, choice: usize, event: Event, out: &mut Frames);

    /// After the last event, when all went well: work for [`close`](Self::close) that takes its time.
    fn settle(&mut self) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// After that.
    fn close(&mut self, out: &mut Frames);

    /// Instead of the rest.
    fn fail(&mut self, error: &ApiError, out: &mut Frames);
}

/// The response of a streaming request. An error before the answer begins is returned, so that it
/// gets its own status.
pub async fn respond<D: Dialect>(mut choices: Choices, dialect: D, ping: Duration) -> Result<Response, ApiError> {
    let opening = choices.opening(ping).await?;
    Ok(go_on(choices, opening, dialect, ping))
}

/// The response when `opening`, the first events, has come already.
pub fn go_on<D: Dialect>(choices: Choices, opening: Vec<(usize, Event)>, mut dialect: D, ping: Duration) -> Response {
    let mut ready = Frames::new();
    dialect.open(&mut ready);
    for (choice, event) in opening {
        dialect.event(choice, event, &mut ready);
    }

    // The body owns the jobs. When the client goes away the server drops the body, and that cancels
    // them.
    let live = Live {
        choices,
        dialect,
        ready,
        ended: false,
        ping,
    };
    let frames = stream::unfold(live, |mut live| async move {
        let frame = live.next().await?;
        Some((Ok::<_, Infallible>(frame), live))
    });
    let headers = [
        (header::CONTENT_TYPE, D::CONTENT_TYPE),
        (header::CACHE_CONTROL, "no-cache"),
        // nginx collects a response before it passes it on, unless told not to.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::from_stream(frames)).into_response()
}

struct Live<D> {
    choices: Choices,
    dialect: D,
    ready: Frames,
    ended: bool,
    ping: Duration,
}

impl<D: Dialect> Live<D> {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(frame);
            }
            if self.ended {
                return None;
            }
            match tokio::time::timeout(self.ping, self.choices.next()).await {
                Err(_) => self.ready.extend(D::PING),
                Ok(Ok(Some((choice, event)))) => self.dialect.event(choice, event, &mut self.ready),
                Ok(Ok(None)) => {
                    self.ended = true;
                    self.dialect.settle().await;
                    self.dialect.close(&mut self.ready);
                }
                Ok(Err(error)) => {
                    self.ended = true;
                    self.dialect.fail(&error, &mut self.ready);
                }
            }
        }
    }
}

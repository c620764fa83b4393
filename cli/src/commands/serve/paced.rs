//! Request bodies that come too slowly. Neither may the pause between two parts be too long, nor the whole take too long, or one
//! byte before the end of each pause would hold a connection for hours. Unlike tower-http's body with a timeout, this one knows
//! its size.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::BoxError;
use axum::body::{Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};

/// Bytes a second that a body must have on average, once its time at the beginning is over: what a modem had.
const RATE: u64 = 1024;

/// A body that ends with [`TooSlow`] when it falls behind.
pub struct Paced<B> {
    body: B,
    pause: Duration,
    /// When the first part was asked for.
    begun: Option<Instant>,
    /// When the last one came.
    last: Option<Instant>,
    received: u64,
    alarm: Option<Pin<Box<Sleep>>>,
}

/// A body came more slowly than 1 KiB a second, or stopped coming.
#[derive(Debug, thiserror::Error)]
#[error("the request body did not arrive in time")]
pub struct TooSlow;

impl<B> Paced<B> {
    /// `body` may take `pause` between two parts, and besides what its bytes earn it.
    pub fn new(body: B, pause: Duration) -> Self {
        Self {
            body,
            pause,
            begun: None,
            last: None,
            received: 0,
            alarm: None,
        }
    }
}

impl<B> HttpBody for Paced<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let begun = *self.begun.get_or_insert_with(Instant::now);
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.last = Some(Instant::now());
            if let Some(bytes) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
                self.received += bytes.len() as u64;
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let earned = Duration::from_millis(self.received.saturating_mul(1000) / RATE);
        let deadline = (begun + earned).min(self.last.unwrap_or(begun)) + self.pause;
        let alarm = self
            .alarm
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if alarm.deadline() != deadline {
            alarm.as_mut().reset(deadline);
        }
        ready!(alarm.as_mut().poll(cx));
        Poll::Ready(Some(Err(TooSlow.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! The streamed answer: named events, numbered, and no `[DONE]`.

use axum::body::Bytes;
use serde::Serialize;

use super::output::{Change, Output};
use super::request::Echo;
use crate::commands::serve::backend::Event;
use crate::commands::serve::error::ApiError;
use crate::commands::serve::sse;
use crate::commands::serve::stream::{Dialect, Frames};

/// A streamed answer.
pub struct ResponseStream {
    output: Output,
    sequence: u64,
}

#[derive(Serialize)]
struct Numbered<'a> {
    #[serde(flatten)]
    change: Change<'a>,
    sequence_number: u64,
}

impl ResponseStream {
    /// A stream for a response that repeats `echo`.
    pub fn new(echo: Echo) -> Self {
        Self {
            output: Output::new(echo),
            sequence: 0,
        }
    }

    /// Lets the response change, and sends what changed.
    fn send(&mut self, out: &mut Frames, change: impl FnOnce(&mut Output, &mut dyn FnMut(Change<'_>))) {
        let sequence = &mut self.sequence;
        change(&mut self.output, &mut |change| {
            let numbered = Numbered {
                sequence_number: *sequence,
                change,
            };
            out.push_back(sse::event(numbered.change.kind, &numbered));
            *sequence += 1;
        });
    }
}

impl Dialect for ResponseStream {
    const CONTENT_TYPE: &'static str = sse::CONTENT_TYPE;
    const PING: Option<Bytes> = Some(sse::PING);

    fn open(&mut self, out: &mut Frames) {
        self.send(out, |output, report| output.begin(report));
    }

    fn event(&mut self, _choice: usize, event: Event, out: &mut Frames) {
        self.send(out, |output, report| output.event(event, report));
    }

    /// The last event names the end.
    fn close(&mut self, _out: &mut Frames) {}

    fn fail(&mut self, error: &ApiError, out: &mut Frames) {
        let body = error.body();
        let code = match body["error"]["code"].as_str() {
            Some(code) => code,
            None if error.status().is_client_error() => "invalid_prompt",
            None => "server_error",
        };
        self.send(out, |output, report| output.fail(code, error.message(), report));
    }
}

//! Streamed answers: one line of JSON per event.

use axum::body::Bytes;

use super::answer::{Draft, Head, Part, Surface};
use super::context::ContextIds;
use super::{error, text};
use crate::commands::serve::backend::{Done, Event};
use crate::commands::serve::error::ApiError;
use crate::commands::serve::stream::{Dialect, Frames};

/// A streamed answer.
pub struct Lines {
    head: Head,
    surface: Surface,
    calls: Vec<Draft>,
    done: Option<Box<Done>>,
    context: Option<ContextIds>,
    answer: String,
    ids: Option<Vec<i32>>,
}

impl Lines {
    /// A stream for one answer; `context` when its last line is to have the tokens of the exchange.
    pub fn new(head: Head, surface: Surface, context: Option<ContextIds>) -> Self {
        Self {
            head,
            surface,
            calls: Vec::new(),
            done: None,
            context,
            answer: String::new(),
            ids: None,
        }
    }

    fn part(&self, part: Part, out: &mut Frames) {
        out.push_back(line(&self.head.line(self.surface, part)));
    }

    /// Sends the calls that are complete: all before the one at `index`.
    fn calls_before(&mut self, index: u32, out: &mut Frames) {
        let (complete, rest) = std::mem::take(&mut self.calls)
            .into_iter()
            .partition::<Vec<_>, _>(|call| call.index < index);
        self.calls = rest;
        for call in complete {
            let mut part = Part::default();
            match call.finish() {
                Ok(call) => part.calls.push(call),
                Err(text) => part.text = text,
            }
            self.part(part, out);
        }
    }
}

impl Dialect for Lines {
    const CONTENT_TYPE: &'static str = "application/x-ndjson";

    /// Every line is a part of the answer; there is none that means nothing.
    const PING: Option<Bytes> = None;

    fn open(&mut self, _out: &mut Frames) {}

    fn event(&mut self, _choice: usize, event: Event, out: &mut Frames) {
        match event {
            Event::Accepted | Event::Started { .. } | Event::Progress(_) | Event::Failed(_) => {}
            Event::Text(piece) if piece.text.is_empty() && piece.logprobs.is_empty() => {}
            Event::Text(piece) => {
                if self.context.is_some() {
                    self.answer.push_str(&piece.text);
                }
                let part = Part {
                    text: piece.text,
                    logprobs: piece.logprobs,
                    ..Part::default()
                };
                self.part(part, out);
            }
            Event::Reasoning(thinking) => {
                let part = Part {
                    thinking,
                    ..Part::default()
                };
                self.part(part, out);
            }
            Event::ToolCallStart { index, id, name } => {
                self.calls_before(index, out);
                self.calls.push(Draft {
                    index,
                    id,
                    name,
                    arguments: String::new(),
                });
            }
            Event::ToolCallArguments { index, fragment } => {
                if let Some(call) = self.calls.iter_mut().find(|call| call.index == index) {
                    call.arguments.push_str(&fragment);
                }
            }
            Event::Done(done) => {
                self.calls_before(u32::MAX, out);
                self.done = Some(done);
            }
        }
    }

    async fn settle(&mut self) {
        if let Some(context) = self.context.take() {
            self.ids = context.after(&self.answer).await;
        }
    }

    fn close(&mut self, out: &mut Frames) {
        if let Some(done) = &self.done {
            let last = self.head.last(self.surface, Part::default(), done, self.ids.take());
            out.push_back(line(&last));
        }
    }

    fn fail(&mut self, error: &ApiError, out: &mut Frames) {
        out.push_back(line(&error::body(error)));
    }
}

/// JSON and a line feed, in one piece: ollama-rs takes every HTTP chunk for a line.
fn line(value: &impl serde::Serialize) -> Bytes {
    let mut line = text(value);
    line.push(b'\n');
    line.into()
}

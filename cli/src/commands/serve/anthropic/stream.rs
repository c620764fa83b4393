//! The streamed answer: a message, its blocks one after the other, and pieces of them.

use axum::body::Bytes;
use serde::Serialize;
use serde_json::json;

use super::answer::{Block, Message, Usage, ending};
use super::error;
use super::request::MessagesRequest;
use crate::commands::serve::backend::{Done, Event};
use crate::commands::serve::error::ApiError;
use crate::commands::serve::sse;
use crate::commands::serve::stream::{Dialect, Frames};

/// A streamed answer.
pub struct MessageStream {
    request: MessagesRequest,
    /// The block being written, and those before it.
    open: Option<Block>,
    begun: usize,
    has_calls: bool,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Frame<'a> {
    MessageStart { message: Message },
    ContentBlockStart { index: usize, content_block: &'a Block },
    ContentBlockDelta { index: usize, delta: Delta<'a> },
    ContentBlockStop { index: usize },
    MessageDelta { delta: End, usage: Usage },
    MessageStop,
}

#[derive(Serialize)]
#[serde(tag = "type")]
enum Delta<'a> {
    #[serde(rename = "text_delta")]
    Text { text: &'a str },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: &'a str },
    #[serde(rename = "signature_delta")]
    Signature { signature: &'a str },
    #[serde(rename = "input_json_delta")]
    Input { partial_json: &'a str },
}

#[derive(Serialize)]
struct End {
    stop_reason: &'static str,
    stop_sequence: Option<String>,
}

impl Frame<'_> {
    fn name(&self) -> &'static str {
        match self {
            Self::MessageStart { .. } => "message_start",
            Self::ContentBlockStart { .. } => "content_block_start",
            Self::ContentBlockDelta { .. } => "content_block_delta",
            Self::ContentBlockStop { .. } => "content_block_stop",
            Self::MessageDelta { .. } => "message_delta",
            Self::MessageStop => "message_stop",
        }
    }
}

fn send(frame: &Frame<'_>, out: &mut Frames) {
    out.push_back(sse::event(frame.name(), frame));
}

impl MessageStream {
    /// A stream for the answer to `request`.
    pub fn new(request: MessagesRequest) -> Self {
        Self {
            request,
            open: None,
            begun: 0,
            has_calls: false,
        }
    }

    fn delta(&self, delta: Delta<'_>, out: &mut Frames) {
        let index = self.begun.saturating_sub(1);
        send(&Frame::ContentBlockDelta { index, delta }, out);
    }

    fn start(&mut self, block: Block, out: &mut Frames) {
        self.stop(out);
        let frame = Frame::ContentBlockStart {
            index: self.begun,
            content_block: &block,
        };
        send(&frame, out);
        self.has_calls |= matches!(block, Block::ToolUse { .. });
        self.open = Some(block);
        self.begun += 1;
    }

    fn stop(&mut self, out: &mut Frames) {
        let Some(block) = self.open.take() else {
            return;
        };
        if let Block::Thinking { signature, .. } = block {
            self.delta(Delta::Signature { signature }, out);
        }
        let index = self.begun.saturating_sub(1);
        send(&Frame::ContentBlockStop { index }, out);
    }

    fn finish(&mut self, done: &Done, out: &mut Frames) {
        self.stop(out);
        let (stop_reason, stop_sequence) = ending(done, &self.request, self.has_calls);
        let delta = End {
            stop_reason,
            stop_sequence,
        };
        let usage = done.usage.into();
        send(&Frame::MessageDelta { delta, usage }, out);
        send(&Frame::MessageStop, out);
    }
}

impl Dialect for MessageStream {
    const CONTENT_TYPE: &'static str = sse::CONTENT_TYPE;
    const PING: Option<Bytes> = Some(Bytes::from_static(b"event: ping\ndata: {\"type\":\"ping\"}\n\n"));

    /// The first event needs the size of the prompt, which comes with `Started`.
    fn open(&mut self, _out: &mut Frames) {}

    fn event(&mut self, _choice: usize, event: Event, out: &mut Frames) {
        if !self.open.as_ref().is_some_and(|block| block.takes(&event))
            && let Some(block) = Block::beginning(&event)
        {
            self.start(block, out);
        }
        match event {
            Event::Started { n_prompt, n_cached } => {
                let message = Message::beginning(&self.request, Usage::started(n_prompt, n_cached));
                send(&Frame::MessageStart { message }, out);
            }
            Event::Reasoning(thinking) => self.delta(Delta::Thinking { thinking: &thinking }, out),
            Event::Text(piece) if !piece.text.is_empty() => self.delta(Delta::Text { text: &piece.text }, out),
            Event::ToolCallArguments { fragment, .. } => self.delta(
                Delta::Input {
                    partial_json: &fragment,
                },
                out,
            ),
            Event::Done(done) => self.finish(&done, out),
            _ => {}
        }
    }

    fn close(&mut self, _out: &mut Frames) {}

    fn fail(&mut self, error: &ApiError, out: &mut Frames) {
        out.push_back(sse::event("error", &json!(error::body(error))));
    }
}

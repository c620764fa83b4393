//! The stream of events a job produces; dropping it cancels the job.

use std::task::{Context, Poll};

use llama_turboquant::CancelToken;
use tokio::sync::mpsc;

use super::BackendError;

/// One step of a job. See [`Backend`](super::Backend) for the order.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The prompt is accepted.
    Started {
        /// Tokens in the prompt.
        n_prompt: u32,
        /// Of these, tokens found in the cache.
        n_cached: u32,
    },
    /// A part of the prompt has been processed. Only for jobs that asked for it.
    Progress(Progress),
    /// A piece of the answer.
    Text(TextPiece),
    /// A piece of the model's reasoning.
    Reasoning(String),
    /// The model begins a tool call.
    ToolCallStart {
        /// Position among the calls of this answer, from 0.
        index: u32,
        /// Identifier; when empty, the HTTP layer makes one up.
        id: String,
        /// Name of the function.
        name: String,
    },
    /// A piece of the arguments of a tool call, as JSON text.
    ToolCallArguments {
        /// Position of the call that the piece belongs to.
        index: u32,
        /// The piece.
        fragment: String,
    },
    /// The end of a job that went well.
    Done(Box<Done>),
    /// The end of a job that did not.
    Failed(BackendError),
}

impl Event {
    /// A [`Event::Text`] without log probabilities.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(TextPiece {
            text: text.into(),
            logprobs: Vec::new(),
        })
    }

    /// Whether nothing follows this event.
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Done(_) | Self::Failed(_))
    }
}

/// How far the processing of a prompt has come.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Tokens in the prompt.
    pub total: u32,
    /// Of these, tokens found in the cache.
    pub cached: u32,
    /// Tokens processed so far, those found in the cache included.
    pub processed: u32,
    /// Time for them, in milliseconds.
    pub time_ms: f64,
}

/// A piece of text and, when asked for, the tokens it is made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TextPiece {
    /// Whole UTF-8; may be empty when only log probabilities are known yet.
    pub text: String,
    /// One entry per token, when the job asked for log probabilities; else empty.
    pub logprobs: Vec<TokenLogprob>,
}

/// A token of the answer with its log probability.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprob {
    /// Its text; bytes that are not UTF-8 are replaced.
    pub token: String,
    /// Its exact bytes.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability. None for the first token of an echoed prompt, which
    /// has no predecessor.
    pub logprob: Option<f32>,
    /// The likeliest tokens at this position, best first; as many as the job asked for.
    pub top: Vec<Alternative>,
}

/// A token that could have been chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Alternative {
    /// Its text; bytes that are not UTF-8 are replaced.
    pub token: String,
    /// Its exact bytes.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability.
    pub logprob: f32,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// Why generation stopped.
    pub finish: Finish,
    /// The stop string that was met, if one was.
    pub stop_string: Option<String>,
    /// Tokens used.
    pub usage: Usage,
    /// Time used.
    pub timings: Timings,
}

/// Why generation stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model ended its turn, or a stop string was met.
    Stop,
    /// The token limit or the end of the context was reached; also when a tool call was being
    /// written.
    Length,
    /// The model ended its turn with tool calls.
    ToolCalls,
}

/// Tokens a job used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens in the prompt, cached ones included.
    pub prompt: u32,
    /// Of these, tokens found in the cache.
    pub cached: u32,
    /// Tokens generated, reasoning included.
    pub completion: u32,
    /// Of these, tokens of reasoning.
    pub reasoning: u32,
}

/// Time a job used, by phase.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timings {
    /// Prompt tokens found in the cache.
    pub cache_n: u32,
    /// Prompt tokens processed.
    pub prompt_n: u32,
    /// Time for them, in milliseconds.
    pub prompt_ms: f64,
    /// Tokens generated.
    pub predicted_n: u32,
    /// Time for them, in milliseconds.
    pub predicted_ms: f64,
    /// Tokens a draft proposed; None without speculative decoding.
    pub draft_n: Option<u32>,
    /// Of these, tokens accepted.
    pub draft_n_accepted: Option<u32>,
}

/// The engine's end of a stream.
#[derive(Debug)]
pub struct EventSender {
    events: mpsc::Sender<Event>,
    cancel: CancelToken,
}

/// Why an event was not sent.
#[derive(Debug)]
pub enum SendError {
    /// The reader is slow and the channel full. The event comes back; the engine may rest this job
    /// and go on with others.
    Full(Event),
    /// Nobody reads any more: stop the job.
    Closed,
}

impl EventSender {
    /// Sends without waiting. An engine that serves several jobs on one thread uses this one, so
    /// that a slow reader holds up only its own job.
    pub fn try_send(&self, event: Event) -> Result<(), SendError> {
        self.events.try_send(event).map_err(|error| match error {
            mpsc::error::TrySendError::Full(event) => SendError::Full(event),
            mpsc::error::TrySendError::Closed(_) => SendError::Closed,
        })
    }

    /// Sends, waiting for room. For threads outside the async runtime; panics inside it.
    pub fn blocking_send(&self, event: Event) -> Result<(), SendError> {
        self.events.blocking_send(event).map_err(|_| SendError::Closed)
    }

    /// Sends, waiting for room, from async code.
    pub async fn send(&self, event: Event) -> Result<(), SendError> {
        self.events.send(event).await.map_err(|_| SendError::Closed)
    }

    /// The token that is set when the reader goes away; hand a clone to the engine's abort
    /// callback.
    pub fn cancel_token(&self) -> &CancelToken {
        &self.cancel
    }
}

/// The server's end of a stream. Dropping it cancels the job.
#[derive(Debug)]
pub struct EventStream {
    events: mpsc::Receiver<Event>,
    cancel: CancelToken,
}

impl EventStream {
    /// Both ends of a new stream that holds up to `capacity` unread events. 256 is plenty: a reader
    /// that is that far behind is not reading.
    pub fn channel(capacity: usize) -> (EventSender, EventStream) {
        let (events, unread) = mpsc::channel(capacity);
        let cancel = CancelToken::new();
        (
            EventSender {
                events,
                cancel: cancel.clone(),
            },
            EventStream { events: unread, cancel },
        )
    }

    /// The next event, or None when the sender is gone. Safe to drop half-way.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// The same for hand-written futures.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.events.poll_recv(cx)
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

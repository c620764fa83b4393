//! The stream of events a job produces; dropping it cancels the job.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use llama_turboquant::CancelToken;
use tokio::sync::mpsc;

use super::BackendError;

/// One step of a job. See [`Backend`](super::Backend) for the order.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The prompt is prepared and the job is queued. Nothing of it is for the client.
    Accepted,
    /// The job has a slot, and its prompt is being processed.
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
pub struct EventStream {
    events: Source,
    cancel: CancelToken,
}

/// Where the events of a stream come from.
enum Source {
    /// The engine sends them.
    Sent(mpsc::Receiver<Event>),
    /// They are made of what it sends when somebody wants to read them.
    Made(Box<dyn Make>),
}

/// Makes events of something else.
trait Make: Send {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>>;
}

struct Maker<T, F> {
    parts: mpsc::UnboundedReceiver<T>,
    unread: Vec<T>,
    make: F,
    made: VecDeque<Event>,
}

/// Parts that are read at once at most.
const AT_ONCE: usize = 256;

impl<T: Send, F: FnMut(std::vec::Drain<'_, T>, &mut VecDeque<Event>) + Send> Make for Maker<T, F> {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        loop {
            if let Some(event) = self.made.pop_front() {
                return Poll::Ready(Some(event));
            }
            match self.parts.poll_recv_many(cx, &mut self.unread, AT_ONCE) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(0) => return Poll::Ready(None),
                Poll::Ready(_) => (self.make)(self.unread.drain(..), &mut self.made),
            }
        }
    }
}

/// The engine's end of a stream whose events are [made](EventStream::made) by the reader.
#[derive(Debug)]
pub struct PartSender<T> {
    parts: mpsc::UnboundedSender<T>,
    cancel: CancelToken,
}

impl<T> Clone for PartSender<T> {
    fn clone(&self) -> Self {
        Self {
            parts: self.parts.clone(),
            cancel: self.cancel.clone(),
        }
    }
}

impl<T> PartSender<T> {
    /// Sends without waiting; false: nobody reads any more, stop the job.
    pub fn send(&self, part: T) -> bool {
        self.parts.send(part).is_ok()
    }

    /// The token that is set when the reader goes away.
    pub fn cancel_token(&self) -> &CancelToken {
        &self.cancel
    }
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
            EventStream {
                events: Source::Sent(unread),
                cancel,
            },
        )
    }

    /// Both ends of a new stream whose events `make` makes of the parts that are sent, all that have come at once. It runs
    /// where the stream is read, so that the engine does not wait for it. What the parts may be at most bounds the memory.
    pub fn made<T: Send + 'static>(
        make: impl FnMut(std::vec::Drain<'_, T>, &mut VecDeque<Event>) + Send + 'static,
    ) -> (PartSender<T>, EventStream) {
        let (parts, unread) = mpsc::unbounded_channel();
        let cancel = CancelToken::new();
        let maker = Maker {
            parts: unread,
            unread: Vec::new(),
            make,
            made: VecDeque::new(),
        };
        (
            PartSender {
                parts,
                cancel: cancel.clone(),
            },
            EventStream {
                events: Source::Made(Box::new(maker)),
                cancel,
            },
        )
    }

    /// The next event, or None when the sender is gone. Safe to drop half-way.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The same for hand-written futures.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        match &mut self.events {
            Source::Sent(events) => events.poll_recv(cx),
            Source::Made(maker) => maker.poll_next(cx),
        }
    }
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EventStream")
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

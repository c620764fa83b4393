//! What became of one request.

use serde::Serialize;
use std::time::Duration;

/// Where a request was when its client left, as the client saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Nothing had come: it waited, or its prompt was being computed.
    Waiting,
    /// A part of its prompt was computed, and no token of the answer had come.
    Prefill,
    /// The answer was being written.
    Decode,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The whole answer came.
    Answered,
    /// 429 or 503: the server has too much to do.
    Refused(Problem),
    /// Any other error: a status, an error within the answer, a connection that broke, an answer that does not come.
    Failed(Problem),
    /// The client left, as planned.
    Left(Stage),
    /// The measurement was interrupted.
    Cut,
}

/// What a server, or the way to it, said instead of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problem {
    /// The HTTP status; `None`: there was none.
    pub status: Option<u16>,
    /// The error's code or type, or what broke.
    pub code: String,
    /// In words.
    pub message: String,
    /// When to come back, if it was said.
    pub retry_after: Option<Duration>,
}

/// What came of one exchange over HTTP; times are since the request was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// How it ended.
    pub ending: Ending,
    /// When each piece of the answer came.
    pub pieces: Vec<Duration>,
    /// When it ended.
    pub end: Duration,
    /// The answer.
    pub text: String,
    /// What the server says of it.
    pub told: Told,
}

impl Exchange {
    /// Of a request that the interruption cut.
    pub fn cut() -> Self {
        Self {
            ending: Ending::Cut,
            pieces: Vec::new(),
            end: Duration::ZERO,
            text: String::new(),
            told: Told::default(),
        }
    }
}

/// What a server says of an answer, where it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Told {
    /// Tokens of the prompt.
    pub n_prompt: Option<u64>,
    /// Tokens of the answer.
    pub n_answer: Option<u64>,
    /// How long the prompt took.
    pub prefill: Option<Duration>,
}

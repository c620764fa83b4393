//! The numbers of a load, as records have them (docs/results-format.md).

use super::fairness::{Fairness, Overtaken};
use super::mix::Class;
use super::summary::Summary;
use serde::Serialize;

/// What became of the requests.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// From the start to the last end.
    pub seconds: f64,
    /// Requests by how they ended.
    pub requests: Requests,
    /// What was done in this time.
    pub throughput: Throughput,
    /// All requests together.
    pub latency: Latency,
    /// And by class.
    pub classes: Vec<ClassReport>,
    /// Refusals and failures, the most frequent first.
    pub problems: Vec<ProblemCount>,
    /// What became of refusals.
    pub refusals: Refusals,
    /// Where the requests were whose clients left.
    pub left: Left,
    /// Whether all were treated alike.
    pub fairness: FairnessReport,
}

/// Requests by how they ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Default)]
pub struct Requests {
    /// All of them.
    pub sent: u64,
    /// With a whole answer.
    pub answered: u64,
    /// With 429 or 503, in the end.
    pub refused: u64,
    /// With any other error.
    pub failed: u64,
    /// Whose client left, as planned.
    pub left: u64,
    /// That the interruption cut.
    pub cut: u64,
}

/// Per second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Throughput {
    /// Requests that were answered.
    pub requests: f64,
    /// Tokens of their prompts; null where the server does not count them.
    pub prompt_tokens: Option<f64>,
    /// Tokens that were written, those for clients that left included.
    pub answer_tokens: f64,
}

/// Durations, in ms.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Latency {
    /// To the first token, from when the request was due.
    pub ttft_ms: Summary,
    /// Between two pieces of an answer.
    pub gap_ms: Summary,
    /// To the end of a whole answer, from when the request was due.
    pub total_ms: Summary,
}

/// Requests of one class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassReport {
    /// Their size.
    #[serde(flatten)]
    pub class: Class,
    /// How they ended.
    #[serde(flatten)]
    pub requests: Requests,
    /// Mean tokens of their prompts, as the server counts.
    pub prompt_tokens: Option<f64>,
    /// How long they took.
    #[serde(flatten)]
    pub latency: Latency,
    /// Whether they were treated alike.
    pub fairness: Fairness,
}

/// Errors of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProblemCount {
    /// The HTTP status; null: there was none. 200: within an answer.
    pub status: Option<u16>,
    /// The error's code or type.
    pub code: String,
    /// Requests that ended so.
    pub count: u64,
    /// It says that the server has too much to do (429, 503).
    pub refusal: bool,
    /// The first message.
    pub message: String,
}

/// What became of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Refusals {
    /// 429 and 503, those that were tried again included.
    pub count: u64,
    /// Of these, with Retry-After.
    pub with_retry_after: u64,
    /// Times a refused request was sent again.
    pub retries: u64,
}

/// Where requests were when their clients left, as those saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Default)]
pub struct Left {
    /// Nothing had come.
    pub waiting: u64,
    /// A part of the prompt was computed.
    pub prefill: u64,
    /// The answer was being written.
    pub decode: u64,
}

/// Whether all were treated alike.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FairnessReport {
    /// Jain's index over the tokens that each client was sent.
    pub jain_tokens: Option<f64>,
    /// Order of service against order of arrival.
    pub overtaken: Overtaken,
}

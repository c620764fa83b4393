//! The response object, and the items of its output.

use serde::Serialize;

use super::request::Echo;
use crate::commands::serve::backend;
use crate::commands::serve::openai::parts::ChatToken;

/// A response, finished or not.
#[derive(Clone, Debug, Serialize)]
pub struct Response<'a> {
    pub(super) id: &'a str,
    pub(super) object: &'static str,
    pub(super) created_at: u64,
    pub(super) completed_at: Option<u64>,
    pub(super) status: Status,
    pub(super) error: Option<Failure<'a>>,
    pub(super) incomplete_details: Option<Incomplete>,
    #[serde(flatten)]
    pub(super) echo: &'a Echo,
    pub(super) output: &'a [Item],
    pub(super) usage: Option<Usage>,
}

/// How far a response, or an item of it, has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// More is to come.
    InProgress,
    /// It is whole.
    Completed,
    /// It was cut by the token limit.
    Incomplete,
    /// The engine failed.
    Failed,
}

/// Why a response failed.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Failure<'a> {
    pub(super) code: &'a str,
    pub(super) message: &'a str,
}

/// Why a response is incomplete.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Incomplete {
    pub(super) reason: &'static str,
}

/// A part of the output.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Item {
    /// What the model thought.
    Reasoning {
        /// Identifier of the item.
        id: String,
        /// Always empty: the reasoning is there itself.
        summary: [(); 0],
        /// One part.
        content: Vec<Part>,
        /// How far it has come.
        status: Status,
    },
    /// What the model says.
    Message {
        /// Identifier of the item.
        id: String,
        /// How far it has come.
        status: Status,
        /// `assistant`.
        role: &'static str,
        /// One part.
        content: Vec<Part>,
    },
    /// A function the model calls.
    FunctionCall {
        /// Identifier of the item.
        id: String,
        /// Identifier of the call, which its output refers to.
        call_id: String,
        /// Name of the function.
        name: String,
        /// JSON text.
        arguments: String,
        /// How far it has come.
        status: Status,
    },
}

/// A part of a message or of reasoning.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    /// Text for the user.
    OutputText {
        /// The text.
        text: String,
        /// Always empty.
        annotations: [(); 0],
        /// When asked for.
        logprobs: Vec<ChatToken>,
    },
    /// Text of the reasoning.
    ReasoningText {
        /// The text.
        text: String,
    },
}

impl Item {
    /// Identifier of the item.
    pub fn id(&self) -> &str {
        match self {
            Self::Reasoning { id, .. } | Self::Message { id, .. } | Self::FunctionCall { id, .. } => id,
        }
    }

    /// How far it has come.
    pub fn set_status(&mut self, to: Status) {
        match self {
            Self::Reasoning { status, .. } | Self::Message { status, .. } | Self::FunctionCall { status, .. } => {
                *status = to;
            }
        }
    }
}

/// Tokens used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Usage {
    input_tokens: u32,
    input_tokens_details: InputDetails,
    output_tokens: u32,
    output_tokens_details: OutputDetails,
    total_tokens: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct InputDetails {
    cached_tokens: u32,
    /// Newer SDKs declare it as always there: what this request added to the cache.
    cache_write_tokens: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct OutputDetails {
    reasoning_tokens: u32,
}

impl From<backend::Usage> for Usage {
    fn from(usage: backend::Usage) -> Self {
        Self {
            input_tokens: usage.prompt,
            input_tokens_details: InputDetails {
                cached_tokens: usage.cached,
                cache_write_tokens: usage.prompt.saturating_sub(usage.cached),
            },
            output_tokens: usage.completion,
            output_tokens_details: OutputDetails {
                reasoning_tokens: usage.reasoning,
            },
            total_tokens: usage.prompt.saturating_add(usage.completion),
        }
    }
}

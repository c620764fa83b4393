//! The whole answer.

use serde::Serialize;
use serde_json::Value;

use super::request::MessagesRequest;
use crate::commands::serve::backend::{self, Done, Event, Finish};
use crate::commands::serve::choices::Choices;
use crate::commands::serve::error::ApiError;
use crate::commands::serve::ids::new_id;

/// A message.
#[derive(Clone, Debug, Serialize)]
pub struct Message {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    role: &'static str,
    model: String,
    content: Vec<Block>,
    stop_reason: Option<&'static str>,
    stop_sequence: Option<String>,
    usage: Usage,
}

/// A part of a message.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Block {
    /// What the model thought.
    Thinking {
        /// The text.
        thinking: String,
        /// Empty: nothing is signed here. Clients want the field.
        signature: &'static str,
    },
    /// What the model says.
    Text {
        /// The text.
        text: String,
    },
    /// A tool the model calls.
    ToolUse {
        /// Identifier of the call, which its result refers to.
        id: String,
        /// Name of the tool.
        name: String,
        /// The arguments: an object.
        input: Value,
    },
}

impl Block {
    /// An empty block for what an event brings; None: it brings nothing for one.
    pub fn beginning(event: &Event) -> Option<Self> {
        match event {
            Event::Reasoning(_) => Some(Self::Thinking {
                thinking: String::new(),
                signature: "",
            }),
            Event::Text(piece) if !piece.text.is_empty() => Some(Self::Text { text: String::new() }),
            Event::ToolCallStart { id, name, .. } => Some(Self::ToolUse {
                id: if id.is_empty() { new_id("toolu_") } else { id.clone() },
                name: name.clone(),
                input: Value::Object(serde_json::Map::new()),
            }),
            _ => None,
        }
    }

    /// Whether what the event brings goes into this block.
    pub fn takes(&self, event: &Event) -> bool {
        matches!(
            (self, event),
            (Self::Thinking { .. }, Event::Reasoning(_))
                | (Self::Text { .. }, Event::Text(_))
                | (Self::ToolUse { .. }, Event::ToolCallArguments { .. })
        )
    }
}

/// Tokens used. Those found in the cache are not among the input tokens: clients add the two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    input_tokens: u32,
    cache_creation_input_tokens: u32,
    cache_read_input_tokens: u32,
    output_tokens: u32,
}

impl Usage {
    /// Usage of a prompt that has not been answered yet.
    pub fn started(n_prompt: u32, n_cached: u32) -> Self {
        Self {
            input_tokens: n_prompt.saturating_sub(n_cached),
            cache_creation_input_tokens: 0,
            cache_read_input_tokens: n_cached,
            output_tokens: 0,
        }
    }
}

impl From<backend::Usage> for Usage {
    fn from(usage: backend::Usage) -> Self {
        Self {
            output_tokens: usage.completion,
            ..Self::started(usage.prompt, usage.cached)
        }
    }
}

/// Why an answer ended: `stop_reason` and `stop_sequence`.
pub fn ending(done: &Done, request: &MessagesRequest, has_calls: bool) -> (&'static str, Option<String>) {
    // A template has stop strings of its own; they are the end of the turn.
    let asked = |stop: &&String| request.stop_sequences.contains(stop);
    match (done.finish, done.stop_string.as_ref().filter(asked)) {
        (Finish::Length, _) if done.usage.completion < request.max_tokens => ("model_context_window_exceeded", None),
        (Finish::Length, _) => ("max_tokens", None),
        (_, Some(stop)) => ("stop_sequence", Some(stop.clone())),
        (_, None) if has_calls => ("tool_use", None),
        (_, None) => ("end_turn", None),
    }
}

impl Message {
    /// A message that has just begun.
    pub fn beginning(request: &MessagesRequest, usage: Usage) -> Self {
        Self {
            id: new_id("msg_"),
            kind: "message",
            role: "assistant",
            model: request.model.clone(),
            content: Vec::new(),
            stop_reason: None,
            stop_sequence: None,
            usage,
        }
    }

    /// Waits for the end of the job.
    pub async fn gather(mut choices: Choices, request: &MessagesRequest) -> Result<Self, ApiError> {
        let mut message = Self::beginning(request, Usage::default());
        let mut arguments = String::new();
        while let Some((_, event)) = choices.next().await? {
            if !message.content.last().is_some_and(|block| block.takes(&event))
                && let Some(block) = Block::beginning(&event)
            {
                message.close(&mut arguments);
                message.content.push(block);
            }
            match (message.content.last_mut(), event) {
                (Some(Block::Thinking { thinking, .. }), Event::Reasoning(piece)) => thinking.push_str(&piece),
                (Some(Block::Text { text }), Event::Text(piece)) => text.push_str(&piece.text),
                (Some(Block::ToolUse { .. }), Event::ToolCallArguments { fragment, .. }) => {
                    arguments.push_str(&fragment);
                }
                (_, Event::Done(done)) => {
                    message.close(&mut arguments);
                    let is_call = |block: &Block| matches!(block, Block::ToolUse { .. });
                    let (reason, sequence) = ending(&done, request, message.content.iter().any(is_call));
                    message.stop_reason = Some(reason);
                    message.stop_sequence = sequence;
                    message.usage = done.usage.into();
                }
                _ => {}
            }
        }
        Ok(message)
    }

    /// Puts the arguments into the call they belong to. One whose arguments were cut is taken out:
    /// as an object they would be other arguments, and a client might act on them.
    fn close(&mut self, arguments: &mut String) {
        let arguments = std::mem::take(arguments);
        if let Some(Block::ToolUse { input, .. }) = self.content.last_mut()
            && !arguments.is_empty()
        {
            match serde_json::from_str(&arguments) {
                Ok(Value::Object(object)) => *input = Value::Object(object),
                _ => drop(self.content.pop()),
            }
        }
    }
}

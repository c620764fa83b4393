//! `/v1/chat/completions`: the whole answer.

use serde::Serialize;

use crate::commands::serve::backend::{Event, TokenLogprob};
use crate::commands::serve::choices::Choices;
use crate::commands::serve::error::ApiError;
use crate::commands::serve::openai::chat_request::ChatRequest;
use crate::commands::serve::openai::chat_stream::call_id;
use crate::commands::serve::openai::parts::{ChatLogprobs, Head, Tally, TimingsBlock, UsageBlock, finish_reason};
use crate::commands::serve::state::AppState;

/// A whole answer.
// Serialized from structs, not from a `Value`, which widens an f32 and then prints digits that mean
// nothing.
#[derive(Debug, Serialize)]
pub struct ChatAnswer {
    #[serde(flatten)]
    head: Head,
    choices: Vec<Choice>,
    usage: UsageBlock,
    #[serde(skip_serializing_if = "Option::is_none")]
    timings: Option<TimingsBlock>,
}

#[derive(Debug, Serialize)]
struct Choice {
    index: usize,
    message: Message,
    logprobs: Option<ChatLogprobs>,
    finish_reason: &'static str,
}

#[derive(Debug, Serialize)]
struct Message {
    role: &'static str,
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call>,
}

#[derive(Debug, Serialize)]
struct Call {
    #[serde(skip)]
    index: u32,
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function,
}

#[derive(Debug, Serialize)]
struct Function {
    name: String,
    arguments: String,
}

/// One choice, being put together.
#[derive(Default)]
struct Gathered {
    text: String,
    reasoning: String,
    logprobs: Vec<TokenLogprob>,
    calls: Vec<Call>,
    finish_reason: &'static str,
}

impl ChatAnswer {
    /// Waits for the end of all jobs.
    pub async fn gather(mut choices: Choices, request: &ChatRequest, state: &AppState) -> Result<Self, ApiError> {
        let count = request.choices;
        let mut tally = Tally::new(count, count);
        let mut gathered: Vec<Gathered> = std::iter::repeat_with(Gathered::default).take(count).collect();
        while let Some((choice, event)) = choices.next().await? {
            if let Event::Done(done) = &event {
                tally.add(choice, done);
            }
            gathered[choice].add(event, request.named_tool);
        }
        Ok(Self {
            head: Head::new("chatcmpl-", "chat.completion", &request.model, state),
            choices: gathered
                .into_iter()
                .enumerate()
                .map(|(index, part)| part.choice(index, state.settings.reasoning_alias))
                .collect(),
            usage: tally.usage(),
            timings: tally.timings(),
        })
    }
}

impl Gathered {
    fn add(&mut self, event: Event, named_tool: bool) {
        match event {
            Event::Accepted | Event::Started { .. } | Event::Progress(_) | Event::Failed(_) => {}
            Event::Text(piece) => {
                self.text.push_str(&piece.text);
                self.logprobs.extend(piece.logprobs);
            }
            Event::Reasoning(text) => self.reasoning.push_str(&text),
            Event::ToolCallStart { index, id, name } => {
                let function = Function {
                    name,
                    arguments: String::new(),
                };
                self.calls.push(Call {
                    index,
                    id: call_id(id),
                    kind: "function",
                    function,
                });
            }
            Event::ToolCallArguments { index, fragment } => {
                if let Some(call) = self.calls.iter_mut().find(|call| call.index == index) {
                    call.function.arguments.push_str(&fragment);
                }
            }
            Event::Done(done) => self.finish_reason = finish_reason(done.finish, !self.calls.is_empty(), named_tool),
        }
    }

    fn choice(mut self, index: usize, reasoning_alias: bool) -> Choice {
        // A call without arguments is a call with none, and clients parse what they get.
        for call in self.calls.iter_mut().filter(|call| call.function.arguments.is_empty()) {
            call.function.arguments.push_str("{}");
        }
        let calls_only = self.text.is_empty() && !self.calls.is_empty();
        let reasoning = Some(self.reasoning).filter(|reasoning| !reasoning.is_empty());
        let message = Message {
            role: "assistant",
            content: Some(self.text).filter(|_| !calls_only),
            reasoning: reasoning.clone().filter(|_| reasoning_alias),
            reasoning_content: reasoning,
            tool_calls: self.calls,
        };
        let logprobs = ChatLogprobs::new(self.logprobs);
        Choice {
            index,
            message,
            logprobs,
            finish_reason: self.finish_reason,
        }
    }
}

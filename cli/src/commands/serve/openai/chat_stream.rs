//! `/v1/chat/completions`: the streamed answer.

use serde::Serialize;

use crate::commands::serve::backend::{Done, Event};
use crate::commands::serve::error::ApiError;
use crate::commands::serve::ids::new_id;
use crate::commands::serve::openai::chat_request::ChatRequest;
use crate::commands::serve::openai::parts::{
    ChatLogprobs, Head, ProgressBlock, Tally, TimingsBlock, UsageBlock, finish_reason,
};
use crate::commands::serve::sse;
use crate::commands::serve::state::AppState;
use crate::commands::serve::stream::{Dialect, Frames};

/// A streamed answer.
pub struct ChatStream {
    head: Head,
    include_usage: bool,
    named_tool: bool,
    reasoning_alias: bool,
    tally: Tally,
    /// Per choice, per tool call: whether arguments were sent.
    calls: Vec<Vec<(u32, bool)>>,
    unfinished: usize,
}

#[derive(Serialize)]
struct Chunk<'a> {
    #[serde(flatten)]
    head: &'a Head,
    choices: &'a [ChunkChoice<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageBlock>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timings: Option<TimingsBlock>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_progress: Option<ProgressBlock>,
}

#[derive(Serialize)]
struct ChunkChoice<'a> {
    index: usize,
    delta: Delta<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<ChatLogprobs>,
    finish_reason: Option<&'static str>,
}

#[derive(Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[CallDelta<'a>; 1]>,
}

/// The first delta of a call says what it is; the others carry only its index and more arguments.
#[derive(Serialize)]
struct CallDelta<'a> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    function: FunctionDelta<'a>,
}

#[derive(Serialize)]
struct FunctionDelta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

impl ChatStream {
    /// A stream for the answer to `request`.
    pub fn new(request: &ChatRequest, state: &AppState) -> Self {
        let choices = request.choices;
        Self {
            head: Head::new("chatcmpl-", "chat.completion.chunk", &request.model, state),
            include_usage: request.delivery.include_usage,
            named_tool: request.named_tool,
            reasoning_alias: state.settings.reasoning_alias,
            tally: Tally::new(choices, choices),
            calls: vec![Vec::new(); choices],
            unfinished: choices,
        }
    }

    fn delta(&self, index: usize, delta: Delta<'_>, logprobs: Option<ChatLogprobs>, out: &mut Frames) {
        let choice = ChunkChoice {
            index,
            delta,
            logprobs,
            finish_reason: None,
        };
        self.chunk(&[choice], None, None, out);
    }

    fn arguments(&self, index: usize, call: u32, arguments: &str, out: &mut Frames) {
        let function = FunctionDelta { name: None, arguments };
        let call = CallDelta {
            index: call,
            id: None,
            kind: None,
            function,
        };
        self.delta(
            index,
            Delta {
                tool_calls: Some([call]),
                ..Delta::default()
            },
            None,
            out,
        );
    }

    fn chunk(
        &self,
        choices: &[ChunkChoice<'_>],
        usage: Option<UsageBlock>,
        timings: Option<TimingsBlock>,
        out: &mut Frames,
    ) {
        out.push_back(sse::data(&Chunk {
            head: &self.head,
            choices,
            usage,
            timings,
            prompt_progress: None,
        }));
    }

    fn finish(&mut self, index: usize, done: &Done, out: &mut Frames) {
        // A call without arguments is a call with none, and clients parse what they get.
        for &(call, filled) in &self.calls[index] {
            if !filled {
                self.arguments(index, call, "{}", out);
            }
        }
        self.tally.add(index, done);
        self.unfinished -= 1;
        let finish_reason = finish_reason(done.finish, !self.calls[index].is_empty(), self.named_tool);
        let choice = ChunkChoice {
            index,
            delta: Delta::default(),
            logprobs: None,
            finish_reason: Some(finish_reason),
        };
        // llama-server puts the times into the last chunk.
        let last = self.unfinished == 0 && !self.include_usage;
        self.chunk(&[choice], None, self.tally.timings().filter(|_| last), out);
    }
}

impl Dialect for ChatStream {
    const CONTENT_TYPE: &'static str = sse::CONTENT_TYPE;
    const PING: Option<axum::body::Bytes> = Some(sse::PING);

    fn open(&mut self, out: &mut Frames) {
        for index in 0..self.calls.len() {
            let delta = Delta {
                role: Some("assistant"),
                content: Some(""),
                ..Delta::default()
            };
            self.delta(index, delta, None, out);
        }
    }

    fn event(&mut self, choice: usize, event: Event, out: &mut Frames) {
        match event {
            Event::Accepted | Event::Started { .. } | Event::Failed(_) => {}
            Event::Progress(progress) => {
                let choice = ChunkChoice {
                    index: choice,
                    delta: Delta::default(),
                    logprobs: None,
                    finish_reason: None,
                };
                out.push_back(sse::data(&Chunk {
                    head: &self.head,
                    choices: &[choice],
                    usage: None,
                    timings: None,
                    prompt_progress: Some(progress.into()),
                }));
            }
            Event::Text(piece) => {
                let delta = Delta {
                    content: Some(&piece.text),
                    ..Delta::default()
                };
                self.delta(choice, delta, ChatLogprobs::new(piece.logprobs), out);
            }
            Event::Reasoning(text) => {
                let delta = Delta {
                    reasoning_content: Some(&text),
                    reasoning: self.reasoning_alias.then_some(&text),
                    ..Delta::default()
                };
                self.delta(choice, delta, None, out);
            }
            Event::ToolCallStart { index, id, name } => {
                let id = call_id(id);
                self.calls[choice].push((index, false));
                let function = FunctionDelta {
                    name: Some(&name),
                    arguments: "",
                };
                let call = CallDelta {
                    index,
                    id: Some(&id),
                    kind: Some("function"),
                    function,
                };
                self.delta(
                    choice,
                    Delta {
                        tool_calls: Some([call]),
                        ..Delta::default()
                    },
                    None,
                    out,
                );
            }
            Event::ToolCallArguments { index, fragment } => {
                if let Some((_, filled)) = self.calls[choice].iter_mut().find(|(call, _)| *call == index) {
                    *filled |= !fragment.is_empty();
                    self.arguments(choice, index, &fragment, out);
                }
            }
            Event::Done(done) => self.finish(choice, &done, out),
        }
    }

    fn close(&mut self, out: &mut Frames) {
        if self.include_usage {
            self.chunk(&[], Some(self.tally.usage()), self.tally.timings(), out);
        }
        out.push_back(sse::DONE);
    }

    fn fail(&mut self, error: &ApiError, out: &mut Frames) {
        out.push_back(sse::data(&error.body()));
    }
}

/// The id of a call. Not every chat format has ids, but every client wants one.
pub fn call_id(id: String) -> String {
    if id.is_empty() { new_id("call_") } else { id }
}

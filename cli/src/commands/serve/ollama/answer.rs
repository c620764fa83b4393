//! The shapes of answers: lines of a stream, and whole objects, which are their own last line.

use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Map, Value};

use super::time;
use crate::commands::serve::backend::{Alternative, Done, Finish, TokenLogprob};
use crate::commands::serve::ids::new_id;

/// Which endpoint answers: they differ in where the text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// `/api/generate`: in `response`.
    Generate,
    /// `/api/chat`: in `message`.
    Chat,
}

/// What all lines of an answer repeat, and when the request came.
#[derive(Clone, Debug)]
pub struct Head {
    model: String,
    began: Instant,
    load: Duration,
}

impl Head {
    /// A head for the answer to a request that comes now, for the model of that name.
    pub fn new(model: &str) -> Self {
        Self {
            model: model.to_owned(),
            began: Instant::now(),
            load: Duration::ZERO,
        }
    }

    /// The same, once the model is loaded; `load` is how long that took.
    pub fn loaded(self, load: Duration) -> Self {
        Self { load, ..self }
    }

    /// The name the client used.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// How long the request has taken, in nanoseconds.
    pub fn total(&self) -> u64 {
        time::nanos(self.began.elapsed())
    }

    /// How long loading took, in nanoseconds.
    pub fn load(&self) -> u64 {
        time::nanos(self.load)
    }

    /// A line in the middle of an answer.
    pub(super) fn line(&self, surface: Surface, part: Part) -> Line<'_> {
        let Part {
            text,
            thinking,
            calls,
            logprobs,
        } = part;
        let mut line = Line {
            model: &self.model,
            created_at: time::now(),
            message: None,
            response: None,
            thinking: None,
            done: false,
            done_reason: None,
            context: None,
            metrics: None,
            logprobs: logprobs.into_iter().map(Logprob::from).collect(),
        };
        let thinking = Some(thinking).filter(|thinking| !thinking.is_empty());
        match surface {
            Surface::Generate => {
                line.response = Some(text);
                line.thinking = thinking;
            }
            Surface::Chat => {
                line.message = Some(Message {
                    role: "assistant",
                    content: text,
                    thinking,
                    tool_calls: calls,
                });
            }
        }
        line
    }

    /// The last line, or a whole answer.
    pub(super) fn last(&self, surface: Surface, part: Part, done: &Done, context: Option<Vec<i32>>) -> Line<'_> {
        let reason = match done.finish {
            Finish::Length => "length",
            Finish::Stop | Finish::ToolCalls => "stop",
        };
        let metrics = Metrics {
            total_duration: self.total(),
            load_duration: self.load(),
            prompt_eval_count: done.usage.prompt,
            prompt_eval_duration: time::nanos_of_ms(done.timings.prompt_ms),
            eval_count: done.usage.completion,
            eval_duration: time::nanos_of_ms(done.timings.predicted_ms),
        };
        Line {
            done: true,
            done_reason: Some(reason),
            context,
            metrics: Some(metrics),
            ..self.line(surface, part)
        }
    }

    /// An answer without text: the model was loaded or unloaded.
    pub(super) fn ended(&self, surface: Surface, reason: &'static str) -> Line<'_> {
        let metrics = Metrics {
            total_duration: self.total(),
            load_duration: self.load(),
            ..Metrics::default()
        };
        Line {
            done: true,
            done_reason: Some(reason),
            metrics: Some(metrics),
            ..self.line(surface, Part::default())
        }
    }

    /// What `_debug_render_only` shows.
    pub(super) fn rendered<'a>(&'a self, text: &'a str) -> Rendered<'a> {
        Rendered {
            model: &self.model,
            created_at: time::now(),
            debug: Debug {
                rendered_template: text,
            },
        }
    }
}

/// A part of an answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Part {
    pub text: String,
    pub thinking: String,
    pub calls: Vec<Call>,
    pub logprobs: Vec<TokenLogprob>,
}

#[derive(Debug, Serialize)]
pub(super) struct Line<'a> {
    model: &'a str,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Message>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<String>,
    done: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    done_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<Vec<i32>>,
    #[serde(flatten)]
    metrics: Option<Metrics>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logprobs: Vec<Logprob>,
}

/// `content` is there even when it is empty: ollama-rs requires it.
#[derive(Debug, Serialize)]
struct Message {
    role: &'static str,
    content: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call>,
}

/// Durations are nanoseconds.
#[derive(Debug, Default, Serialize)]
struct Metrics {
    total_duration: u64,
    load_duration: u64,
    prompt_eval_count: u32,
    prompt_eval_duration: u64,
    eval_count: u32,
    eval_duration: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Rendered<'a> {
    model: &'a str,
    created_at: String,
    #[serde(rename = "_debug_info")]
    debug: Debug<'a>,
}

#[derive(Debug, Serialize)]
struct Debug<'a> {
    rendered_template: &'a str,
}

/// A tool call. Its arguments are an object here, where OpenAI has text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Call {
    id: String,
    function: Function,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Function {
    index: u32,
    name: String,
    arguments: Map<String, Value>,
}

/// A tool call that is being written.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub index: u32,
    pub id: String,
    pub name: String,
    pub arguments: String,
}

impl Draft {
    /// The finished call. Arguments that are no JSON object, as those of an answer that was cut off, cannot be told in this
    /// dialect; they come back as text, which is what Ollama makes of them.
    pub fn finish(self) -> Result<Call, String> {
        let arguments = match self.arguments.trim() {
            "" => Map::new(),
            text => serde_json::from_str(text).map_err(|_| self.arguments.clone())?,
        };
        let id = if self.id.is_empty() { new_id("call_") } else { self.id };
        let function = Function {
            index: self.index,
            name: self.name,
            arguments,
        };
        Ok(Call { id, function })
    }
}

#[derive(Debug, Serialize)]
struct Logprob {
    #[serde(flatten)]
    token: Likely,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    top_logprobs: Vec<Likely>,
}

#[derive(Debug, Serialize)]
struct Likely {
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
}

impl From<TokenLogprob> for Logprob {
    fn from(of: TokenLogprob) -> Self {
        let likely = |token, bytes, logprob: f32| Likely {
            token,
            // JSON has no infinity; this is what OpenAI writes for a token that cannot come.
            logprob: if logprob.is_finite() { logprob } else { -9999.0 },
            bytes,
        };
        let top = of.top.into_iter();
        Self {
            token: likely(of.token, of.bytes, of.logprob.unwrap_or(f32::NEG_INFINITY)),
            top_logprobs: top
                .map(|Alternative { token, bytes, logprob }| likely(token, bytes, logprob))
                .collect(),
        }
    }
}

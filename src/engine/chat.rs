//! Chat: messages to a prompt by the model's template, and the generated text back to a message.

mod request;
mod tokenize;

pub use request::{ChatRequest, ToolChoice};

use super::backend::parse;
use super::call;
use super::model::Model;
use super::sampler::Constraint;
use crate::error::Failure;
use crate::{Error, Result, sys};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::ptr::NonNull;
use std::sync::Arc;

/// The chat template of a model. Clones share it; it is read-only, so threads may too.
#[derive(Debug, Clone)]
pub struct ChatTemplate(Arc<RawTemplate>);

#[derive(Debug)]
struct RawTemplate(NonNull<sys::tq_chat>);

// SAFETY: the engine only reads a template once it is made; every use of it renders into objects of its own.
unsafe impl Send for RawTemplate {}
// SAFETY: as above.
unsafe impl Sync for RawTemplate {}

impl Drop for RawTemplate {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `tq_chat_new` and is freed only here.
        unsafe { sys::tq_chat_free(self.0.as_ptr()) }
    }
}

/// What a template is and can do.
#[derive(Debug, Clone, Deserialize)]
pub struct TemplateInfo {
    /// The Jinja text.
    pub source: String,
    /// Whether the model or the caller named it; otherwise it is ChatML, as a guess.
    pub explicit: bool,
    /// The engine's findings: `supports_tools`, `supports_parallel_tool_calls`, `supports_system_role`, ...
    pub caps: Map<String, Value>,
}

impl ChatTemplate {
    /// The template in the model file; ChatML if it has none.
    ///
    /// # Errors
    /// [`Error::Template`] if it does not parse.
    pub fn from_model(model: &Model) -> Result<Self> {
        Self::new(model, None)
    }

    /// A template given as Jinja text, with the model's BOS and EOS.
    ///
    /// # Errors
    /// [`Error::Template`] if it does not parse.
    pub fn with_override(model: &Model, jinja: &str) -> Result<Self> {
        Self::new(model, Some(jinja))
    }

    fn new(model: &Model, jinja: Option<&str>) -> Result<Self> {
        let jinja = jinja.map(|text| call::c_string("the template", text)).transpose()?;
        let source = jinja.as_ref().map_or(std::ptr::null(), |text| text.as_ptr());
        let mut raw = std::ptr::null_mut();
        // SAFETY: the model is live; the source is null or NUL-terminated and only read during the call; both slots
        // are valid. The template keeps no reference to the model.
        call::check(|error| unsafe { sys::tq_chat_new(model.raw(), source, &raw mut raw, error) })
            .map_err(template_error)?;
        let raw = NonNull::new(raw).ok_or_else(|| Error::Template("the engine returned nothing".into()))?;
        Ok(Self(Arc::new(RawTemplate(raw))))
    }

    /// What the template is and can do.
    ///
    /// # Errors
    /// The engine's, which has none in practice.
    pub fn info(&self) -> Result<TemplateInfo> {
        // SAFETY: the template is live; both slots are valid.
        let json = call::text(|out, error| unsafe { sys::tq_chat_describe(self.raw(), out, error) })?;
        parse("template description", &json)
    }

    /// Renders a request to the prompt, and prepares reading the answer.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a malformed request; [`Error::Template`] with the template's own words if it refuses the
    /// messages.
    pub fn apply(&self, request: &ChatRequest) -> Result<ChatPrompt> {
        request.check_size().map_err(Error::Invalid)?;
        let text = serde_json::to_string(request).map_err(|e| Error::Invalid(format!("chat request: {e}")))?;
        let text = call::c_string("the request", &text)?;
        let mut parser = std::ptr::null_mut();
        // SAFETY: the template is live and only read; the text is NUL-terminated; all slots are valid.
        let json = call::text(|out, error| unsafe {
            sys::tq_chat_apply(self.raw(), text.as_ptr(), &raw mut parser, out, error)
        })
        .map_err(template_error)?;
        let parser = ChatParser::own(parser)?;
        let applied: Applied = parse("rendered prompt", &json)?;
        Ok(ChatPrompt {
            applied,
            prototype: Arc::new(Prototype(parser)),
        })
    }

    fn raw(&self) -> *mut sys::tq_chat {
        self.0.0.as_ptr()
    }
}

fn template_error(failure: Failure) -> Error {
    match failure.status {
        sys::TQ_ENGINE => Error::Template(failure.text),
        _ => failure.into(),
    }
}

#[derive(Debug, Clone, Deserialize)]
struct Applied {
    prompt: String,
    parts: Vec<Part>,
    stops: Vec<String>,
    supports_thinking: bool,
    sampling: Map<String, Value>,
}

#[derive(Debug, Clone, Deserialize)]
struct Part {
    text: String,
    input: bool,
}

/// A rendered request: what to feed the model, and how to read its answer. Clones share the parser's tables.
#[derive(Debug, Clone)]
pub struct ChatPrompt {
    applied: Applied,
    prototype: Arc<Prototype>,
}

#[derive(Debug)]
struct Prototype(ChatParser);

// SAFETY: the parser in here is never pushed to; forking only copies a reference-counted pointer out of it, whose count
// is atomic.
unsafe impl Sync for Prototype {}

impl ChatPrompt {
    /// The prompt as text.
    pub fn text(&self) -> &str {
        &self.applied.prompt
    }

    /// Texts that end the answer besides end tokens.
    pub fn stops(&self) -> &[String] {
        &self.applied.stops
    }

    /// Whether the template lets the model think before it answers.
    pub fn supports_thinking(&self) -> bool {
        self.applied.supports_thinking
    }

    /// What the answer must look like (tool calls, a schema) and which control tokens are part of it: give it to the
    /// sampler.
    pub fn constraint(&self) -> Constraint {
        Constraint(self.applied.sampling.clone())
    }

    /// A parser for one answer to this prompt.
    ///
    /// # Errors
    /// The engine's, which has none in practice.
    pub fn parser(&self) -> Result<ChatParser> {
        let mut raw = std::ptr::null_mut();
        // SAFETY: the prototype is live and only read; both slots are valid.
        call::check(|error| unsafe { sys::tq_chat_parser_fork(self.prototype.0.raw.as_ptr(), &raw mut raw, error) })?;
        ChatParser::own(raw)
    }
}

/// Reads an answer while it is generated. The deltas of all calls add up to [`message`](Self::message).
#[derive(Debug)]
pub struct ChatParser {
    raw: NonNull<sys::tq_chat_parser>,
}

// SAFETY: a parser has no thread-local state, so it may move; it is not `Sync`, and `push` takes `&mut self`.
unsafe impl Send for ChatParser {}

impl Drop for ChatParser {
    fn drop(&mut self) {
        // SAFETY: the pointer came from the shim and is freed only here.
        unsafe { sys::tq_chat_parser_free(self.raw.as_ptr()) }
    }
}

/// A piece of a message; usually one of the three.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatDelta {
    /// Text to append to the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Text to append to the reasoning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// A new tool call, or more of the arguments of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call: Option<ToolCallDelta>,
}

/// A piece of a tool call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCallDelta {
    /// Which call of the message, from 0.
    pub index: usize,
    /// Its id; only in the call's first delta.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The function's name; only in the call's first delta.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Text to append to the arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
}

/// A message of the assistant. Its JSON is OpenAI-shaped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// `assistant`.
    pub role: String,
    /// The text; `None` if there are only tool calls.
    pub content: Option<String>,
    /// What the model thought first.
    #[serde(default, rename = "reasoning_content", skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// Calls the model makes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// The complete answer does not have the expected format (what was not recognised is in `content`), or a call in it is
    /// cut short (its arguments are no JSON).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unparsed: bool,
    /// The answer as generated, if it is `unparsed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
}

/// A tool call of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Unique id, quoted by the tool's answer.
    pub id: String,
    /// `function`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What is called.
    pub function: FunctionCall,
}

/// A function and its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionCall {
    /// The function's name.
    pub name: String,
    /// The arguments as JSON text.
    pub arguments: String,
}

impl ChatParser {
    fn own(raw: *mut sys::tq_chat_parser) -> Result<Self> {
        let raw = NonNull::new(raw).ok_or_else(|| Error::Template("the engine returned no parser".into()))?;
        Ok(Self { raw })
    }

    /// Appends generated text; returns what became known by it, which may be nothing.
    ///
    /// # Errors
    /// [`Error::Invalid`] after [`finish`](Self::finish).
    pub fn push(&mut self, text: &str) -> Result<Vec<ChatDelta>> {
        self.feed(text, false)
    }

    /// Appends the last text (perhaps none) and reads the answer as complete. Text that does not fit the format is not
    /// lost: it becomes content, and the message is marked `unparsed`.
    ///
    /// # Errors
    /// [`Error::Invalid`] after another `finish`.
    pub fn finish(&mut self, text: &str) -> Result<Vec<ChatDelta>> {
        self.feed(text, true)
    }

    fn feed(&mut self, text: &str, last: bool) -> Result<Vec<ChatDelta>> {
        // SAFETY: the parser is live and borrowed mutably; the text is valid for its length; both slots are valid.
        let json = call::text(|out, error| unsafe {
            sys::tq_chat_parser_push(self.raw.as_ptr(), text.as_ptr().cast(), text.len(), last, out, error)
        })?;
        parse("chat deltas", &json)
    }

    /// The message so far.
    ///
    /// # Errors
    /// The engine's, which has none in practice.
    pub fn message(&self) -> Result<ChatMessage> {
        // SAFETY: the parser is live; both slots are valid.
        let json = call::text(|out, error| unsafe { sys::tq_chat_parser_message(self.raw.as_ptr(), out, error) })?;
        parse("chat message", &json)
    }
}

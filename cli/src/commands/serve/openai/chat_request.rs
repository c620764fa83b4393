//! `/v1/chat/completions`: the request.

use serde_json::{Map, Value};

use super::generation::{self, Delivery, MAX_LOGPROBS};
use super::messages::messages;
use super::tools::tools;
use crate::commands::serve::backend::{ChatJob, ChatPrompt, Constraint, ModelCard};
use crate::commands::serve::body::Fields;
use crate::commands::serve::choices::Job;
use crate::commands::serve::error::ApiError;

/// A valid chat request.
#[derive(Clone, Debug)]
pub struct ChatRequest {
    /// The model that answers.
    pub model: String,
    /// Answers to give.
    pub choices: usize,
    /// How to answer.
    pub delivery: Delivery,
    /// Whether the caller named the tool to call.
    pub named_tool: bool,
}

impl ChatRequest {
    /// Checks a body; returns the job of each choice with it.
    pub fn parse(body: &Map<String, Value>, card: &ModelCard) -> Result<(Self, Vec<Job>), ApiError> {
        let fields = Fields(body);
        let n = generation::n(fields, card)?;
        let mut generation = generation::generation(fields, card)?;
        generation.logprobs = logprobs(fields)?;

        let (prompt, named_tool) = prompt(fields, card)?;
        if prompt.tools.is_some() && matches!(generation.constraint, Constraint::Grammar(_)) {
            return Err(ApiError::param(
                "grammar",
                "cannot be combined with 'tools', which bring a grammar of their own",
            ));
        }
        let job = |index| {
            let generation = generation::nth(&generation, index);
            Job::Chat(Box::new(ChatJob {
                prompt: prompt.clone(),
                generation,
            }))
        };
        let jobs = (0..n).map(job).collect();
        let delivery = generation::delivery(fields)?;
        Ok((
            Self {
                model: card.id.clone(),
                choices: n,
                delivery,
                named_tool,
            },
            jobs,
        ))
    }
}

fn prompt(fields: Fields<'_>, card: &ModelCard) -> Result<(ChatPrompt, bool), ApiError> {
    let tools = tools(fields)?;
    let (thinking, reasoning_effort) = reasoning(fields)?;
    let messages = messages(fields, card)?;
    let prompt = ChatPrompt {
        continue_last: continue_last(fields, &messages)?,
        messages,
        tools: tools.tools,
        tool_choice: tools.choice,
        parallel_tool_calls: fields.bool("parallel_tool_calls")?,
        thinking,
        reasoning_effort,
        template_kwargs: fields
            .object("chat_template_kwargs")?
            .map(|kwargs| Value::Object(kwargs.0.clone())),
        reasoning_format: reasoning_format(fields)?,
    };
    Ok((prompt, tools.named))
}

/// A conversation that ends with the assistant's text is to be gone on with, as llama-server has it,
/// unless the caller says otherwise.
fn continue_last(fields: Fields<'_>, messages: &Value) -> Result<bool, ApiError> {
    let possible = messages.as_array().is_some_and(|messages| ends_open(messages));
    match fields.bool("continue_final_message")? {
        Some(true) if !possible => Err(ApiError::param(
            "continue_final_message",
            "needs a last message of the assistant's, with content and without tool calls",
        )),
        given => Ok(given.unwrap_or(possible)),
    }
}

/// Whether the last message is a text of the assistant's, which could go on.
pub fn ends_open(messages: &[Value]) -> bool {
    messages.last().is_some_and(|last| {
        let empty = last["content"].is_null() || last["content"] == "";
        last["role"] == "assistant" && !empty && last.get("tool_calls").is_none()
    })
}

/// What becomes of reasoning, in llama-server's words.
fn reasoning_format(fields: Fields<'_>) -> Result<Option<String>, ApiError> {
    match fields.str("reasoning_format")? {
        Some(format) if !["none", "auto", "deepseek", "deepseek-legacy"].contains(&format) => Err(ApiError::param(
            "reasoning_format",
            "must be none, auto, deepseek or deepseek-legacy",
        )),
        format => Ok(format.map(str::to_owned)),
    }
}

/// Reads `reasoning_effort`, and `think` as Ollama's clients send it: a truth value or an effort.
fn reasoning(fields: Fields<'_>) -> Result<(Option<bool>, Option<String>), ApiError> {
    let (mut thinking, mut effort) = match fields.get("think") {
        None => (None, None),
        Some(Value::Bool(thinking)) => (Some(*thinking), None),
        Some(Value::String(effort)) => (Some(true), Some(effort.as_str())),
        Some(_) => return Err(ApiError::param("think", "must be true, false or an effort")),
    };
    if let Some(word) = fields.str("reasoning_effort")? {
        effort = Some(word);
    }
    if effort == Some("none") {
        (thinking, effort) = (Some(false), None);
    }
    Ok((thinking, effort.map(str::to_owned)))
}

fn logprobs(fields: Fields<'_>) -> Result<Option<u32>, ApiError> {
    let top: Option<u32> = fields.int("top_logprobs", 0..=MAX_LOGPROBS)?;
    match (fields.bool("logprobs")?.unwrap_or(false), top) {
        (true, top) => Ok(Some(top.unwrap_or(0))),
        (false, None | Some(0)) => Ok(None),
        (false, Some(_)) => Err(ApiError::param("top_logprobs", "requires 'logprobs' to be true")),
    }
}

//! The request.

use serde_json::{Map, Value};

use super::messages::messages;
use super::tools::tools;
use crate::commands::serve::backend::{ChatJob, ChatPrompt, Constraint, ModelCard};
use crate::commands::serve::body::Fields;
use crate::commands::serve::choices::Job;
use crate::commands::serve::error::ApiError;
use crate::commands::serve::openai::chat_request::ends_open;
use crate::commands::serve::openai::generation;

/// A valid request.
#[derive(Clone, Debug)]
pub struct MessagesRequest {
    /// The model that answers.
    pub model: String,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Tokens to generate at most.
    pub max_tokens: u32,
    /// Texts that end the answer.
    pub stop_sequences: Vec<String>,
}

impl MessagesRequest {
    /// Checks a body; returns its job with it.
    pub fn parse(body: &Map<String, Value>, card: &ModelCard) -> Result<(Self, Job), ApiError> {
        let fields = Fields(body);
        let mut generation = generation::generation(fields, card)?;
        let max_tokens = fields
            .int("max_tokens", 0..=i64::from(u32::MAX))?
            .ok_or_else(|| ApiError::param("max_tokens", "is required"))?;
        generation.max_tokens = Some(max_tokens);
        generation.stop = generation::stop(fields, "stop_sequences")?;
        if let Some(schema) = format(fields)? {
            generation.constraint = Constraint::JsonSchema(schema);
        }
        generation.sampling.reasoning_budget = match thinking(fields)? {
            Some(Thinking::Budget(tokens)) => Some(tokens),
            _ => generation.sampling.reasoning_budget,
        };
        let request = Self {
            model: card.id.clone(),
            stream: fields.bool("stream")?.unwrap_or(false),
            max_tokens,
            stop_sequences: generation.stop.clone(),
        };
        let prompt = prompt(fields, card)?;
        Ok((request, Job::Chat(Box::new(ChatJob { prompt, generation }))))
    }
}

/// The part of a request that goes into the template, which is also what counting its tokens takes.
pub fn prompt(fields: Fields<'_>, card: &ModelCard) -> Result<ChatPrompt, ApiError> {
    if fields.array("mcp_servers")?.is_some_and(|servers| !servers.is_empty()) {
        return Err(ApiError::param(
            "mcp_servers",
            "is not supported: this server calls no others; offer their tools as 'tools'",
        ));
    }
    let tools = tools(fields)?;
    let effort = match fields.object("output_config")? {
        Some(config) => config.str("effort")?,
        None => None,
    };
    let messages = messages(fields, card)?;
    Ok(ChatPrompt {
        // A last message of the assistant's is the beginning of the answer.
        continue_last: messages.as_array().is_some_and(|messages| ends_open(messages)),
        messages,
        tools: tools.offered,
        tool_choice: tools.choice,
        parallel_tool_calls: tools.parallel,
        // Who does not ask for thinking does not expect blocks of it.
        thinking: Some(matches!(
            thinking(fields)?,
            Some(Thinking::Budget(_) | Thinking::Adaptive)
        )),
        reasoning_effort: effort.map(str::to_owned),
        template_kwargs: fields
            .object("chat_template_kwargs")?
            .map(|kwargs| Value::Object(kwargs.0.clone())),
        reasoning_format: None,
    })
}

enum Thinking {
    Disabled,
    Adaptive,
    Budget(i32),
}

fn thinking(fields: Fields<'_>) -> Result<Option<Thinking>, ApiError> {
    let Some(thinking) = fields.object("thinking")? else {
        return Ok(None);
    };
    let wrong = |message| Err(ApiError::param("thinking", message));
    match thinking.str("type").ok().flatten() {
        Some("disabled") => Ok(Some(Thinking::Disabled)),
        Some("adaptive") => Ok(Some(Thinking::Adaptive)),
        Some("enabled") => match thinking.int("budget_tokens", 0..=i64::from(i32::MAX)) {
            Ok(Some(tokens)) => Ok(Some(Thinking::Budget(tokens))),
            _ => wrong("of the type enabled must have an integer of at least 0 as 'budget_tokens'"),
        },
        _ => wrong("must have the type enabled, adaptive or disabled"),
    }
}

/// `output_config.format`.
fn format(fields: Fields<'_>) -> Result<Option<Value>, ApiError> {
    let Some(config) = fields.object("output_config")? else {
        return Ok(None);
    };
    match config.get("format") {
        None => Ok(None),
        Some(format) if format["type"] == "json_schema" && format["schema"].is_object() => {
            Ok(Some(format["schema"].clone()))
        }
        Some(_) => Err(ApiError::param(
            "output_config.format",
            "must have the type json_schema and an object as 'schema'",
        )),
    }
}

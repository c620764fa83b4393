//! The request.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::input::messages;
use super::tools::{Tools, tools};
use crate::commands::serve::backend::{ChatJob, ChatPrompt, Constraint, ModelCard};
use crate::commands::serve::body::Fields;
use crate::commands::serve::choices::Job;
use crate::commands::serve::error::ApiError;
use crate::commands::serve::openai::generation::{self, MAX_LOGPROBS};

/// A valid request.
#[derive(Clone, Debug)]
pub struct ResponsesRequest {
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// What the answer repeats.
    pub echo: Echo,
}

/// The settings in force, which every answer repeats.
#[derive(Clone, Debug, Serialize)]
pub struct Echo {
    model: String,
    instructions: Option<String>,
    max_output_tokens: Option<u32>,
    metadata: Value,
    parallel_tool_calls: bool,
    previous_response_id: Option<String>,
    reasoning: Reasoning,
    store: bool,
    background: bool,
    temperature: Option<f32>,
    text: Text,
    tool_choice: Value,
    tools: Vec<Value>,
    top_logprobs: u32,
    top_p: Option<f32>,
    truncation: &'static str,
}

#[derive(Clone, Debug, Serialize)]
struct Reasoning {
    effort: Option<String>,
    summary: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct Text {
    format: Value,
}

impl ResponsesRequest {
    /// Checks a body; returns its job with it.
    pub fn parse(body: &Map<String, Value>, card: &ModelCard) -> Result<(Self, Job), ApiError> {
        let fields = Fields(body);
        refuse_state(fields)?;
        let mut generation = generation::generation(fields, card)?;
        generation.max_tokens = fields.int("max_output_tokens", 1..=i64::from(u32::MAX))?;
        generation.logprobs = logprobs(fields)?;
        let (format, constraint) = format(fields)?;
        generation.constraint = constraint;

        let (prompt, tools) = prompt(fields, card)?;
        let echo = Echo {
            model: card.id.clone(),
            instructions: fields.str("instructions")?.map(str::to_owned),
            max_output_tokens: generation.max_tokens,
            metadata: fields
                .object("metadata")?
                .map_or_else(|| json!({}), |metadata| Value::Object(metadata.0.clone())),
            parallel_tool_calls: prompt.parallel_tool_calls.unwrap_or(true),
            previous_response_id: None,
            reasoning: Reasoning {
                effort: effort(fields)?.map(str::to_owned),
                summary: None,
            },
            store: false,
            background: false,
            temperature: generation.sampling.temperature,
            text: Text { format },
            tool_choice: tools.chosen,
            tools: tools.listed,
            top_logprobs: generation.logprobs.unwrap_or(0),
            top_p: generation.sampling.top_p,
            truncation: truncation(fields)?,
        };
        let stream = fields.bool("stream")?.unwrap_or(false);
        Ok((
            Self { stream, echo },
            Job::Chat(Box::new(ChatJob { prompt, generation })),
        ))
    }
}

/// The part of a request that goes into the template, which is also what counting its tokens takes.
pub fn prompt(fields: Fields<'_>, card: &ModelCard) -> Result<(ChatPrompt, Tools), ApiError> {
    let tools = tools(fields)?;
    let (thinking, reasoning_effort) = match effort(fields)? {
        Some("none") => (Some(false), None),
        effort => (None, effort.map(str::to_owned)),
    };
    let prompt = ChatPrompt {
        messages: messages(fields, card)?,
        tools: tools.offered.clone(),
        tool_choice: tools.choice.clone(),
        parallel_tool_calls: fields.bool("parallel_tool_calls")?,
        thinking,
        reasoning_effort,
        template_kwargs: fields
            .object("chat_template_kwargs")?
            .map(|kwargs| Value::Object(kwargs.0.clone())),
        ..ChatPrompt::default()
    };
    Ok((prompt, tools))
}

/// Nothing is stored, so what refers to something stored, or is to be fetched later, cannot work.
/// `store` itself may be true, which is its default: the answer says false.
fn refuse_state(fields: Fields<'_>) -> Result<(), ApiError> {
    for (name, remedy) in [
        ("previous_response_id", "send the whole conversation as 'input'"),
        ("conversation", "send the whole conversation as 'input'"),
        ("prompt", "send its text as 'instructions'"),
    ] {
        if fields.get(name).is_some() {
            return Err(ApiError::param(
                name,
                format_args!("cannot be used, because this server stores nothing; {remedy}"),
            ));
        }
    }
    if fields.bool("background")? == Some(true) {
        return Err(ApiError::param(
            "background",
            "cannot be true, because this server stores nothing; stream the answer instead",
        ));
    }
    fields.bool("store").map(drop)
}

/// The answer says `disabled` in either case: a conversation that does not fit is an error, since
/// only its owner knows what can be left out.
fn truncation(fields: Fields<'_>) -> Result<&'static str, ApiError> {
    match fields.str("truncation")? {
        None | Some("auto" | "disabled") => Ok("disabled"),
        Some(_) => Err(ApiError::param("truncation", "must be auto or disabled")),
    }
}

fn effort(fields: Fields<'_>) -> Result<Option<&str>, ApiError> {
    match fields.object("reasoning")? {
        Some(reasoning) => reasoning
            .str("effort")
            .map_err(|_| ApiError::param("reasoning.effort", "must be a string")),
        None => Ok(None),
    }
}

/// `include` asks for log probabilities, `top_logprobs` for alternatives as well.
fn logprobs(fields: Fields<'_>) -> Result<Option<u32>, ApiError> {
    let top: Option<u32> = fields.int("top_logprobs", 0..=MAX_LOGPROBS)?;
    let included = fields
        .array("include")?
        .is_some_and(|include| include.iter().any(|name| name == "message.output_text.logprobs"));
    Ok(match top {
        Some(top) if included || top > 0 => Some(top),
        _ => included.then_some(0),
    })
}

/// `text.format`, as the answer repeats it and as the engine takes it.
fn format(fields: Fields<'_>) -> Result<(Value, Constraint), ApiError> {
    let wrong = |message: &str| Err(ApiError::param("text.format", message));
    let format = match fields.object("text")? {
        Some(text) => text.get("format"),
        None => None,
    };
    let Some(format) = format else {
        return Ok((json!({ "type": "text" }), Constraint::Free));
    };
    let constraint = match format["type"].as_str() {
        Some("text") => Constraint::Free,
        Some("json_object") => Constraint::JsonObject,
        Some("json_schema") if format["schema"].is_object() => Constraint::JsonSchema(format["schema"].clone()),
        Some("json_schema") => return wrong("of type json_schema must have an object as 'schema'"),
        _ => return wrong("must have the type text, json_object or json_schema"),
    };
    Ok((format.clone(), constraint))
}

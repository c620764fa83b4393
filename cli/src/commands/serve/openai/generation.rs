//! Fields that chats and completions share.

use serde_json::Value;

use super::lora::lora;
use super::sampling::{sampling, seed_for};
use crate::commands::serve::backend::{Constraint, Generation, ModelCard, Wanted, kv_cache_type};
use crate::commands::serve::body::Fields;
use crate::commands::serve::error::ApiError;
use crate::commands::serve::keep_alive;

/// Stop strings one request may have; OpenAI allows 4.
const MAX_STOP: usize = 64;

/// Most alternatives per token that can be asked for, as with OpenAI.
pub const MAX_LOGPROBS: i64 = 20;

/// Reads which model is meant, how it is to be loaded, and how long it is to stay so.
///
/// `keep_alive`, `options.num_ctx` and `options.kv_cache_type` are Ollama's and ours; OpenAI's clients send none of them. Other
/// `options` are left alone here.
pub fn wanted(fields: Fields<'_>) -> Result<Wanted, ApiError> {
    let options = fields.get("options").and_then(Value::as_object).map(Fields);
    let (n_ctx, kv) = match options {
        Some(options) => (
            options.int("num_ctx", 1..=i64::from(i32::MAX))?,
            options.str("kv_cache_type")?,
        ),
        None => (None, None),
    };
    let kv = kv.map(kv_cache_type).transpose();
    let keep_alive = fields.get("keep_alive").map(keep_alive::from_json).transpose();
    Ok(Wanted {
        n_ctx,
        kv: kv.map_err(|error| ApiError::param("kv_cache_type", format_args!("is wrong: {error}")))?,
        keep_alive: keep_alive.map_err(|error| ApiError::param("keep_alive", format_args!("is wrong: {error}")))?,
        ..Wanted::named(fields.str("model")?)
    })
}

/// How the answer is to be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// As a stream of events.
    pub stream: bool,
    /// With the token counts at the end of the stream.
    pub include_usage: bool,
}

/// Reads `stream` and `stream_options`.
pub fn delivery(fields: Fields<'_>) -> Result<Delivery, ApiError> {
    let include_usage = match fields.object("stream_options")? {
        Some(options) => options.bool("include_usage")?.unwrap_or(false),
        None => false,
    };
    Ok(Delivery {
        stream: fields.bool("stream")?.unwrap_or(false),
        include_usage,
    })
}

/// Reads everything but the log probabilities, which each endpoint spells differently.
pub fn generation(fields: Fields<'_>, card: &ModelCard) -> Result<Generation, ApiError> {
    Ok(Generation {
        model: card.id.clone(),
        n_ctx: Some(card.n_ctx),
        sampling: sampling(fields, card)?,
        max_tokens: max_tokens(fields)?,
        stop: stop(fields, "stop")?,
        logprobs: None,
        constraint: constraint(fields)?,
        cache_prompt: fields.bool("cache_prompt")?.unwrap_or(true),
        lora: lora(fields, card)?,
        return_progress: fields.bool("return_progress")?.unwrap_or(false),
        ignore_eos: fields.bool("ignore_eos")?.unwrap_or(false),
    })
}

/// Reads `n`, the number of answers per prompt.
pub fn n(fields: Fields<'_>, card: &ModelCard) -> Result<usize, ApiError> {
    let n: usize = fields.int("n", 1..=i64::from(i32::MAX))?.unwrap_or(1);
    let slots = card.slots.max(1) as usize;
    if n > slots {
        let message = format!("is {n}, but this server has {slots} slots; start it with more, or ask for fewer");
        return Err(ApiError::param("n", message));
    }
    Ok(n)
}

/// The settings of the answer at `index` to one prompt.
pub fn nth(generation: &Generation, index: usize) -> Generation {
    let mut generation = generation.clone();
    generation.sampling.seed = seed_for(generation.sampling.seed, index);
    generation
}

/// The newest name wins when several are sent. -1 is no limit, as LM Studio and llama-server have
/// it.
fn max_tokens(fields: Fields<'_>) -> Result<Option<u32>, ApiError> {
    let mut limit = None;
    for name in ["max_completion_tokens", "max_tokens", "n_predict"] {
        let value: Option<i64> = fields.int(name, -1..=i64::from(u32::MAX))?;
        limit = limit.or(value);
    }
    Ok(limit.and_then(|limit| u32::try_from(limit).ok()))
}

/// Reads the stop strings, which each dialect has under a `name` of its own.
pub fn stop(fields: Fields<'_>, name: &str) -> Result<Vec<String>, ApiError> {
    let wrong = || ApiError::param(name, "must be a string or an array of strings");
    let stop = match fields.get(name) {
        None => Vec::new(),
        Some(Value::String(stop)) => vec![stop.clone()],
        Some(Value::Array(stops)) => stops
            .iter()
            .map(|stop| stop.as_str().map(str::to_owned).ok_or_else(wrong))
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(wrong()),
    };
    if stop.len() > MAX_STOP {
        return Err(ApiError::param(
            name,
            format_args!("may have at most {MAX_STOP} entries"),
        ));
    }
    // An empty string would stop at once. Forms with an empty field send it, and mean nothing by
    // it.
    Ok(stop.into_iter().filter(|stop| !stop.is_empty()).collect())
}

/// Reads `response_format`, and llama-server's `json_schema` and `grammar`.
fn constraint(fields: Fields<'_>) -> Result<Constraint, ApiError> {
    let format = response_format(fields)?;
    let schema = fields
        .object("json_schema")?
        .map(|schema| Constraint::JsonSchema(Value::Object(schema.0.clone())));
    let grammar = fields.str("grammar")?.filter(|grammar| !grammar.is_empty());
    let grammar = grammar.map(|grammar| Constraint::Grammar(grammar.to_owned()));

    let mut given = [format, schema, grammar].into_iter().flatten();
    let first = given.next().unwrap_or_default();
    match given.next() {
        Some(_) => Err(ApiError::invalid(
            "only one of 'response_format', 'json_schema' and 'grammar' may be given",
        )),
        None => Ok(first),
    }
}

fn response_format(fields: Fields<'_>) -> Result<Option<Constraint>, ApiError> {
    let Some(format) = fields.object("response_format")? else {
        return Ok(None);
    };
    let wrong = |message: &str| ApiError::param("response_format", message);
    let schema = |fields: Fields<'_>| match fields.object("schema") {
        Ok(schema) => Ok(schema.map(|schema| Constraint::JsonSchema(Value::Object(schema.0.clone())))),
        Err(_) => Err(wrong("must have an object as 'schema'")),
    };
    match format.str("type").ok().flatten() {
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(schema(format)?.unwrap_or(Constraint::JsonObject))),
        Some("json_schema") => {
            // OpenAI nests the schema; some clients leave the wrapping out.
            let nested = format
                .object("json_schema")
                .map_err(|_| wrong("must have an object as 'json_schema'"))?;
            let found = schema(nested.unwrap_or(format))?;
            found
                .map(Some)
                .ok_or_else(|| wrong("of type json_schema must have a 'schema'"))
        }
        _ => Err(wrong("must have the type text, json_object or json_schema")),
    }
}

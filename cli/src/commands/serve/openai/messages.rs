//! Messages: checked, and brought to one form.

use serde_json::{Map, Value, json};

use crate::commands::serve::backend::{ModelCard, NO_IMAGES};
use crate::commands::serve::body::Fields;
use crate::commands::serve::error::ApiError;

/// Reads `messages`. The result has the form that
/// [`ChatPrompt`](crate::commands::serve::backend::ChatPrompt) promises.
pub fn messages(fields: Fields<'_>, card: &ModelCard) -> Result<Value, ApiError> {
    let messages = fields
        .array("messages")?
        .ok_or_else(|| ApiError::param("messages", "is required"))?;
    if messages.is_empty() {
        return Err(ApiError::param("messages", "must have at least one message"));
    }
    let normal = messages
        .iter()
        .enumerate()
        .map(|(at, value)| message(&format!("messages[{at}]"), value, card));
    normal.collect::<Result<Vec<_>, _>>().map(Value::Array)
}

fn message(path: &str, value: &Value, card: &ModelCard) -> Result<Value, ApiError> {
    let mut message = value
        .as_object()
        .ok_or_else(|| ApiError::param(path, "must be an object"))?
        .clone();

    let role = match message.get("role").and_then(Value::as_str) {
        Some("developer") => "system".to_owned(),
        Some(role) if !role.is_empty() => role.to_owned(),
        _ => {
            return Err(ApiError::param(format!("{path}.role"), "must be a non-empty string"));
        }
    };
    message.insert("role".into(), json!(role));

    let calls = match message.get("tool_calls") {
        None | Some(Value::Null) => None,
        Some(calls) => Some(tool_calls(path, calls)?).filter(|calls| !calls.is_empty()),
    };
    // An empty list of calls is what some clients send for none, and some templates take it for
    // some.
    message.shift_remove("tool_calls");

    let optional = calls.is_some() || role == "assistant" || role == "tool";
    let content = content(&format!("{path}.content"), message.get("content"), optional, card)?;
    message.insert(
        "content".into(),
        if content.is_null() && calls.is_none() {
            json!("")
        } else {
            content
        },
    );
    if let Some(calls) = calls {
        message.insert("tool_calls".into(), Value::Array(calls));
    }

    if let Some(reasoning) = message.shift_remove("reasoning")
        && reasoning.is_string()
        && !message.contains_key("reasoning_content")
    {
        message.insert("reasoning_content".into(), reasoning);
    }
    Ok(Value::Object(message))
}

fn content(path: &str, value: Option<&Value>, optional: bool, card: &ModelCard) -> Result<Value, ApiError> {
    match value {
        Some(Value::String(text)) => Ok(json!(text)),
        Some(Value::Array(parts)) => {
            let parts = parts
                .iter()
                .enumerate()
                .map(|(at, value)| part(&format!("{path}[{at}]"), value, card));
            parts.collect::<Result<Vec<_>, _>>().map(Value::Array)
        }
        None | Some(Value::Null) if optional => Ok(Value::Null),
        None | Some(Value::Null) => Err(ApiError::param(path, "is required")),
        Some(_) => Err(ApiError::param(path, "must be a string or an array of parts")),
    }
}

fn part(path: &str, value: &Value, card: &ModelCard) -> Result<Value, ApiError> {
    let wrong = |message: &str| ApiError::param(path, message);
    let text = |name: &str| {
        let text = value.get(name).and_then(Value::as_str);
        text.ok_or_else(|| wrong(&format!("must have a string as '{name}'")))
    };
    match value.get("type").and_then(Value::as_str) {
        Some("text") => Ok(json!({ "type": "text", "text": text("text")? })),
        // What the assistant said in place of an answer is still what it said.
        Some("refusal") => Ok(json!({ "type": "text", "text": text("refusal")? })),
        Some("image_url") if !card.abilities.vision => Err(wrong(NO_IMAGES)),
        Some("input_audio") if !card.abilities.audio => Err(wrong("is audio, which this model does not take")),
        Some("image_url" | "input_audio") => Ok(value.clone()),
        _ => Err(wrong("must have the type text, image_url or input_audio")),
    }
}

fn tool_calls(path: &str, value: &Value) -> Result<Vec<Value>, ApiError> {
    let path = format!("{path}.tool_calls");
    let calls = value
        .as_array()
        .ok_or_else(|| ApiError::param(&path, "must be an array"))?;
    calls
        .iter()
        .enumerate()
        .map(|(at, call)| tool_call(&format!("{path}[{at}]"), call))
        .collect()
}

fn tool_call(path: &str, value: &Value) -> Result<Value, ApiError> {
    let function = value.get("function").and_then(Value::as_object);
    let function = function.ok_or_else(|| ApiError::param(path, "must have an object as 'function'"))?;
    let name = function.get("name").and_then(Value::as_str);
    let name = name.ok_or_else(|| ApiError::param(format!("{path}.function.name"), "must be a string"))?;
    let arguments = match function.get("arguments") {
        None | Some(Value::Null) => "{}".to_owned(),
        Some(Value::String(text)) => text.clone(),
        // Clients of Ollama keep arguments as objects.
        Some(object @ Value::Object(_)) => object.to_string(),
        Some(_) => {
            return Err(ApiError::param(
                format!("{path}.function.arguments"),
                "must be a string or an object",
            ));
        }
    };
    let mut call = Map::new();
    if let Some(id) = value.get("id").filter(|id| id.is_string()) {
        call.insert("id".into(), id.clone());
    }
    call.insert("type".into(), json!("function"));
    call.insert("function".into(), json!({ "name": name, "arguments": arguments }));
    Ok(Value::Object(call))
}

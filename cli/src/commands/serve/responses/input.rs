//! The conversation: items, brought to the messages of a chat.

use serde_json::{Value, json};

use crate::commands::serve::backend::{ModelCard, NO_IMAGES};
use crate::commands::serve::body::Fields;
use crate::commands::serve::error::ApiError;

/// Reads `instructions` and `input`. The result has the form that
/// [`ChatPrompt`](crate::commands::serve::backend::ChatPrompt) promises.
pub fn messages(fields: Fields<'_>, card: &ModelCard) -> Result<Value, ApiError> {
    let mut chat = Chat {
        card,
        messages: Vec::new(),
    };
    if let Some(instructions) = fields.str("instructions")? {
        chat.system(instructions);
    }
    match fields.get("input") {
        None => return Err(ApiError::param("input", "is required")),
        Some(Value::String(text)) => chat.messages.push(json!({ "role": "user", "content": text })),
        Some(Value::Array(items)) if items.is_empty() => {
            return Err(ApiError::param("input", "must have at least one item"));
        }
        Some(Value::Array(items)) => {
            for (at, item) in items.iter().enumerate() {
                chat.item(&format!("input[{at}]"), item)?;
            }
        }
        Some(_) => return Err(ApiError::param("input", "must be a string or an array of items")),
    }
    Ok(Value::Array(chat.messages))
}

struct Chat<'a> {
    card: &'a ModelCard,
    messages: Vec<Value>,
}

impl Chat<'_> {
    fn item(&mut self, path: &str, item: &Value) -> Result<(), ApiError> {
        match item["type"].as_str() {
            // Messages may leave the type out.
            None | Some("message") => self.message(path, item),
            Some("reasoning") => self.reasoning(path, item),
            Some("function_call") => self.call(path, item),
            Some("function_call_output") => self.output(path, item),
            Some("item_reference") => Err(ApiError::param(
                path,
                "refers to a stored item, but this server stores nothing; send the item itself",
            )),
            Some(kind) => Err(ApiError::param(
                path,
                format_args!(
                    "has the type {kind}, which is not supported; message, reasoning, function_call and \
                     function_call_output are"
                ),
            )),
        }
    }

    fn message(&mut self, path: &str, item: &Value) -> Result<(), ApiError> {
        let content = self.content(&format!("{path}.content"), &item["content"])?;
        match item["role"].as_str() {
            Some("system" | "developer") => self.system(&plain(&content)),
            Some("user") => self.messages.push(json!({ "role": "user", "content": content })),
            Some("assistant") => match self.thought() {
                Some(message) => message["content"] = content,
                None => self.messages.push(json!({ "role": "assistant", "content": content })),
            },
            _ => {
                return Err(ApiError::param(
                    format!("{path}.role"),
                    "must be user, assistant, system or developer",
                ));
            }
        }
        Ok(())
    }

    /// Instructions and the first developer messages are one system message: most templates allow
    /// one, at the beginning.
    fn system(&mut self, text: &str) {
        match self.messages.as_mut_slice() {
            [first] if first["role"] == "system" => {
                first["content"] = json!(format!("{}\n\n{text}", first["content"].as_str().unwrap_or_default()));
            }
            _ => self.messages.push(json!({ "role": "system", "content": text })),
        }
    }

    /// Reasoning belongs to the message or the calls that follow it.
    fn reasoning(&mut self, path: &str, item: &Value) -> Result<(), ApiError> {
        let texts = |name: &str| -> Result<Option<String>, ApiError> {
            let parts = match &item[name] {
                Value::Null => return Ok(None),
                Value::Array(parts) => parts,
                _ => return Err(ApiError::param(format!("{path}.{name}"), "must be an array")),
            };
            let texts: Vec<&str> = parts.iter().filter_map(|part| part["text"].as_str()).collect();
            Ok(Some(texts.join("\n")).filter(|text| !text.is_empty()))
        };
        let (content, summary) = (texts("content")?, texts("summary")?);
        if let Some(text) = content.or(summary) {
            self.messages
                .push(json!({ "role": "assistant", "content": "", "reasoning_content": text }));
        }
        Ok(())
    }

    /// The last message, if it is no more than reasoning yet.
    fn thought(&mut self) -> Option<&mut Value> {
        self.messages.last_mut().filter(|message| {
            message["role"] == "assistant" && message["content"] == "" && message.get("tool_calls").is_none()
        })
    }

    /// Calls side by side are calls of one message.
    fn call(&mut self, path: &str, item: &Value) -> Result<(), ApiError> {
        let text = |name: &str| text(path, item, name);
        let call = json!({
            "id": text("call_id")?,
            "type": "function",
            "function": { "name": text("name")?, "arguments": text("arguments")? },
        });
        if self.messages.last().is_none_or(|last| last["role"] != "assistant") {
            self.messages.push(json!({ "role": "assistant", "content": null }));
        }
        if let Some(message) = self.messages.last_mut() {
            if message["content"] == "" {
                message["content"] = Value::Null;
            }
            match message.get_mut("tool_calls").and_then(Value::as_array_mut) {
                Some(calls) => calls.push(call),
                None => message["tool_calls"] = json!([call]),
            }
        }
        Ok(())
    }

    fn output(&mut self, path: &str, item: &Value) -> Result<(), ApiError> {
        let id = text(path, item, "call_id")?;
        let content = self.content(&format!("{path}.output"), &item["output"])?;
        self.messages
            .push(json!({ "role": "tool", "tool_call_id": id, "content": content }));
        Ok(())
    }

    fn content(&self, path: &str, value: &Value) -> Result<Value, ApiError> {
        match value {
            Value::String(text) => Ok(json!(text)),
            Value::Array(parts) => {
                let parts = parts
                    .iter()
                    .enumerate()
                    .map(|(at, part)| self.part(&format!("{path}[{at}]"), part));
                parts.collect::<Result<Vec<_>, _>>().map(Value::Array)
            }
            _ => Err(ApiError::param(path, "must be a string or an array of parts")),
        }
    }

    fn part(&self, path: &str, part: &Value) -> Result<Value, ApiError> {
        let wrong = |message: &str| Err(ApiError::param(path, message));
        match part["type"].as_str() {
            Some("input_text" | "output_text" | "text") => {
                Ok(json!({ "type": "text", "text": text(path, part, "text")? }))
            }
            // What the assistant said in place of an answer is still what it said.
            Some("refusal") => Ok(json!({ "type": "text", "text": text(path, part, "refusal")? })),
            Some("input_image") if !self.card.abilities.vision => wrong(NO_IMAGES),
            Some("input_image") => {
                let url = text(path, part, "image_url")?;
                Ok(json!({ "type": "image_url", "image_url": { "url": url } }))
            }
            _ => wrong("must have the type input_text, output_text, refusal or input_image"),
        }
    }
}

fn text<'a>(path: &str, object: &'a Value, name: &str) -> Result<&'a str, ApiError> {
    let text = object[name].as_str();
    text.ok_or_else(|| ApiError::param(format!("{path}.{name}"), "must be a string"))
}

/// The text of a content.
fn plain(content: &Value) -> String {
    match content {
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        text => text.as_str().unwrap_or_default().to_owned(),
    }
}

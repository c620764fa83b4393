//! The conversation: blocks, brought to the messages of a chat.

use serde_json::{Value, json};

use crate::commands::serve::backend::{ModelCard, NO_IMAGES};
use crate::commands::serve::body::Fields;
use crate::commands::serve::error::ApiError;

/// Reads `system` and `messages`. The result has the form that
/// [`ChatPrompt`](crate::commands::serve::backend::ChatPrompt) promises.
pub fn messages(fields: Fields<'_>, card: &ModelCard) -> Result<Value, ApiError> {
    let mut chat = Chat {
        card,
        messages: Vec::new(),
    };
    if let Some(system) = fields.get("system") {
        chat.system("system", system)?;
    }
    let messages = fields
        .array("messages")?
        .ok_or_else(|| ApiError::param("messages", "is required"))?;
    if messages.is_empty() {
        return Err(ApiError::param("messages", "must have at least one message"));
    }
    for (at, message) in messages.iter().enumerate() {
        let path = format!("messages[{at}]");
        let content = &message["content"];
        let blocks = format!("{path}.content");
        match message["role"].as_str() {
            Some("user") => chat.user(&blocks, content)?,
            Some("assistant") => chat.assistant(&blocks, content)?,
            Some("system") => chat.system(&blocks, content)?,
            _ => {
                return Err(ApiError::param(
                    format!("{path}.role"),
                    "must be user, assistant or system",
                ));
            }
        }
    }
    Ok(Value::Array(chat.messages))
}

struct Chat<'a> {
    card: &'a ModelCard,
    messages: Vec<Value>,
}

impl Chat<'_> {
    /// Blocks are paragraphs. Claude Code begins with one that tells Anthropic whom to bill, with a
    /// number that changes from request to request: it is no instruction, and no prefix of the
    /// prompt could ever be reused with it.
    fn system(&mut self, path: &str, value: &Value) -> Result<(), ApiError> {
        let mut texts = Vec::new();
        for block in blocks(path, value)? {
            match (block.kind, block.value["text"].as_str()) {
                ("text", Some(text)) if text.starts_with("x-anthropic-billing-header:") => {}
                ("text", Some(text)) => texts.push(text.to_owned()),
                _ => return Err(ApiError::param(block.path, "must be a text block")),
            }
        }
        if !texts.is_empty() {
            self.messages
                .push(json!({ "role": "system", "content": texts.join("\n\n") }));
        }
        Ok(())
    }

    /// The results of tools are messages of their own.
    fn user(&mut self, path: &str, value: &Value) -> Result<(), ApiError> {
        let mut parts = Vec::new();
        for block in blocks(path, value)? {
            if block.kind == "tool_result" {
                self.say("user", &mut parts);
                let id = block.text("tool_use_id")?;
                let content = match &block.value["content"] {
                    Value::Null => json!(""),
                    content => self.result(&format!("{}.content", block.path), content)?,
                };
                self.messages
                    .push(json!({ "role": "tool", "tool_call_id": id, "content": content }));
            } else {
                parts.push(self.part(&block)?);
            }
        }
        self.say("user", &mut parts);
        Ok(())
    }

    fn result(&self, path: &str, value: &Value) -> Result<Value, ApiError> {
        let parts = blocks(path, value)?.into_iter().map(|block| self.part(&block));
        Ok(content(parts.collect::<Result<_, _>>()?))
    }

    fn assistant(&mut self, path: &str, value: &Value) -> Result<(), ApiError> {
        let (mut parts, mut calls, mut reasoning) = (Vec::new(), Vec::new(), String::new());
        for block in blocks(path, value)? {
            match block.kind {
                "thinking" => reasoning.push_str(block.text("thinking")?),
                // Only Anthropic can read it.
                "redacted_thinking" => {}
                "tool_use" => {
                    let input = &block.value["input"];
                    if !input.is_object() {
                        return Err(ApiError::param(format!("{}.input", block.path), "must be an object"));
                    }
                    calls.push(json!({
                        "id": block.text("id")?,
                        "type": "function",
                        "function": { "name": block.text("name")?, "arguments": input.to_string() },
                    }));
                }
                _ => parts.push(self.part(&block)?),
            }
        }
        let mut message = json!({ "role": "assistant", "content": content(parts) });
        if !reasoning.is_empty() {
            message["reasoning_content"] = json!(reasoning);
        }
        if !calls.is_empty() {
            if message["content"] == "" {
                message["content"] = Value::Null;
            }
            message["tool_calls"] = Value::Array(calls);
        }
        self.messages.push(message);
        Ok(())
    }

    fn say(&mut self, role: &str, parts: &mut Vec<Value>) {
        if !parts.is_empty() {
            let content = content(std::mem::take(parts));
            self.messages.push(json!({ "role": role, "content": content }));
        }
    }

    fn part(&self, block: &Block<'_>) -> Result<Value, ApiError> {
        let wrong = |message: &str| Err(ApiError::param(&block.path, message));
        let source = &block.value["source"];
        match block.kind {
            "text" => Ok(json!({ "type": "text", "text": block.text("text")? })),
            "image" if !self.card.abilities.vision => wrong(NO_IMAGES),
            "image" => match (&source["type"], &source["media_type"], &source["data"], &source["url"]) {
                (kind, Value::String(media), Value::String(data), _) if kind == "base64" => {
                    let url = format!("data:{media};base64,{data}");
                    Ok(json!({ "type": "image_url", "image_url": { "url": url } }))
                }
                (kind, _, _, Value::String(url)) if kind == "url" => {
                    Ok(json!({ "type": "image_url", "image_url": { "url": url } }))
                }
                _ => wrong("must have a source of the type base64 or url"),
            },
            "document" if source["type"] == "text" => match source["data"].as_str() {
                Some(text) => Ok(json!({ "type": "text", "text": text })),
                None => wrong("must have a text as its source's 'data'"),
            },
            "document" => wrong("is a document in a format this server does not read; send its text"),
            kind => wrong(&format!("has the type {kind}, which is not supported here")),
        }
    }
}

/// One text is a plain content, which every template understands.
fn content(mut parts: Vec<Value>) -> Value {
    match parts.as_mut_slice() {
        [] => json!(""),
        [only] if only["type"] == "text" => only["text"].take(),
        _ => Value::Array(parts),
    }
}

struct Block<'a> {
    path: String,
    kind: &'a str,
    value: std::borrow::Cow<'a, Value>,
}

impl Block<'_> {
    fn text(&self, name: &str) -> Result<&str, ApiError> {
        let text = self.value[name].as_str();
        text.ok_or_else(|| ApiError::param(format!("{}.{name}", self.path), "must be a string"))
    }
}

/// A string is one block of text.
fn blocks<'a>(path: &str, value: &'a Value) -> Result<Vec<Block<'a>>, ApiError> {
    use std::borrow::Cow;
    match value {
        Value::String(text) => Ok(vec![Block {
            path: path.to_owned(),
            kind: "text",
            value: Cow::Owned(json!({ "text": text })),
        }]),
        Value::Array(blocks) => {
            let blocks = blocks.iter().enumerate().map(|(at, value)| {
                let path = format!("{path}[{at}]");
                match value["type"].as_str() {
                    Some(kind) => Ok(Block {
                        path,
                        kind,
                        value: Cow::Borrowed(value),
                    }),
                    None => Err(ApiError::param(format!("{path}.type"), "must be a string")),
                }
            });
            blocks.collect()
        }
        _ => Err(ApiError::param(path, "must be a string or an array of blocks")),
    }
}

//! Messages as Ollama's clients write them, brought to OpenAI's form.

use serde_json::{Map, Value, json};

use super::request::images;
use super::target::Target;
use crate::commands::serve::backend::ModelCard;
use crate::commands::serve::body::Fields;
use crate::commands::serve::error::ApiError;
use crate::commands::serve::openai::messages;

/// Reads `messages`; the model's own system prompt goes first, unless they begin with one.
pub fn read(body: Fields<'_>, target: &Target, card: &ModelCard) -> Result<Value, ApiError> {
    let given = body.array("messages")?.map(Vec::as_slice).unwrap_or_default();
    let mut all = Vec::with_capacity(given.len() + 1);
    for (at, value) in given.iter().enumerate() {
        all.push(message(at, value, target, card)?);
    }
    if let Some(system) = &target.system
        && all.first().is_none_or(|first| first["role"] != "system")
    {
        all.insert(0, json!({ "role": "system", "content": system }));
    }
    let all = Map::from_iter([("messages".to_owned(), Value::Array(all))]);
    messages::messages(Fields(&all), card)
}

fn message(at: usize, value: &Value, target: &Target, card: &ModelCard) -> Result<Value, ApiError> {
    let path = format!("messages[{at}]");
    let object = value
        .as_object()
        .ok_or_else(|| ApiError::param(&path, "must be an object"))?;
    let fields = Fields(object);
    let text = |name: &str| {
        let wrong = |_| ApiError::param(format!("{path}.{name}"), "must be a string");
        fields.str(name).map_err(wrong)
    };
    let content = text("content")?.unwrap_or("");
    let images = images(fields, card, target)?;
    let mut message = Map::new();
    message.insert("role".into(), object.get("role").cloned().unwrap_or_default());
    message.insert("content".into(), with_images(content, &images));
    if let Some(thinking) = text("thinking")?.filter(|thinking| !thinking.is_empty()) {
        message.insert("reasoning_content".into(), json!(thinking));
    }
    if let Some(calls) = fields.get("tool_calls") {
        message.insert("tool_calls".into(), calls.clone());
    }
    if let Some(id) = text("tool_call_id")? {
        message.insert("tool_call_id".into(), json!(id));
    }
    if let Some(name) = text("tool_name")? {
        message.insert("name".into(), json!(name));
    }
    Ok(Value::Object(message))
}

/// A content of text, or of images and text.
pub fn with_images(text: &str, images: &[&str]) -> Value {
    if images.is_empty() {
        return json!(text);
    }
    let image = |data: &&str| json!({ "type": "image_url", "image_url": { "url": data_url(data) } });
    let text = json!({ "type": "text", "text": text });
    images.iter().map(image).chain([text]).collect()
}

/// The first bytes of a file tell its format; in base64 they are letters.
fn data_url(base64: &str) -> String {
    let format = match base64 {
        png if png.starts_with("iVBOR") => "png",
        gif if gif.starts_with("R0lG") => "gif",
        webp if webp.starts_with("UklGR") => "webp",
        _ => "jpeg",
    };
    format!("data:image/{format};base64,{base64}")
}

//! Texts as they come in requests: a string, strings, tokens, or lists of tokens.

use serde_json::Value;

use crate::commands::serve::backend::{ModelCard, Prompt};
use crate::commands::serve::body::Fields;
use crate::commands::serve::error::ApiError;

/// Reads the field `name`, which is required; a flat list of numbers is one text.
pub fn prompts(fields: Fields<'_>, name: &str, card: &ModelCard) -> Result<Vec<Prompt>, ApiError> {
    let wrong = |message: &str| ApiError::param(name, message);
    let value = fields.get(name).ok_or_else(|| wrong("is required"))?;
    let token = |value: &Value| {
        card.token(value)
            .ok_or_else(|| wrong("has a token that is not in the vocabulary"))
    };
    let tokens = |values: &[Value]| {
        values
            .iter()
            .map(token)
            .collect::<Result<Vec<_>, _>>()
            .map(Prompt::Tokens)
    };
    let prompt = |value: &Value| match value {
        Value::String(text) => Ok(Prompt::Text(text.clone())),
        Value::Array(items) if items.is_empty() => Err(wrong("has an empty list of tokens")),
        Value::Array(items) => tokens(items),
        _ => Err(wrong("must be a string, or a list of strings, tokens or token lists")),
    };
    match value.as_array().map(Vec::as_slice) {
        Some([]) => Err(wrong("must not be empty")),
        None | Some([Value::Number(_), ..]) => Ok(vec![prompt(value)?]),
        Some(items) => items.iter().map(prompt).collect(),
    }
}

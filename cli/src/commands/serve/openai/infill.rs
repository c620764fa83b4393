//! `/infill`: a place in a text to fill, as llama-server has it.

use serde_json::Value;

use crate::commands::serve::backend::{BackendError, Infill, ModelCard};
use crate::commands::serve::body::Fields;
use crate::commands::serve::error::ApiError;

/// Files a request may bring along.
const MAX_EXTRA: usize = 1024;

/// Reads what is around the place.
pub fn infill(fields: Fields<'_>, card: &ModelCard) -> Result<Infill, ApiError> {
    if !card.abilities.insert {
        return Err(BackendError::NotSupported(format!(
            "the model '{}' has no tokens for fill-in-the-middle prompts; serve one made for code completion",
            card.id
        ))
        .into());
    }
    let required = |name: &str| {
        let text = fields.str(name)?;
        text.map(str::to_owned)
            .ok_or_else(|| ApiError::param(name, "is required"))
    };
    let extra = fields.array("input_extra")?.map_or(&[][..], Vec::as_slice);
    if extra.len() > MAX_EXTRA {
        return Err(ApiError::param(
            "input_extra",
            format_args!("may have at most {MAX_EXTRA} entries"),
        ));
    }
    Ok(Infill {
        prefix: required("input_prefix")?,
        suffix: required("input_suffix")?,
        prompt: fields.str("prompt")?.unwrap_or_default().to_owned(),
        extra: extra.iter().map(file).collect::<Result<_, _>>()?,
    })
}

/// Name and text of a file; one without a name is called `tmp`, as llama-server does.
fn file(value: &Value) -> Result<(String, String), ApiError> {
    let wrong = || ApiError::param("input_extra", "must be objects with a 'text' and a 'filename'");
    let text = value.get("text").and_then(Value::as_str).ok_or_else(wrong)?;
    let name = match value.get("filename") {
        None | Some(Value::Null) => "tmp",
        Some(name) => name.as_str().ok_or_else(wrong)?,
    };
    Ok((name.to_owned(), text.to_owned()))
}

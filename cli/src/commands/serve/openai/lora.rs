//! Lists of LoRA adapters and their scales: `lora` of a request, and the body of `POST /lora-adapters`.

use serde_json::Value;

use crate::commands::serve::backend::{LoraScale, ModelCard};
use crate::commands::serve::body::Fields;
use crate::commands::serve::error::ApiError;

/// Reads `lora`, llama-server's field; None: as the server is set. Adapters that the list leaves out are not applied.
pub fn lora(fields: Fields<'_>, card: &ModelCard) -> Result<Option<Vec<LoraScale>>, ApiError> {
    let list = fields.array("lora")?;
    list.map(|list| scales(list, "lora", card)).transpose()
}

/// Reads the list `[{"id": 0, "scale": 0.5}, ...]` that stands in `param`.
///
/// # Errors
/// A number that no adapter of the model has, or that comes twice; a scale that is missing or out of range.
pub fn scales(list: &[Value], param: &str, card: &ModelCard) -> Result<Vec<LoraScale>, ApiError> {
    let mut scales: Vec<LoraScale> = Vec::new();
    for entry in list {
        let wrong = |what: &str| ApiError::param(param, format_args!("must be a list of {{id, scale}}: {what}"));
        let entry = entry
            .as_object()
            .map(Fields)
            .ok_or_else(|| wrong("an entry is no object"))?;
        let id = entry.get("id").ok_or_else(|| wrong("an entry has no 'id'"))?;
        let Some(id) = id.as_u64().filter(|id| *id < u64::from(card.loras)) else {
            return Err(ApiError::param(
                param,
                format_args!("names the adapter {id}; {}", on_offer(card.loras)),
            ));
        };
        let scale = entry
            .get("scale")
            .and_then(Value::as_f64)
            .ok_or_else(|| wrong("an entry has no number as 'scale'"))? as f32;
        if !scale.is_finite() {
            return Err(wrong("a 'scale' is too large"));
        }
        let id = u32::try_from(id).map_err(|_| wrong("an 'id' is too large"))?;
        if scales.iter().any(|known| known.id == id) {
            return Err(wrong(&format!("the adapter {id} comes twice")));
        }
        scales.push(LoraScale { id, scale });
    }
    Ok(scales)
}

fn on_offer(loras: u32) -> String {
    match loras {
        0 => "this model was loaded without LoRA adapters; start the server with --lora".into(),
        1 => "this model has one, with the id 0".into(),
        n => format!("this model has those with the ids 0 to {}", n - 1),
    }
}

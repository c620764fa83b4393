//! Tools and the choice among them.

use serde_json::{Value, json};

use crate::commands::serve::body::Fields;
use crate::commands::serve::error::ApiError;

/// The tools of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tools {
    /// The tools the model may call.
    pub tools: Option<Value>,
    /// `auto`, `none` or `required`.
    pub choice: Option<String>,
    /// Whether the caller named the one tool to call. OpenAI then ends with `stop` in place of
    /// `tool_calls`.
    pub named: bool,
}

/// Reads `tools` and `tool_choice`.
pub fn tools(fields: Fields<'_>) -> Result<Tools, ApiError> {
    let tools = fields.array("tools")?.map(Vec::as_slice).unwrap_or_default();
    let names = tools.iter().enumerate().map(name).collect::<Result<Vec<_>, _>>()?;
    let wrong = |message: String| Err(ApiError::param("tool_choice", message));

    let word = match fields.get("tool_choice") {
        None => None,
        Some(Value::String(word)) => Some(match word.as_str() {
            "auto" | "none" | "required" => word.as_str(),
            // Mistral's word for it.
            "any" => "required",
            _ => return wrong("must be auto, none, required, or name a function".into()),
        }),
        Some(choice) => {
            let Some(wanted) = choice.pointer("/function/name").and_then(Value::as_str) else {
                return wrong("must be auto, none, required, or name a function".into());
            };
            let Some(at) = names.iter().position(|name| *name == wanted) else {
                return wrong(format!("names the function '{wanted}', which is not among 'tools'"));
            };
            // llama.cpp knows no named choice; with one tool left, "required" is the same.
            return Ok(Tools {
                tools: Some(json!([tools[at]])),
                choice: Some("required".into()),
                named: true,
            });
        }
    };
    match word {
        Some("required") if tools.is_empty() => wrong("is required, but there are no 'tools'".into()),
        _ if tools.is_empty() => Ok(Tools::default()),
        _ => Ok(Tools {
            tools: Some(json!(tools)),
            choice: word.map(str::to_owned),
            named: false,
        }),
    }
}

fn name((at, tool): (usize, &Value)) -> Result<&str, ApiError> {
    let path = format!("tools[{at}]");
    match tool.get("type").map(Value::as_str) {
        None | Some(Some("function")) => {}
        _ => return Err(ApiError::param(path, "must have the type function")),
    }
    if tool
        .pointer("/function/parameters")
        .is_some_and(|schema| !schema.is_object() && !schema.is_null())
    {
        return Err(ApiError::param(
            format!("{path}.function.parameters"),
            "must be an object",
        ));
    }
    let name = tool
        .pointer("/function/name")
        .and_then(Value::as_str)
        .filter(|name| !name.is_empty());
    name.ok_or_else(|| ApiError::param(format!("{path}.function.name"), "must be a non-empty string"))
}

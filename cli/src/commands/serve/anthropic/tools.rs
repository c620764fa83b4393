//! Tools and the choice among them.

use serde_json::{Value, json};

use crate::commands::serve::body::Fields;
use crate::commands::serve::error::ApiError;

/// The tools of a request, in the form of chat completions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tools {
    /// What the model may call.
    pub offered: Option<Value>,
    /// `auto`, `none` or `required`.
    pub choice: Option<String>,
    /// Whether one turn may hold several calls.
    pub parallel: Option<bool>,
}

/// Reads `tools` and `tool_choice`.
pub fn tools(fields: Fields<'_>) -> Result<Tools, ApiError> {
    let given = fields.array("tools")?.map(Vec::as_slice).unwrap_or_default();
    let mut offered = Vec::new();
    for (at, tool) in given.iter().enumerate() {
        offered.push(function(&format!("tools[{at}]"), tool)?);
    }
    let wrong = |message: String| Err(ApiError::param("tool_choice", message));
    let mut parallel = None;
    let choice = match fields.object("tool_choice")? {
        None => None,
        Some(choice) => {
            parallel = choice.bool("disable_parallel_tool_use")?.map(|disabled| !disabled);
            match choice.str("type")? {
                Some("auto") => Some("auto"),
                Some("none") => Some("none"),
                Some("any") => Some("required"),
                // llama.cpp knows no named choice; with one tool left, "required" is the same.
                Some("tool") => {
                    let name = choice.str("name")?.unwrap_or_default();
                    offered.retain(|tool| tool["function"]["name"] == name);
                    if offered.is_empty() {
                        return wrong(format!("names the tool '{name}', which is not among 'tools'"));
                    }
                    Some("required")
                }
                _ => return wrong("must have the type auto, any, tool or none".into()),
            }
        }
    };
    match choice {
        Some("required") if offered.is_empty() => wrong("demands a tool, but there are no 'tools'".into()),
        _ if offered.is_empty() => Ok(Tools::default()),
        _ => Ok(Tools {
            offered: Some(Value::Array(offered)),
            choice: choice.map(str::to_owned),
            parallel,
        }),
    }
}

fn function(path: &str, tool: &Value) -> Result<Value, ApiError> {
    match &tool["type"] {
        Value::Null => {}
        kind if kind == "custom" => {}
        kind => {
            return Err(ApiError::param(
                path,
                format_args!("has the type {kind}, but this server takes tools with a schema of their own only"),
            ));
        }
    }
    let name = tool["name"].as_str().filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| ApiError::param(format!("{path}.name"), "must be a non-empty string"))?;
    if !tool["input_schema"].is_object() {
        return Err(ApiError::param(format!("{path}.input_schema"), "must be an object"));
    }
    let mut function = json!({ "name": name, "parameters": tool["input_schema"] });
    if let Some(description) = tool["description"].as_str() {
        function["description"] = json!(description);
    }
    Ok(json!({ "type": "function", "function": function }))
}

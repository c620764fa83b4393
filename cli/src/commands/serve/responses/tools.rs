//! Tools and the choice among them, in the flat form of this dialect.

use serde_json::{Value, json};

use crate::commands::serve::body::Fields;
use crate::commands::serve::error::ApiError;

/// The tools of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tools {
    /// What the model may call, in the form of chat completions.
    pub offered: Option<Value>,
    /// `auto`, `none` or `required`.
    pub choice: Option<String>,
    /// The tools in force, as the answer repeats them.
    pub listed: Vec<Value>,
    /// The choice as the answer repeats it.
    pub chosen: Value,
}

/// Tools that OpenAI runs on machines of its own. Agents offer them wholesale; a model that is not
/// told of them works on with the others, and the answer lists what it was told of.
const HOSTED: [&str; 4] = ["web_search", "file_search", "code_interpreter", "image_generation"];

/// Reads `tools` and `tool_choice`.
pub fn tools(fields: Fields<'_>) -> Result<Tools, ApiError> {
    let given = fields.array("tools")?.map(Vec::as_slice).unwrap_or_default();
    let mut listed = Vec::new();
    for (at, tool) in given.iter().enumerate() {
        listed.extend(function(&format!("tools[{at}]"), tool)?);
    }
    let (choice, allowed) = choice(fields, &listed)?;
    let chosen = fields.get("tool_choice").cloned().unwrap_or_else(|| json!("auto"));
    let offered: Vec<Value> = listed
        .iter()
        .filter(|tool| allowed.as_ref().is_none_or(|names| names.contains(&name(tool))))
        .map(nested)
        .collect();
    if offered.is_empty() {
        return Ok(Tools {
            chosen,
            listed,
            ..Tools::default()
        });
    }
    Ok(Tools {
        offered: Some(Value::Array(offered)),
        choice,
        listed,
        chosen,
    })
}

/// A function, checked, with all the fields an answer repeats. None: a tool that is left out.
fn function(path: &str, tool: &Value) -> Result<Option<Value>, ApiError> {
    match tool["type"].as_str() {
        Some("function") => {}
        Some(kind) if HOSTED.iter().any(|hosted| kind.starts_with(hosted)) => {
            tracing::warn!(tool = kind, "left out a tool that only OpenAI's own servers can run");
            return Ok(None);
        }
        Some(kind) => {
            return Err(ApiError::param(
                path,
                format_args!("has the type {kind}, but this server takes tools of the type function only"),
            ));
        }
        None => return Err(ApiError::param(format!("{path}.type"), "must be a string")),
    }
    if name(tool).is_empty() {
        return Err(ApiError::param(format!("{path}.name"), "must be a non-empty string"));
    }
    let parameters = &tool["parameters"];
    if !parameters.is_object() && !parameters.is_null() {
        return Err(ApiError::param(format!("{path}.parameters"), "must be an object"));
    }
    Ok(Some(json!({
        "type": "function",
        "name": tool["name"],
        "description": tool["description"],
        "parameters": parameters,
        "strict": tool["strict"].as_bool().unwrap_or(false),
    })))
}

fn name(tool: &Value) -> &str {
    tool["name"].as_str().unwrap_or_default()
}

fn nested(tool: &Value) -> Value {
    let mut function = json!({ "name": tool["name"] });
    for field in ["description", "parameters", "strict"] {
        if !tool[field].is_null() {
            function[field] = tool[field].clone();
        }
    }
    json!({ "type": "function", "function": function })
}

/// The choice in one word, and the names it is limited to.
type Choice<'a> = (Option<String>, Option<Vec<&'a str>>);

fn choice<'a>(fields: Fields<'a>, tools: &[Value]) -> Result<Choice<'a>, ApiError> {
    let wrong = |message: &str| Err(ApiError::param("tool_choice", message));
    let known = |wanted: &'a Value| match wanted["name"].as_str() {
        Some(wanted) if tools.iter().any(|tool| name(tool) == wanted) => Ok(wanted),
        Some(wanted) => Err(ApiError::param(
            "tool_choice",
            format_args!("names the function '{wanted}', which is not among 'tools'"),
        )),
        None => Err(ApiError::param("tool_choice", "must name a function")),
    };
    let (mode, names) = match fields.get("tool_choice") {
        None => return Ok((None, None)),
        Some(Value::String(word)) => (word.as_str(), None),
        Some(choice) => match choice["type"].as_str() {
            // llama.cpp knows no named choice; with one tool left, "required" is the same.
            Some("function") => ("required", Some(vec![known(choice)?])),
            Some("allowed_tools") => {
                let allowed = choice["tools"].as_array().map(Vec::as_slice).unwrap_or_default();
                let names = allowed.iter().map(known).collect::<Result<Vec<_>, _>>()?;
                (choice["mode"].as_str().unwrap_or("auto"), Some(names))
            }
            _ => return wrong("must be auto, none, required, allowed_tools, or name a function"),
        },
    };
    match mode {
        "required" if tools.is_empty() => wrong("is required, but there are no functions in 'tools'"),
        "auto" | "none" | "required" => Ok((Some(mode.to_owned()), names)),
        _ => wrong("must be auto, none, required, allowed_tools, or name a function"),
    }
}

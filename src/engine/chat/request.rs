//! What a chat template is applied to.

use crate::engine::grammar::limits;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

/// Tools of one request. Their rules are made anew for each.
const MAX_TOOLS: usize = 512;

/// Which tools the answer may or must call.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// No call.
    None,
    /// At least one call.
    Required,
    /// A call of the function of this name.
    Function(String),
    /// Any other OpenAI-shaped value, checked by the engine.
    Json(Value),
}

impl Serialize for ToolChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => "auto".serialize(serializer),
            Self::None => "none".serialize(serializer),
            Self::Required => "required".serialize(serializer),
            Self::Function(name) => json!({"type": "function", "function": {"name": name}}).serialize(serializer),
            Self::Json(value) => value.serialize(serializer),
        }
    }
}

/// A conversation and what is asked of the answer. Messages and tools are OpenAI-shaped JSON.
///
/// ```
/// use llama_turboquant::engine::chat::ChatRequest;
/// let request = ChatRequest::new().system("Be brief.").user("What is turbo4?");
/// assert_eq!(request.messages.len(), 2);
/// ```
#[derive(Debug, Clone, Default, Serialize)]
pub struct ChatRequest {
    /// `[{role, content, tool_calls?, tool_call_id?, ...}]`
    pub messages: Vec<Value>,
    /// `[{type: "function", function: {name, description, parameters}}]`
    pub tools: Vec<Value>,
    /// Which of them may or must be called.
    pub tool_choice: ToolChoice,
    /// Several calls in one answer; `None`: if the template can express them.
    pub parallel_tool_calls: Option<bool>,
    /// The JSON schema of the answer's content.
    pub json_schema: Option<Value>,
    /// A GBNF grammar of the answer; not together with tools or a schema.
    pub grammar: Option<String>,
    /// Let the template open the assistant's turn; `None`: yes.
    pub add_generation_prompt: Option<bool>,
    /// Go on writing the last message: `true`, `"content"` or `"reasoning_content"`.
    pub continue_final_message: Option<Value>,
    /// Let the model think, where the template has a switch; `None`: yes.
    pub enable_thinking: Option<bool>,
    /// `low`, `medium`, `high`, or what else the template knows.
    pub reasoning_effort: Option<String>,
    /// `auto` (thoughts apart from the content), `none` (thoughts stay in it), `deepseek`, `deepseek-legacy`.
    pub reasoning_format: Option<String>,
    /// More variables for the template.
    pub chat_template_kwargs: Option<Map<String, Value>>,
}

impl ChatRequest {
    /// No messages yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a message `{role, content}`.
    #[must_use]
    pub fn message(mut self, role: &str, content: &str) -> Self {
        self.messages.push(json!({"role": role, "content": content}));
        self
    }

    /// Appends a system message.
    #[must_use]
    pub fn system(self, content: &str) -> Self {
        self.message("system", content)
    }

    /// Appends a message of the user.
    #[must_use]
    pub fn user(self, content: &str) -> Self {
        self.message("user", content)
    }

    /// Appends a message of the assistant.
    #[must_use]
    pub fn assistant(self, content: &str) -> Self {
        self.message("assistant", content)
    }

    /// Appends the answer of a tool to the call with this id.
    #[must_use]
    pub fn tool_result(mut self, call_id: &str, content: &str) -> Self {
        self.messages
            .push(json!({"role": "tool", "tool_call_id": call_id, "content": content}));
        self
    }

    /// Offers a function with the JSON schema of its parameters.
    #[must_use]
    pub fn tool(mut self, name: &str, description: &str, parameters: Value) -> Self {
        let function = json!({"name": name, "description": description, "parameters": parameters});
        self.tools.push(json!({"type": "function", "function": function}));
        self
    }

    /// Whether schemas and grammar are of a size that the engine can turn into rules.
    pub(super) fn check_size(&self) -> Result<(), String> {
        if self.tools.len() > MAX_TOOLS {
            return Err(format!(
                "there are {} tools; at most {MAX_TOOLS} are taken",
                self.tools.len()
            ));
        }
        for (number, tool) in self.tools.iter().enumerate() {
            let schema = tool.pointer("/function/parameters").unwrap_or(tool);
            limits::check_schema(&format!("the schema of tool {number}"), schema)?;
        }
        if let Some(schema) = &self.json_schema {
            limits::check_schema("the schema", schema)?;
        }
        self.grammar.as_deref().map_or(Ok(()), limits::check_gbnf)
    }

    /// Which tools may or must be called.
    #[must_use]
    pub fn tool_choice(mut self, choice: ToolChoice) -> Self {
        self.tool_choice = choice;
        self
    }

    /// The JSON schema of the answer's content.
    #[must_use]
    pub fn json_schema(mut self, schema: Value) -> Self {
        self.json_schema = Some(schema);
        self
    }
}

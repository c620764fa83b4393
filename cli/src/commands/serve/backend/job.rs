//! Requests after validation. Every number in here is in the range its comment states.

use llama_turboquant::engine::sampler::SamplingParams;
use serde_json::{Map, Value, json};

use super::LoraScale;

/// A chat to continue.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatJob {
    /// What goes into the chat template.
    pub prompt: ChatPrompt,
    /// How to generate.
    pub generation: Generation,
}

/// The input of the model's chat template, in OpenAI's shape.
///
/// It has been normalized: `developer` is `system`, arguments of tool calls are strings,
/// `reasoning` is `reasoning_content`, and a named tool choice is that one tool with `"required"`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChatPrompt {
    /// A non-empty array of messages.
    pub messages: Value,
    /// An array of tools, if there are any.
    pub tools: Option<Value>,
    /// `auto`, `none` or `required`.
    pub tool_choice: Option<String>,
    /// Whether one turn may hold several tool calls.
    pub parallel_tool_calls: Option<bool>,
    /// Whether the model should reason first; None leaves it to the template.
    pub thinking: Option<bool>,
    /// How hard, in the words of the template.
    pub reasoning_effort: Option<String>,
    /// Extra variables for the template: an object.
    pub template_kwargs: Option<Value>,
    /// What becomes of reasoning: `auto` and `deepseek` keep it apart, `none` leaves it in the text.
    pub reasoning_format: Option<String>,
    /// Go on writing the last message, which is the assistant's, in place of an answer to it.
    pub continue_last: bool,
}

impl ChatPrompt {
    /// One OpenAI-shaped object for llama.cpp's chat code: `messages`, `tools`, `tool_choice`,
    /// `parallel_tool_calls` and `chat_template_kwargs` with `enable_thinking` and
    /// `reasoning_effort` merged in. What is absent is left out.
    pub fn to_json(&self) -> Value {
        let mut kwargs = match &self.template_kwargs {
            Some(Value::Object(map)) => map.clone(),
            _ => Map::new(),
        };
        // Explicit variables win: whoever names one knows the template better than we do.
        if let Some(thinking) = self.thinking {
            kwargs.entry("enable_thinking").or_insert(json!(thinking));
        }
        if let Some(effort) = &self.reasoning_effort {
            kwargs.entry("reasoning_effort").or_insert(json!(effort));
        }

        let mut body = json!({ "messages": self.messages });
        if let Some(tools) = &self.tools {
            body["tools"] = tools.clone();
        }
        if let Some(choice) = &self.tool_choice {
            body["tool_choice"] = json!(choice);
        }
        if let Some(parallel) = self.parallel_tool_calls {
            body["parallel_tool_calls"] = json!(parallel);
        }
        if !kwargs.is_empty() {
            body["chat_template_kwargs"] = Value::Object(kwargs);
        }
        body
    }
}

/// A text to continue.
#[derive(Clone, Debug, PartialEq)]
pub struct CompletionJob {
    /// Where to go on from.
    pub prompt: Prompt,
    /// Send the prompt back as `Text` before the completion, with log probabilities when they are
    /// asked for.
    pub echo: bool,
    /// How to generate.
    pub generation: Generation,
}

/// A prompt without a template.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    /// Text, to be tokenized with the model's special tokens added.
    Text(String),
    /// Token ids, taken as they are; each is in `0..n_vocab`.
    Tokens(Vec<i32>),
    /// What is before and after the place to fill.
    Infill(Box<Infill>),
}

/// A place in a text to fill.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Infill {
    /// The text before the place.
    pub prefix: String,
    /// The text after it.
    pub suffix: String,
    /// The beginning of what is to be filled in.
    pub prompt: String,
    /// Other files, nearest last: name and text.
    pub extra: Vec<(String, String)>,
}

/// What chats and completions have in common.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Generation {
    /// Id of the model, as on its card.
    pub model: String,
    /// Tokens of the context that prompt and answer may use, as on the card of the request. None: all that the model is
    /// loaded with.
    pub n_ctx: Option<u32>,
    /// How to pick tokens, each field in the range that its reader in `openai/sampling.rs` names. A seed is in `0..u32::MAX`
    /// (llama.cpp takes `u32::MAX` for "random"); biases are on tokens of the vocabulary.
    pub sampling: SamplingParams,
    /// Tokens to generate at most. None: until the context is full. 0: process the prompt only,
    /// then finish with `Length`. May exceed the context, which then is the limit.
    pub max_tokens: Option<u32>,
    /// Texts that end generation; none is empty.
    pub stop: Vec<String>,
    /// Report log probabilities, with this many alternatives per token (0 to 20).
    pub logprobs: Option<u32>,
    /// What the answer must look like.
    pub constraint: Constraint,
    /// Whether to reuse a cached prefix of the prompt.
    pub cache_prompt: bool,
    /// LoRA adapters to apply, each at most once, in place of those for all requests; None: those. Whichever of the model's are
    /// not named are not applied.
    pub lora: Option<Vec<LoraScale>>,
    /// Whether to tell how far the processing of the prompt has come.
    pub return_progress: bool,
    /// Whether to go on past the model's end-of-text tokens.
    pub ignore_eos: bool,
}

/// What an answer must look like.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Constraint {
    /// Anything.
    #[default]
    Free,
    /// Some JSON object.
    JsonObject,
    /// JSON that fits this schema.
    JsonSchema(Value),
    /// Text that fits this GBNF grammar.
    Grammar(String),
}

/// A text to split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenizeJob {
    /// Id of the model, as on its card.
    pub model: String,
    /// The text.
    pub content: String,
    /// Whether to add the tokens the model expects around a text.
    pub add_special: bool,
    /// Whether the spelling of a special token becomes that token.
    pub parse_special: bool,
}

/// One token of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenPiece {
    /// Its id.
    pub id: i32,
    /// Its exact bytes.
    pub bytes: Vec<u8>,
}

//! Chat templates of model files, requests that go through them, and answers on their way back.

use super::model::small;
use llama_turboquant::Error;
use llama_turboquant::engine::chat::{
    ChatDelta, ChatMessage, ChatParser, ChatPrompt, ChatRequest, ChatTemplate, ToolChoice,
};
use llama_turboquant::engine::sampler::{Sampler, SamplingParams};
use serde_json::{Value, json};
use std::cell::OnceCell;

/// Templates of the kinds that the engine tells apart: by what they do with tool calls and thoughts.
const TEMPLATES: &[&str] = &[
    include_str!("templates/chatml.jinja"),
    include_str!("templates/hermes.jinja"),
    include_str!("templates/functions.jinja"),
    include_str!("templates/channels.jinja"),
];

fn greet() -> ChatRequest {
    ChatRequest::new()
        .system("Be brief.")
        .user("hello")
        .assistant("hi")
        .user("again")
}

fn with_tools() -> ChatRequest {
    let parameters = json!({ "type": "object", "properties": { "city": { "type": "string" }, "days": { "type": "integer" } }, "required": ["city"] });
    greet().tool("weather", "The weather of a city.", parameters).tool(
        "now",
        "The time.",
        json!({ "type": "object", "properties": {} }),
    )
}

/// What a model file brings: rendered, or refused with a reason.
pub fn template(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(template) = ChatTemplate::with_override(small(), text) else {
        return;
    };
    template.info().expect("a template describes itself");
    for request in [greet(), with_tools()] {
        if let Ok(prompt) = template.apply(&request) {
            prompt.parser().expect("a parser");
        }
    }
}

thread_local! {
    static MADE: OnceCell<Vec<(ChatTemplate, Vec<ChatPrompt>)>> = const { OnceCell::new() };
}

fn with_templates<T>(f: impl FnOnce(&[(ChatTemplate, Vec<ChatPrompt>)]) -> T) -> T {
    let make = |text: &&str| {
        let template = ChatTemplate::with_override(small(), text).expect("a template");
        let schema = json!({ "type": "object", "properties": { "a": { "type": "string" } } });
        let requests = [
            greet(),
            with_tools(),
            with_tools().tool_choice(ToolChoice::Required),
            greet().json_schema(schema),
        ];
        let prompts = requests
            .iter()
            .map(|request| template.apply(request).expect("a prompt"))
            .collect();
        (template, prompts)
    };
    MADE.with(|made| f(made.get_or_init(|| TEMPLATES.iter().map(make).collect())))
}

/// A request in the engine's terms: the fields of a `ChatRequest`, and `template`, the number of one.
pub fn request(data: &[u8]) {
    let Ok(Value::Object(mut fields)) = serde_json::from_slice(data) else {
        return;
    };
    let number = fields.remove("template").and_then(|n| n.as_u64()).unwrap_or_default() as usize;
    let mut list = |name: &str| match fields.remove(name) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    };
    let (messages, tools) = (list("messages"), list("tools"));
    let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
    let flag = |name: &str| fields.get(name).and_then(Value::as_bool);
    let request = ChatRequest {
        messages,
        tools,
        tool_choice: fields
            .get("tool_choice")
            .map_or(ToolChoice::Auto, |choice| ToolChoice::Json(choice.clone())),
        parallel_tool_calls: flag("parallel_tool_calls"),
        json_schema: fields.get("json_schema").cloned(),
        grammar: text("grammar"),
        add_generation_prompt: flag("add_generation_prompt"),
        continue_final_message: fields.get("continue_final_message").cloned(),
        enable_thinking: flag("enable_thinking"),
        reasoning_effort: text("reasoning_effort"),
        reasoning_format: text("reasoning_format"),
        chat_template_kwargs: fields.get("chat_template_kwargs").and_then(Value::as_object).cloned(),
    };
    with_templates(|templates| {
        let (template, _) = &templates[number % templates.len()];
        let Ok(prompt) = template.apply(&request) else { return };
        prompt.parser().expect("a parser");
        let sampler = Sampler::new(small(), &SamplingParams::greedy(), Some(&prompt.constraint()));
        if let Err(error) = sampler {
            assert!(
                matches!(error, Error::Grammar(_) | Error::Invalid(_) | Error::Unsupported(_)),
                "{error:?}"
            );
        }
    });
}

/// An answer, in pieces. The first character chooses the prompt that it answers, the second the size of the pieces.
pub fn answer(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut chars = text.chars();
    let mut number = || chars.next().map(|char| char as usize);
    let (Some(which), Some(size)) = (number(), number()) else {
        return;
    };
    let answer = chars.as_str();
    with_templates(|templates| {
        let (_, prompts) = &templates[which % templates.len()];
        let prompt = &prompts[which / templates.len() % prompts.len()];
        let mut parser = prompt.parser().expect("a parser");
        let mut deltas = Vec::new();
        let chars: Vec<char> = answer.chars().take(600).collect();
        for piece in chars.chunks(size % 24 + 1) {
            deltas.extend(parser.push(&piece.iter().collect::<String>()).expect("a piece"));
        }
        deltas.extend(parser.finish("").expect("the end"));
        check(&parser, &deltas);
    });
}

/// The deltas add up to the message.
fn check(parser: &ChatParser, deltas: &[ChatDelta]) {
    let message: ChatMessage = parser.message().expect("a message");
    let sum = |part: fn(&ChatDelta) -> Option<&String>| {
        deltas.iter().filter_map(part).map(String::as_str).collect::<String>()
    };
    assert_eq!(
        sum(|delta| delta.content.as_ref()),
        message.content.clone().unwrap_or_default()
    );
    assert_eq!(
        sum(|delta| delta.reasoning.as_ref()),
        message.reasoning.clone().unwrap_or_default()
    );
    for (index, call) in message.tool_calls.iter().enumerate() {
        let of_call = deltas
            .iter()
            .filter_map(|delta| delta.tool_call.as_ref())
            .filter(|delta| delta.index == index);
        let arguments: String = of_call.filter_map(|delta| delta.arguments.as_deref()).collect();
        assert_eq!(arguments, call.function.arguments, "call {index}");
    }
}

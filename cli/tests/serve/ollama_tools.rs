//! Tools on `/api/chat`.

use serde_json::{Value, json};

use crate::serve::backend::{Event, Finish};
use crate::support::{Scripted, Server, call_arguments, call_start, done, greeting, started};

fn weather() -> Value {
    json!([{ "type": "function", "function": { "name": "weather", "description": "The weather.",
        "parameters": { "type": "object", "required": ["city"],
            "properties": { "city": { "type": ["string", "null"] }, "days": { "type": "integer" } } } } }])
}

fn two_calls() -> Vec<Event> {
    vec![
        started(),
        call_start(0, "call_a", "add"),
        call_arguments(0, "{\"x\""),
        call_arguments(0, ":1}"),
        call_start(1, "", "now"),
        done(Finish::ToolCalls),
    ]
}

// L10
#[tokio::test]
async fn every_call_is_one_line_with_its_arguments_as_an_object() {
    let lines = Server::answering(two_calls())
        .api_chat(json!({ "tools": weather() }))
        .await
        .lines();
    assert_eq!(lines.len(), 3);
    let first = json!({ "role": "assistant", "content": "", "tool_calls": [
        { "id": "call_a", "function": { "index": 0, "name": "add", "arguments": { "x": 1 } } }] });
    assert_eq!(lines[0]["message"], first);
    let second = &lines[1]["message"]["tool_calls"][0];
    assert!(second["id"].as_str().unwrap().starts_with("call_"));
    assert_eq!(
        second["function"],
        json!({ "index": 1, "name": "now", "arguments": {} })
    );
    assert_eq!(lines[2]["done_reason"], "stop");
    assert_eq!(lines[2]["message"]["content"], "");
}

// L10
#[tokio::test]
async fn a_whole_answer_has_all_calls() {
    let answer = Server::answering(two_calls())
        .api_chat(json!({ "stream": false }))
        .await
        .json();
    let calls = answer["message"]["tool_calls"].as_array().unwrap();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0]["function"]["arguments"], json!({ "x": 1 }));
    assert_eq!(answer["message"]["content"], "");
}

// L6, L10
#[tokio::test]
async fn a_call_that_was_cut_off_comes_back_as_text() {
    let events = vec![
        started(),
        call_start(0, "", "add"),
        call_arguments(0, "{\"x\": 1"),
        done(Finish::Length),
    ];
    let server = Server::answering(events);
    let lines = server.api_chat(json!({})).await.lines();
    assert_eq!(
        lines[0]["message"],
        json!({ "role": "assistant", "content": "{\"x\": 1" })
    );
    assert_eq!(lines[1]["done_reason"], "length");
    let whole = server.api_chat(json!({ "stream": false })).await.json();
    assert_eq!(whole["message"]["content"], "{\"x\": 1");
}

// L10
#[tokio::test]
async fn tools_reach_the_template_as_they_are() {
    let server = Server::answering(greeting());
    server.api_chat(json!({ "tools": weather() })).await.lines();
    assert_eq!(server.backend.chat_job().prompt.tools, Some(weather()));
}

// L10
#[tokio::test]
async fn calls_and_results_in_the_history_reach_the_template_in_openais_form() {
    let server = Server::answering(greeting());
    let messages = json!([
        { "role": "user", "content": "Weather?" },
        { "role": "assistant", "thinking": "I ask.", "tool_calls": [
            { "id": "call_a", "function": { "index": 0, "name": "weather", "arguments": { "city": "Rome" } } }] },
        { "role": "tool", "content": "sunny", "tool_name": "weather", "tool_call_id": "call_a" },
    ]);
    server.api_chat(json!({ "messages": messages })).await.lines();
    let seen = server.backend.chat_job().prompt.messages;
    let call = json!({ "id": "call_a", "type": "function",
        "function": { "name": "weather", "arguments": "{\"city\":\"Rome\"}" } });
    assert_eq!(seen[1]["tool_calls"], json!([call]));
    assert_eq!(seen[1]["reasoning_content"], "I ask.");
    assert_eq!(
        seen[2],
        json!({ "role": "tool", "content": "sunny", "tool_call_id": "call_a", "name": "weather" })
    );
}

// L10
#[tokio::test]
async fn a_model_without_tools_refuses_them() {
    let mut backend = Scripted::answering(greeting());
    backend.cards[0].abilities.tools = false;
    let server = Server::new(backend);
    let text = server.api_chat(json!({ "tools": weather() })).await.says(400);
    assert_eq!(text, "\"tiny\" does not support tools");
    server.api_chat(json!({ "tools": [] })).await.lines();
}

//! What a chat request may look like, and what the backend sees of it.

use serde_json::{Value, json};

use crate::serve::backend::ChatPrompt;
use crate::support::{Server, greeting};

async fn prompt(extra: Value) -> ChatPrompt {
    let server = Server::answering(greeting());
    let reply = server.chat(extra).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    server.backend.chat_job().prompt
}

/// The message as the backend sees it.
async fn normal(message: Value) -> Value {
    prompt(json!({ "messages": [message] })).await.messages[0].clone()
}

async fn refused(message: Value, param: &str) {
    Server::answering(greeting())
        .chat(json!({ "messages": [message] }))
        .await
        .refuses(param);
}

// O13
#[tokio::test]
async fn content_may_be_a_string_or_text_parts() {
    assert_eq!(normal(json!({ "role": "user", "content": "a" })).await["content"], "a");
    let parts = json!([{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }]);
    assert_eq!(
        normal(json!({ "role": "user", "content": parts })).await["content"],
        parts
    );
}

// O13
#[tokio::test]
async fn content_may_be_null_beside_tool_calls() {
    let function = json!({ "name": "f", "arguments": "{}" });
    let call = json!({ "id": "call_a", "type": "function", "function": function });
    let message = json!({ "role": "assistant", "content": null, "tool_calls": [call] });
    assert_eq!(normal(message.clone()).await, message);
}

#[tokio::test]
async fn an_empty_answer_in_the_history_is_an_empty_text() {
    let message = json!({ "role": "assistant", "content": null, "tool_calls": [] });
    assert_eq!(normal(message).await, json!({ "role": "assistant", "content": "" }));
}

// O6
#[tokio::test]
async fn arguments_in_the_history_may_be_an_object() {
    let call = json!({ "function": { "name": "f", "arguments": { "x": 1 } } });
    let seen = normal(json!({ "role": "assistant", "tool_calls": [call] })).await;
    assert_eq!(seen["tool_calls"][0]["function"]["arguments"], "{\"x\":1}");
    assert_eq!(seen["tool_calls"][0]["type"], "function");
}

// O13
#[tokio::test]
async fn a_developer_is_the_system() {
    assert_eq!(
        normal(json!({ "role": "developer", "content": "a" })).await["role"],
        "system"
    );
}

#[tokio::test]
async fn reasoning_in_the_history_goes_by_either_name() {
    for name in ["reasoning", "reasoning_content"] {
        let seen = normal(json!({ "role": "assistant", "content": "a", name: "hm" })).await;
        assert_eq!(seen["reasoning_content"], "hm");
    }
}

#[tokio::test]
async fn the_result_of_a_tool_keeps_its_id() {
    let message = json!({ "role": "tool", "content": "4", "tool_call_id": "call_a" });
    assert_eq!(normal(message.clone()).await, message);
}

// O9
#[tokio::test]
async fn malformed_messages_are_refused_with_their_place() {
    refused(json!("hello"), "messages[0]").await;
    refused(json!({ "content": "a" }), "messages[0].role").await;
    refused(json!({ "role": "user" }), "messages[0].content").await;
    refused(json!({ "role": "user", "content": 5 }), "messages[0].content").await;
    refused(
        json!({ "role": "user", "content": [{ "type": "text" }] }),
        "messages[0].content[0]",
    )
    .await;
    refused(
        json!({ "role": "user", "content": [{ "type": "video" }] }),
        "messages[0].content[0]",
    )
    .await;
    refused(
        json!({ "role": "assistant", "tool_calls": 1 }),
        "messages[0].tool_calls",
    )
    .await;
    refused(
        json!({ "role": "assistant", "tool_calls": [{}] }),
        "messages[0].tool_calls[0]",
    )
    .await;
}

#[tokio::test]
async fn messages_are_required() {
    let server = Server::answering(greeting());
    for messages in [json!(null), json!([]), json!("hello")] {
        server.chat(json!({ "messages": messages })).await.refuses("messages");
    }
}

// O13
#[tokio::test]
async fn an_image_is_refused_by_a_model_that_cannot_see() {
    let part = json!({ "type": "image_url", "image_url": { "url": "data:image/png;base64,AA==" } });
    refused(json!({ "role": "user", "content": [part] }), "messages[0].content[0]").await;
}

// O13
#[tokio::test]
async fn audio_is_refused_by_a_model_that_cannot_hear_and_named() {
    let part = json!({ "type": "input_audio", "input_audio": { "data": "AA==", "format": "wav" } });
    let content = json!([{ "type": "text", "text": "What is this?" }, part]);
    refused(json!({ "role": "user", "content": content }), "messages[0].content[1]").await;
}

fn tools() -> Value {
    let tool = |name: &str| json!({ "type": "function", "function": { "name": name, "parameters": {} } });
    json!([tool("add"), tool("sub")])
}

#[tokio::test]
async fn tools_and_the_choice_among_them_arrive() {
    for choice in ["auto", "none", "required"] {
        let prompt = prompt(json!({ "tools": tools(), "tool_choice": choice })).await;
        assert_eq!(prompt.tools, Some(tools()));
        assert_eq!(prompt.tool_choice.as_deref(), Some(choice));
    }
}

#[tokio::test]
async fn a_named_tool_is_the_only_one_and_required() {
    let choice = json!({ "type": "function", "function": { "name": "sub" } });
    let prompt = prompt(json!({ "tools": tools(), "tool_choice": choice })).await;
    assert_eq!(prompt.tools, Some(json!([tools()[1]])));
    assert_eq!(prompt.tool_choice.as_deref(), Some("required"));
}

#[tokio::test]
async fn a_choice_that_cannot_be_met_is_refused() {
    let server = Server::answering(greeting());
    let named = json!({ "type": "function", "function": { "name": "mul" } });
    for choice in [named, json!("sometimes"), json!({}), json!(5)] {
        let body = json!({ "tools": tools(), "tool_choice": choice });
        server.chat(body).await.refuses("tool_choice");
    }
    server
        .chat(json!({ "tool_choice": "required" }))
        .await
        .refuses("tool_choice");
}

#[tokio::test]
async fn malformed_tools_are_refused_with_their_place() {
    let server = Server::answering(greeting());
    for (tool, param) in [
        (json!({ "type": "web_search" }), "tools[0]"),
        (json!({ "type": "function", "function": {} }), "tools[0].function.name"),
        (
            json!({ "function": { "name": "f", "parameters": 5 } }),
            "tools[0].function.parameters",
        ),
    ] {
        server.chat(json!({ "tools": [tool] })).await.refuses(param);
    }
    let grammar = json!({ "tools": tools(), "grammar": "root ::= \"x\"" });
    server.chat(grammar).await.refuses("grammar");
}

#[tokio::test]
async fn reasoning_can_be_turned_off_and_tuned() {
    for (body, thinking, effort) in [
        (json!({}), None, None),
        (json!({ "reasoning_effort": "high" }), None, Some("high")),
        (json!({ "reasoning_effort": "none" }), Some(false), None),
        (json!({ "think": false }), Some(false), None),
        (json!({ "think": "low" }), Some(true), Some("low")),
    ] {
        let prompt = prompt(body).await;
        assert_eq!(
            (prompt.thinking, prompt.reasoning_effort.as_deref()),
            (thinking, effort)
        );
    }
}

#[tokio::test]
async fn the_template_input_is_one_object() {
    let body = json!({
        "tools": tools(),
        "parallel_tool_calls": false,
        "think": true,
        "chat_template_kwargs": { "date": "today" },
    });
    let input = prompt(body).await.to_json();
    let expected = json!({
        "messages": [{ "role": "user", "content": "hello" }],
        "tools": tools(),
        "parallel_tool_calls": false,
        "chat_template_kwargs": { "date": "today", "enable_thinking": true },
    });
    assert_eq!(input, expected);
}

#[tokio::test]
async fn a_template_variable_that_is_named_wins() {
    let body = json!({ "think": true, "chat_template_kwargs": { "enable_thinking": false } });
    let input = prompt(body).await.to_json();
    assert_eq!(input["chat_template_kwargs"]["enable_thinking"], false);
}

#[tokio::test]
async fn a_last_message_of_the_assistant_is_gone_on_with() {
    let open = json!([{ "role": "user", "content": "q" }, { "role": "assistant", "content": "The " }]);
    assert!(prompt(json!({ "messages": open })).await.continue_last);
    assert!(
        !prompt(json!({ "messages": open, "continue_final_message": false }))
            .await
            .continue_last
    );
    assert!(!prompt(json!({})).await.continue_last);
    let server = Server::answering(greeting());
    let reply = server.chat(json!({ "continue_final_message": true })).await;
    reply.refuses("continue_final_message");
}

#[tokio::test]
async fn the_format_of_reasoning_has_llama_servers_names() {
    let format = prompt(json!({ "reasoning_format": "none" })).await.reasoning_format;
    assert_eq!(format.as_deref(), Some("none"));
    let reply = Server::answering(greeting())
        .chat(json!({ "reasoning_format": "xml" }))
        .await;
    reply.refuses("reasoning_format");
}

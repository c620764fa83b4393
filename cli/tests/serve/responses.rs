//! `/v1/responses`: what the SDKs parse.

use serde_json::{Value, json};

use crate::serve::backend::{BackendError, ChatJob, Constraint, Event, Finish};
use crate::support::{
    Reply, Scripted, Server, Step, call_arguments, call_start, done, greeting, likely, merge, started,
};

const PATH: &str = "/v1/responses";

async fn respond(events: Vec<Event>, extra: Value) -> Reply {
    Server::answering(events)
        .post(PATH, merge(json!({ "input": "hello" }), extra))
        .await
}

async fn job(extra: Value) -> ChatJob {
    let server = Server::answering(greeting());
    let reply = server.post(PATH, merge(json!({ "input": "hello" }), extra)).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    server.backend.chat_job()
}

async fn messages(input: Value) -> Value {
    job(json!({ "input": input })).await.prompt.messages
}

async fn refused(extra: Value, param: &str) {
    respond(greeting(), extra).await.refuses(param);
}

/// The events of a stream: name and data.
fn events(reply: &Reply) -> Vec<(String, Value)> {
    assert_eq!(reply.status, 200, "{}", reply.text);
    let whole = reply.text.strip_suffix("\n\n").expect("the last event is complete");
    let event = |event: &str| {
        let (name, data) = event.split_once('\n').expect("two lines");
        let name = name.strip_prefix("event: ").expect("a name").to_owned();
        let data = data.strip_prefix("data: ").expect("data");
        (name, serde_json::from_str(data).unwrap())
    };
    whole.split("\n\n").map(event).collect()
}

fn names(events: &[(String, Value)]) -> Vec<&str> {
    events.iter().map(|(name, _)| name.as_str()).collect()
}

fn tool(name: &str) -> Value {
    json!({ "type": "function", "name": name, "description": "d", "parameters": { "type": "object" }, "strict": true })
}

// O4
#[tokio::test]
async fn a_whole_answer_is_a_response_with_one_message() {
    let answer = respond(greeting(), json!({ "metadata": { "a": "b" }, "store": true }))
        .await
        .json();
    assert!(answer["id"].as_str().unwrap().starts_with("resp_"));
    assert_eq!(answer["object"], "response");
    assert!(answer["created_at"].is_u64());
    assert_eq!(answer["status"], "completed");
    assert_eq!(answer["metadata"], json!({ "a": "b" }));
    for absent in ["error", "incomplete_details", "previous_response_id"] {
        assert_eq!(answer.get(absent), Some(&Value::Null), "{absent}");
    }
    assert_eq!(answer["store"], false, "nothing is stored, whatever was asked");
    let [item] = answer["output"].as_array().unwrap().as_slice() else {
        panic!("{answer}");
    };
    assert!(item["id"].as_str().unwrap().starts_with("msg_"));
    assert_eq!(
        (&item["type"], &item["role"], &item["status"]),
        (&json!("message"), &json!("assistant"), &json!("completed"))
    );
    assert_eq!(
        item["content"],
        json!([{ "type": "output_text", "text": "Hello!", "annotations": [], "logprobs": [] }])
    );
    assert_eq!(
        answer["usage"],
        json!({
            "input_tokens": 9,
            "input_tokens_details": { "cached_tokens": 4, "cache_write_tokens": 5 },
            "output_tokens": 3,
            "output_tokens_details": { "reasoning_tokens": 1 },
            "total_tokens": 12,
        })
    );
}

// O1
#[tokio::test]
async fn a_stream_has_named_numbered_events_and_no_done() {
    let reply = respond(greeting(), json!({ "stream": true })).await;
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    assert!(!reply.text.contains("[DONE]"));
    let events = events(&reply);
    assert_eq!(
        names(&events),
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    for (at, (name, data)) in events.iter().enumerate() {
        assert_eq!(data["type"], *name);
        assert_eq!(data["sequence_number"], at);
    }
    let deltas: String = events.iter().filter_map(|(_, data)| data["delta"].as_str()).collect();
    assert_eq!(deltas, "Hello!");
    let (item, last) = (&events[8].1["item"], &events[9].1["response"]);
    assert_eq!(last["output"][0], *item);
    assert_eq!(last["usage"]["total_tokens"], 12);
    assert_eq!(events[0].1["response"]["id"], last["id"]);
    assert_eq!(events[0].1["response"]["status"], "in_progress");
}

#[tokio::test]
async fn what_is_streamed_comes_to_the_whole_answer() {
    let answer = [
        started(),
        Event::Reasoning("hmm".into()),
        Event::text("well"),
        call_start(0, "call_a", "f"),
        call_arguments(0, r#"{"x":"#),
        call_arguments(0, "1}"),
        call_start(1, "", "g"),
        done(Finish::ToolCalls),
    ];
    let whole = respond(answer.to_vec(), json!({})).await.json();
    let reply = respond(answer.to_vec(), json!({ "stream": true })).await;
    let streamed = &events(&reply).pop().unwrap().1["response"];
    let without_ids = |response: &Value| -> Vec<Value> {
        let mut items = response["output"].as_array().unwrap().clone();
        for item in &mut items {
            item.as_object_mut().unwrap().remove("id");
            if item["call_id"] != "call_a" {
                item.as_object_mut().unwrap().remove("call_id");
            }
        }
        items
    };
    assert_eq!(without_ids(&whole), without_ids(streamed));
    let kinds: Vec<&str> = whole["output"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["reasoning", "message", "function_call", "function_call"]);
}

// O6
#[tokio::test]
async fn parallel_calls_are_items_with_ids_of_their_own() {
    let answer = vec![
        started(),
        call_start(0, "", "f"),
        call_arguments(0, r#"{"x":1}"#),
        call_start(1, "", "g"),
        done(Finish::ToolCalls),
    ];
    let reply = respond(answer, json!({ "stream": true })).await;
    let events = events(&reply);
    let done: Vec<&Value> = events
        .iter()
        .filter(|(name, _)| name == "response.function_call_arguments.done")
        .map(|(_, data)| data)
        .collect();
    assert_eq!(
        (&done[0]["arguments"], &done[0]["output_index"]),
        (&json!(r#"{"x":1}"#), &json!(0))
    );
    assert_eq!(
        (&done[1]["arguments"], &done[1]["output_index"]),
        (&json!("{}"), &json!(1))
    );
    let calls = events.last().unwrap().1["response"]["output"].clone();
    assert_ne!(calls[0]["id"], calls[1]["id"]);
    assert_ne!(calls[0]["call_id"], calls[1]["call_id"]);
    assert!(calls[0]["id"].as_str().unwrap().starts_with("fc_"));
    assert!(calls[0]["call_id"].as_str().unwrap().starts_with("call_"));
    assert_eq!(calls[0]["name"], "f");
}

#[tokio::test]
async fn reasoning_is_an_item_before_the_message() {
    let answer = vec![
        started(),
        Event::Reasoning("hm".into()),
        Event::Reasoning("m".into()),
        Event::text("yes"),
        done(Finish::Stop),
    ];
    let reply = respond(answer, json!({ "stream": true })).await;
    let events = events(&reply);
    let item = &events.last().unwrap().1["response"]["output"][0];
    assert!(item["id"].as_str().unwrap().starts_with("rs_"));
    assert_eq!(item["content"], json!([{ "type": "reasoning_text", "text": "hmm" }]));
    assert_eq!(item["summary"], json!([]));
    assert!(names(&events).contains(&"response.reasoning_text.delta"));
    assert!(names(&events).contains(&"response.reasoning_text.done"));
}

// O5
#[tokio::test]
async fn an_answer_that_was_cut_is_incomplete() {
    let cut = vec![started(), Event::text("Hel"), done(Finish::Length)];
    let whole = respond(cut.clone(), json!({})).await.json();
    assert_eq!(whole["status"], "incomplete");
    assert_eq!(whole["incomplete_details"], json!({ "reason": "max_output_tokens" }));
    assert_eq!(whole["output"][0]["status"], "incomplete");
    let reply = respond(cut, json!({ "stream": true })).await;
    assert_eq!(events(&reply).last().unwrap().0, "response.incomplete");
}

// O2
#[tokio::test]
async fn an_error_before_the_answer_has_its_status_and_one_after_is_the_last_event() {
    let server = Server::new(Scripted::refusing(BackendError::ContextOverflow {
        n_prompt: 9,
        n_ctx: 4,
    }));
    let reply = server.post(PATH, json!({ "input": "x", "stream": true })).await;
    reply.error(400, "exceed_context_size_error");

    let broken = vec![
        started(),
        Event::text("Hel"),
        Event::Failed(BackendError::internal("the engine failed", "secret")),
    ];
    let reply = respond(broken.clone(), json!({ "stream": true })).await;
    assert!(!reply.text.contains("secret"));
    let (name, data) = events(&reply).pop().unwrap();
    assert_eq!(name, "response.failed");
    assert_eq!(data["response"]["status"], "failed");
    assert_eq!(
        data["response"]["error"],
        json!({ "code": "server_error", "message": "the engine failed" })
    );
    respond(broken, json!({})).await.error(500, "server_error");
}

// O17
#[tokio::test]
async fn hanging_up_cancels() {
    let server = Server::new(Scripted::playing([vec![
        started().into(),
        Event::text("a").into(),
        Step::Hang,
    ]]));
    let response = server.open(PATH, json!({ "input": "x", "stream": true })).await;
    assert_eq!(server.backend.running(), 1);
    drop(response);
    server.backend.all_cancelled().await;
}

#[tokio::test]
async fn log_probabilities_come_when_included() {
    let answer = || vec![started(), likely("Hi", -0.5), done(Finish::Stop)];
    let extra = json!({ "include": ["message.output_text.logprobs"], "top_logprobs": 1 });
    let whole = respond(answer(), extra.clone()).await.json();
    let token = &whole["output"][0]["content"][0]["logprobs"][0];
    assert_eq!((&token["token"], &token["logprob"]), (&json!("Hi"), &json!(-0.5)));
    assert_eq!(token["top_logprobs"][0]["token"], "Hi");
    let reply = respond(answer(), merge(extra.clone(), json!({ "stream": true }))).await;
    assert_eq!(events(&reply)[4].1["logprobs"][0]["token"], "Hi");
    assert_eq!(job(extra).await.generation.logprobs, Some(1));
    assert_eq!(job(json!({})).await.generation.logprobs, None);
}

// O13
#[tokio::test]
async fn instructions_and_developer_messages_are_one_system_message() {
    let input = json!([
        { "role": "developer", "content": [{ "type": "input_text", "text": "B" }] },
        { "type": "message", "role": "user", "content": [{ "type": "input_text", "text": "hi" }] },
    ]);
    let job = job(json!({ "instructions": "A", "input": input })).await;
    assert_eq!(
        job.prompt.messages,
        json!([
            { "role": "system", "content": "A\n\nB" },
            { "role": "user", "content": [{ "type": "text", "text": "hi" }] },
        ])
    );
}

#[tokio::test]
async fn the_items_of_an_answer_go_back_as_one_turn() {
    let input = json!([
        { "role": "user", "content": "q" },
        { "type": "reasoning", "id": "rs_1", "summary": [], "content": [{ "type": "reasoning_text", "text": "hmm" }] },
        { "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": "ok" }] },
        { "type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}" },
        { "type": "function_call", "call_id": "c2", "name": "g", "arguments": "{\"x\":1}" },
        { "type": "function_call_output", "call_id": "c1", "output": "1" },
        { "type": "function_call_output", "call_id": "c2", "output": [{ "type": "input_text", "text": "2" }] },
    ]);
    let call = |id: &str, name: &str, arguments: &str| json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } });
    assert_eq!(
        messages(input).await,
        json!([
            { "role": "user", "content": "q" },
            {
                "role": "assistant",
                "content": [{ "type": "text", "text": "ok" }],
                "reasoning_content": "hmm",
                "tool_calls": [call("c1", "f", "{}"), call("c2", "g", "{\"x\":1}")],
            },
            { "role": "tool", "tool_call_id": "c1", "content": "1" },
            { "role": "tool", "tool_call_id": "c2", "content": [{ "type": "text", "text": "2" }] },
        ])
    );
}

#[tokio::test]
async fn a_call_right_after_reasoning_has_no_content() {
    let input = json!([
        { "type": "reasoning", "summary": [{ "type": "summary_text", "text": "hmm" }] },
        { "type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}" },
    ]);
    let messages = messages(input).await;
    assert_eq!(messages.as_array().unwrap().len(), 1);
    assert_eq!(
        (&messages[0]["content"], &messages[0]["reasoning_content"]),
        (&Value::Null, &json!("hmm"))
    );
}

#[tokio::test]
async fn malformed_input_is_refused_with_its_place() {
    refused(json!({ "input": null }), "input").await;
    refused(json!({ "input": [] }), "input").await;
    refused(json!({ "input": 7 }), "input").await;
    refused(
        json!({ "input": [{ "role": "user", "content": 7 }] }),
        "input[0].content",
    )
    .await;
    refused(
        json!({ "input": [{ "role": "judge", "content": "x" }] }),
        "input[0].role",
    )
    .await;
    refused(
        json!({ "input": [{ "type": "function_call", "call_id": "c", "name": "f" }] }),
        "input[0].arguments",
    )
    .await;
    refused(json!({ "input": [{ "type": "computer_call" }] }), "input[0]").await;
    let image = json!([{ "role": "user", "content": [{ "type": "input_image", "image_url": "data:," }] }]);
    refused(json!({ "input": image }), "input[0].content[0]").await;
}

#[tokio::test]
async fn what_would_need_a_store_is_refused_by_name() {
    refused(json!({ "previous_response_id": "resp_1" }), "previous_response_id").await;
    refused(json!({ "conversation": "conv_1" }), "conversation").await;
    refused(json!({ "background": true }), "background").await;
    refused(json!({ "prompt": { "id": "pmpt_1" } }), "prompt").await;
    refused(
        json!({ "input": [{ "type": "item_reference", "id": "msg_1" }] }),
        "input[0]",
    )
    .await;
}

#[tokio::test]
async fn tools_arrive_in_the_form_of_chat_completions() {
    let server = Server::answering(greeting());
    let body = json!({ "input": "x", "tools": [tool("f"), { "type": "web_search" }], "parallel_tool_calls": false });
    let answer = server.post(PATH, body).await.json();
    let prompt = server.backend.chat_job().prompt;
    assert_eq!(
        prompt.tools,
        Some(json!([{ "type": "function", "function": {
            "name": "f", "description": "d", "parameters": { "type": "object" }, "strict": true } }]))
    );
    assert_eq!(prompt.parallel_tool_calls, Some(false));
    assert_eq!(
        answer["tools"],
        json!([tool("f")]),
        "hosted tools are left out, and the answer says so"
    );
}

#[tokio::test]
async fn the_choice_among_tools_is_kept_narrowed_or_refused() {
    let chosen = async |choice: Value| {
        let prompt = job(json!({ "tools": [tool("f"), tool("g")], "tool_choice": choice }))
            .await
            .prompt;
        let offered = prompt.tools.unwrap();
        let names: Vec<String> = offered
            .as_array()
            .unwrap()
            .iter()
            .map(|tool| tool["function"]["name"].as_str().unwrap().to_owned())
            .collect();
        (prompt.tool_choice.unwrap(), names.join(","))
    };
    for word in ["auto", "none", "required"] {
        assert_eq!(chosen(json!(word)).await, (word.into(), "f,g".into()));
    }
    assert_eq!(
        chosen(json!({ "type": "function", "name": "g" })).await,
        ("required".into(), "g".into())
    );
    let allowed = json!({ "type": "allowed_tools", "mode": "auto", "tools": [{ "type": "function", "name": "f" }] });
    assert_eq!(chosen(allowed).await, ("auto".into(), "f".into()));

    refused(
        json!({ "tools": [tool("f")], "tool_choice": { "type": "function", "name": "h" } }),
        "tool_choice",
    )
    .await;
    refused(
        json!({ "tools": [tool("f")], "tool_choice": "sometimes" }),
        "tool_choice",
    )
    .await;
    refused(json!({ "tool_choice": "required" }), "tool_choice").await;
    refused(json!({ "tools": [{ "type": "custom", "name": "f" }] }), "tools[0]").await;
    refused(json!({ "tools": [{ "type": "function" }] }), "tools[0].name").await;
}

// O12
#[tokio::test]
async fn limits_and_efforts_arrive() {
    let job =
        job(json!({ "max_output_tokens": 7, "temperature": 0.5, "top_p": 0.9, "reasoning": { "effort": "low" } }))
            .await;
    assert_eq!(job.generation.max_tokens, Some(7));
    assert_eq!(job.generation.sampling.temperature, Some(0.5));
    assert_eq!(job.prompt.reasoning_effort.as_deref(), Some("low"));
    refused(json!({ "max_output_tokens": 0 }), "max_output_tokens").await;
    refused(json!({ "temperature": -1 }), "temperature").await;
    refused(json!({ "truncation": "some" }), "truncation").await;
}

#[tokio::test]
async fn no_effort_is_no_thinking() {
    let job = job(json!({ "reasoning": { "effort": "none" } })).await;
    assert_eq!((job.prompt.thinking, job.prompt.reasoning_effort), (Some(false), None));
}

#[tokio::test]
async fn the_format_of_the_text_becomes_a_constraint() {
    let of = async |format: Value| job(json!({ "text": { "format": format } })).await.generation.constraint;
    let schema = json!({ "type": "object" });
    assert_eq!(of(json!({ "type": "text" })).await, Constraint::Free);
    assert_eq!(of(json!({ "type": "json_object" })).await, Constraint::JsonObject);
    let format = json!({ "type": "json_schema", "name": "x", "schema": schema });
    assert_eq!(of(format).await, Constraint::JsonSchema(schema));
    refused(
        json!({ "text": { "format": { "type": "json_schema" } } }),
        "text.format",
    )
    .await;
    refused(json!({ "text": { "format": { "type": "xml" } } }), "text.format").await;
}

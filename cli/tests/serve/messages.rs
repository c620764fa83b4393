//! `/v1/messages`: what Anthropic's SDKs parse.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use std::time::Duration;

use crate::serve::Settings;
use crate::serve::backend::{BackendError, ChatJob, Constraint, Event, Finish, Health};
use crate::serve::guard::ApiKeys;
use crate::support::{Reply, Scripted, Server, Step, call_arguments, call_start, done, greeting, merge, started};

const PATH: &str = "/v1/messages";

fn body(extra: Value) -> Value {
    let base = json!({ "max_tokens": 50, "messages": [{ "role": "user", "content": "hello" }] });
    merge(base, extra)
}

async fn ask(events: Vec<Event>, extra: Value) -> Reply {
    Server::answering(events).post(PATH, body(extra)).await
}

async fn job(extra: Value) -> ChatJob {
    let server = Server::answering(greeting());
    let reply = server.post(PATH, body(extra)).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    server.backend.chat_job()
}

#[track_caller]
fn assert_error(reply: &Reply, status: u16, kind: &str) -> String {
    assert_eq!(reply.status.as_u16(), status, "{}", reply.text);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let error = reply.json();
    assert_eq!(error["type"], "error");
    assert_eq!(error["error"]["type"], kind);
    error["error"]["message"].as_str().unwrap().to_owned()
}

async fn refused(extra: Value, place: &str) {
    let message = assert_error(&ask(greeting(), extra).await, 400, "invalid_request_error");
    assert!(message.contains(place), "{message}");
}

fn events(reply: &Reply) -> Vec<Value> {
    assert_eq!(reply.status, 200, "{}", reply.text);
    let whole = reply.text.strip_suffix("\n\n").expect("the last event is complete");
    let event = |event: &str| -> Value {
        let (name, data) = event.split_once('\n').expect("two lines");
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(data["type"], name.strip_prefix("event: ").unwrap());
        data
    };
    whole.split("\n\n").map(event).collect()
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

fn tool(name: &str) -> Value {
    json!({ "name": name, "description": "d", "input_schema": { "type": "object" } })
}

fn stopped_by(stop: &str) -> Vec<Event> {
    let Event::Done(mut end) = done(Finish::Stop) else {
        unreachable!()
    };
    end.stop_string = Some(stop.into());
    vec![started(), Event::text("a"), Event::Done(end)]
}

#[tokio::test]
async fn a_whole_answer_is_a_message() {
    let answer = ask(greeting(), json!({})).await.json();
    assert!(answer["id"].as_str().unwrap().starts_with("msg_"));
    assert_eq!(
        (&answer["type"], &answer["role"], &answer["model"]),
        (&json!("message"), &json!("assistant"), &json!("tiny"))
    );
    assert_eq!(answer["content"], json!([{ "type": "text", "text": "Hello!" }]));
    assert_eq!(
        (&answer["stop_reason"], &answer["stop_sequence"]),
        (&json!("end_turn"), &Value::Null)
    );
    assert_eq!(
        answer["usage"],
        json!({ "input_tokens": 5, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4, "output_tokens": 3 }),
        "cached tokens are not among the input tokens"
    );
}

// O1
#[tokio::test]
async fn a_stream_is_a_message_with_blocks_and_no_done() {
    let reply = ask(greeting(), json!({ "stream": true })).await;
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    assert!(!reply.text.contains("[DONE]"));
    let events = events(&reply);
    assert_eq!(
        kinds(&events),
        [
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
    );
    assert_eq!(events[0]["message"]["usage"]["input_tokens"], 5);
    assert_eq!(events[0]["message"]["content"], json!([]));
    assert_eq!(events[1]["content_block"], json!({ "type": "text", "text": "" }));
    assert_eq!(events[2]["delta"], json!({ "type": "text_delta", "text": "Hel" }));
    assert_eq!(
        events[5]["delta"],
        json!({ "stop_reason": "end_turn", "stop_sequence": null })
    );
    assert_eq!(events[5]["usage"]["output_tokens"], 3);
}

#[tokio::test]
async fn thinking_and_calls_are_blocks_one_after_the_other() {
    let answer = vec![
        started(),
        Event::Reasoning("hmm".into()),
        Event::text("well"),
        call_start(0, "call_a", "f"),
        call_arguments(0, r#"{"x":"#),
        call_arguments(0, "1}"),
        call_start(1, "", "g"),
        done(Finish::ToolCalls),
    ];
    let whole = ask(answer.clone(), json!({})).await.json();
    let content = &whole["content"];
    assert_eq!(
        content[0],
        json!({ "type": "thinking", "thinking": "hmm", "signature": "" })
    );
    assert_eq!(content[1], json!({ "type": "text", "text": "well" }));
    assert_eq!(
        content[2],
        json!({ "type": "tool_use", "id": "call_a", "name": "f", "input": { "x": 1 } })
    );
    assert_eq!((&content[3]["name"], &content[3]["input"]), (&json!("g"), &json!({})));
    assert!(content[3]["id"].as_str().unwrap().starts_with("toolu_"));
    assert_eq!(whole["stop_reason"], "tool_use");

    let reply = ask(answer, json!({ "stream": true })).await;
    let events = events(&reply);
    let starts: Vec<&Value> = events
        .iter()
        .filter(|event| event["type"] == "content_block_start")
        .collect();
    let blocks: Vec<&str> = starts
        .iter()
        .map(|event| event["content_block"]["type"].as_str().unwrap())
        .collect();
    assert_eq!(blocks, ["thinking", "text", "tool_use", "tool_use"]);
    assert!(starts.iter().enumerate().all(|(at, event)| event["index"] == at));
    assert_eq!(starts[2]["content_block"]["input"], json!({}));
    let json: String = events
        .iter()
        .filter_map(|event| event["delta"]["partial_json"].as_str())
        .collect();
    assert_eq!(json, r#"{"x":1}"#);
    let stops = events
        .iter()
        .filter(|event| event["type"] == "content_block_stop")
        .count();
    assert_eq!(stops, 4);
    assert!(events.iter().any(|event| event["delta"]["type"] == "signature_delta"));
}

// O5
#[tokio::test]
async fn the_reason_to_stop_is_named() {
    let cut = || vec![started(), Event::text("a"), done(Finish::Length)];
    let whole = async |events, extra| {
        let answer = ask(events, extra).await.json();
        (answer["stop_reason"].clone(), answer["stop_sequence"].clone())
    };
    assert_eq!(
        whole(cut(), json!({ "max_tokens": 3 })).await,
        (json!("max_tokens"), Value::Null)
    );
    let context = (json!("model_context_window_exceeded"), Value::Null);
    assert_eq!(whole(cut(), json!({ "max_tokens": 50 })).await, context);
    let asked = json!({ "stop_sequences": ["END"] });
    assert_eq!(
        whole(stopped_by("END"), asked).await,
        (json!("stop_sequence"), json!("END"))
    );
    let template = stopped_by("<|im_end|>");
    assert_eq!(whole(template, json!({})).await, (json!("end_turn"), Value::Null));
}

#[tokio::test]
async fn a_call_that_was_cut_is_no_call() {
    let cut = vec![
        started(),
        call_start(0, "a", "f"),
        call_arguments(0, r#"{"x":"#),
        done(Finish::Length),
    ];
    let answer = ask(cut, json!({ "max_tokens": 3 })).await.json();
    assert_eq!(answer["content"], json!([]));
    assert_eq!(answer["stop_reason"], "max_tokens");
}

// O2, O10
#[tokio::test]
async fn errors_have_anthropics_shape_types_and_statuses() {
    let failing = async |error| {
        let server = Server::new(Scripted::refusing(error));
        server.post(PATH, body(json!({ "stream": true }))).await
    };
    let reply = failing(BackendError::ContextOverflow { n_prompt: 9, n_ctx: 4 }).await;
    let message = assert_error(&reply, 400, "invalid_request_error");
    assert_eq!(message, "prompt is too long: 9 tokens > 4 maximum");
    let reply = failing(BackendError::Overloaded {
        retry_after: Duration::from_secs(3),
    })
    .await;
    assert_error(&reply, 429, "rate_limit_error");
    assert_eq!(reply.header("retry-after"), Some("3"));
    assert_error(
        &failing(BackendError::UnknownModel("x".into())).await,
        404,
        "not_found_error",
    );
    assert_error(
        &failing(BackendError::internal("broke", "secret")).await,
        500,
        "api_error",
    );

    let loading = Server::new(Scripted::answering(greeting()).with_health(Health::Loading));
    assert_error(&loading.post(PATH, body(json!({}))).await, 529, "overloaded_error");
    let server = Server::answering(greeting());
    let reply = server.send(Request::post(PATH).body(Body::from("{")).unwrap()).await;
    assert_error(&reply, 400, "invalid_request_error");
    assert_error(&server.get(PATH).await, 405, "invalid_request_error");
    let settings = Settings {
        body_limit: 10,
        ..Settings::default()
    };
    let small = Server::with(Scripted::answering(greeting()), settings);
    assert_error(&small.post(PATH, body(json!({}))).await, 413, "request_too_large");
}

#[tokio::test]
async fn an_error_in_a_stream_is_its_last_event() {
    let broken = vec![
        started(),
        Event::text("a"),
        Event::Failed(BackendError::internal("broke", "secret")),
    ];
    let reply = ask(broken, json!({ "stream": true })).await;
    let last = events(&reply).pop().unwrap();
    assert_eq!(
        last,
        json!({ "type": "error", "error": { "type": "api_error", "message": "broke" } })
    );
}

// O16
#[tokio::test]
async fn a_key_may_come_as_anthropics_clients_send_it() {
    let settings = Settings {
        api_keys: ApiKeys::new(["k".to_owned()]),
        ..Settings::default()
    };
    let server = Server::with(Scripted::answering(greeting()), settings);
    let ask = async |key: &str| {
        let request = Request::post(PATH)
            .header("x-api-key", key)
            .body(Body::from(body(json!({})).to_string()));
        server.send(request.unwrap()).await
    };
    assert_eq!(ask("k").await.status, 200);
    assert_error(&ask("wrong").await, 401, "authentication_error");
}

#[tokio::test(start_paused = true)]
async fn a_long_prefill_is_kept_alive_with_ping_events() {
    let script = vec![
        Step::from(started()),
        Step::Sleep(Duration::from_secs(25)),
        Event::text("a").into(),
        done(Finish::Stop).into(),
    ];
    let server = Server::new(Scripted::playing([script]));
    let reply = server.post(PATH, body(json!({ "stream": true }))).await;
    assert!(kinds(&events(&reply)).contains(&"ping"));
}

// O17
#[tokio::test]
async fn hanging_up_cancels() {
    let server = Server::new(Scripted::playing([vec![
        started().into(),
        Event::text("a").into(),
        Step::Hang,
    ]]));
    let response = server.open(PATH, body(json!({ "stream": true }))).await;
    assert_eq!(server.backend.running(), 1);
    drop(response);
    server.backend.all_cancelled().await;
}

#[tokio::test]
async fn blocks_become_the_messages_of_a_chat() {
    let conversation = json!([
        { "role": "user", "content": [{ "type": "text", "text": "q" }] },
        { "role": "assistant", "content": [
            { "type": "thinking", "thinking": "hmm", "signature": "s" },
            { "type": "text", "text": "ok" },
            { "type": "tool_use", "id": "c1", "name": "f", "input": { "x": 1 } },
            { "type": "tool_use", "id": "c2", "name": "g", "input": {} },
        ] },
        { "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": "c1", "content": [{ "type": "text", "text": "1" }] },
            { "type": "tool_result", "tool_use_id": "c2" },
            { "type": "text", "text": "go on" },
        ] },
    ]);
    let system = json!([
        { "type": "text", "text": "x-anthropic-billing-header: cch=1;" },
        { "type": "text", "text": "A", "cache_control": { "type": "ephemeral" } },
        { "type": "text", "text": "B" },
    ]);
    let prompt = job(json!({ "system": system, "messages": conversation })).await.prompt;
    let call = |id: &str, name: &str, arguments: &str| json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } });
    assert_eq!(
        prompt.messages,
        json!([
            { "role": "system", "content": "A\n\nB" },
            { "role": "user", "content": "q" },
            {
                "role": "assistant",
                "content": "ok",
                "reasoning_content": "hmm",
                "tool_calls": [call("c1", "f", r#"{"x":1}"#), call("c2", "g", "{}")],
            },
            { "role": "tool", "tool_call_id": "c1", "content": "1" },
            { "role": "tool", "tool_call_id": "c2", "content": "" },
            { "role": "user", "content": "go on" },
        ])
    );
}

#[tokio::test]
async fn malformed_requests_are_refused_with_their_place() {
    refused(json!({ "max_tokens": null }), "max_tokens").await;
    refused(json!({ "max_tokens": -1 }), "max_tokens").await;
    refused(json!({ "messages": [] }), "messages").await;
    refused(
        json!({ "messages": [{ "role": "judge", "content": "x" }] }),
        "messages[0].role",
    )
    .await;
    refused(
        json!({ "messages": [{ "role": "user", "content": 7 }] }),
        "messages[0].content",
    )
    .await;
    let block = |block: Value| json!({ "messages": [{ "role": "user", "content": [block] }] });
    refused(
        block(json!({ "type": "image", "source": {} })),
        "messages[0].content[0]",
    )
    .await;
    refused(
        block(json!({ "type": "document", "source": { "type": "base64" } })),
        "messages[0].content[0]",
    )
    .await;
    refused(block(json!({ "text": "x" })), "messages[0].content[0].type").await;
    refused(block(json!({ "type": "tool_result" })), "tool_use_id").await;
    refused(json!({ "stop_sequences": [7] }), "stop_sequences").await;
    refused(json!({ "thinking": { "type": "enabled" } }), "budget_tokens").await;
    refused(json!({ "mcp_servers": [{}] }), "mcp_servers").await;
    refused(
        json!({ "tools": [{ "type": "web_search_20250305", "name": "web_search" }] }),
        "tools[0]",
    )
    .await;
    refused(json!({ "tools": [{ "name": "f" }] }), "tools[0].input_schema").await;
}

#[tokio::test]
async fn tools_and_the_choice_among_them_arrive() {
    let chosen = async |choice: Value| {
        let prompt = job(json!({ "tools": [tool("f"), tool("g")], "tool_choice": choice }))
            .await
            .prompt;
        let count = prompt.tools.unwrap().as_array().unwrap().len();
        (prompt.tool_choice.unwrap(), count, prompt.parallel_tool_calls)
    };
    assert_eq!(chosen(json!({ "type": "auto" })).await, ("auto".into(), 2, None));
    assert_eq!(chosen(json!({ "type": "none" })).await, ("none".into(), 2, None));
    let any = json!({ "type": "any", "disable_parallel_tool_use": true });
    assert_eq!(chosen(any).await, ("required".into(), 2, Some(false)));
    assert_eq!(
        chosen(json!({ "type": "tool", "name": "g" })).await,
        ("required".into(), 1, None)
    );
    refused(
        json!({ "tools": [tool("f")], "tool_choice": { "type": "tool", "name": "h" } }),
        "tool_choice",
    )
    .await;
    refused(json!({ "tool_choice": { "type": "any" } }), "tool_choice").await;
    let prompt = job(json!({ "tools": [tool("f")] })).await.prompt;
    assert_eq!(
        prompt.tools,
        Some(json!([{ "type": "function", "function": {
            "name": "f", "parameters": { "type": "object" }, "description": "d" } }]))
    );
}

#[tokio::test]
async fn sampling_limits_and_stops_arrive() {
    let job =
        job(json!({ "temperature": 0.5, "top_p": 0.9, "top_k": 5, "stop_sequences": ["a", "b"], "max_tokens": 7 }))
            .await;
    let sampling = &job.generation.sampling;
    assert_eq!(
        (sampling.temperature, sampling.top_p, sampling.top_k),
        (Some(0.5), Some(0.9), Some(5))
    );
    assert_eq!(job.generation.stop, ["a", "b"]);
    assert_eq!(job.generation.max_tokens, Some(7));
}

#[tokio::test]
async fn thinking_is_off_unless_asked_for_and_has_a_budget() {
    assert_eq!(job(json!({})).await.prompt.thinking, Some(false));
    let enabled = job(json!({ "thinking": { "type": "enabled", "budget_tokens": 1024 } })).await;
    assert_eq!(
        (enabled.prompt.thinking, enabled.generation.sampling.reasoning_budget),
        (Some(true), Some(1024))
    );
    assert_eq!(
        job(json!({ "thinking": { "type": "adaptive" } })).await.prompt.thinking,
        Some(true)
    );
}

#[tokio::test]
async fn an_output_format_is_a_constraint() {
    let schema = json!({ "type": "object" });
    let config = json!({ "effort": "low", "format": { "type": "json_schema", "schema": schema } });
    let job = job(json!({ "output_config": config })).await;
    assert_eq!(job.generation.constraint, Constraint::JsonSchema(schema));
    assert_eq!(job.prompt.reasoning_effort.as_deref(), Some("low"));
}

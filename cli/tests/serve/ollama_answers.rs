//! `/api/generate` and `/api/chat`: the lines and objects that come back.

use std::time::Duration;

use axum::response::Response;
use futures::StreamExt;
use serde_json::{Value, json};

use crate::serve::backend::{BackendError, Event, Finish};
use crate::support::{Scripted, Server, Step, done, greeting, hello, likely, merge, started};

/// The counters that are there in every last line.
const COUNTERS: [&str; 6] = [
    "total_duration",
    "load_duration",
    "prompt_eval_count",
    "prompt_eval_duration",
    "eval_count",
    "eval_duration",
];

fn without(mut line: Value, names: &[&str]) -> Value {
    for name in names {
        line.as_object_mut().unwrap().remove(*name).expect(name);
    }
    line
}

// L2
#[tokio::test]
async fn answers_stream_unless_told_not_to() {
    let server = Server::answering(greeting());
    for reply in [server.api_chat(json!({})).await, server.api_generate(json!({})).await] {
        assert_eq!(reply.lines().len(), 3);
    }
    let reply = server.api_chat(json!({ "stream": false })).await;
    assert_eq!(reply.header("content-type"), Some("application/json; charset=utf-8"));
    assert_eq!(reply.json()["message"]["content"], "Hello!");
}

// L2
#[tokio::test]
async fn every_line_leaves_as_one_chunk() {
    let server = Server::answering(greeting());
    let body = merge(hello(), json!({ "model": "tiny" }));
    let response: Response = server.open("/api/chat", body).await;
    let mut chunks = response.into_body().into_data_stream();
    let mut count = 0;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.unwrap();
        let (end, line) = chunk.split_last().unwrap();
        assert_eq!(*end, b'\n');
        serde_json::from_slice::<Value>(line).unwrap();
        count += 1;
    }
    assert_eq!(count, 3);
}

// L3
#[tokio::test]
async fn generate_streams_the_text_as_response() {
    let lines = Server::answering(greeting()).api_generate(json!({})).await.lines();
    let first = without(lines[0].clone(), &["created_at"]);
    assert_eq!(first, json!({ "model": "tiny", "response": "Hel", "done": false }));
    assert_eq!(lines[1]["response"], "lo!");
}

// L3
#[tokio::test]
async fn the_last_line_of_generate_has_context_and_counters() {
    let lines = Server::answering(greeting()).api_generate(json!({})).await.lines();
    let times = ["created_at", "total_duration", "context"];
    let last = without(lines[2].clone(), &times);
    let expected = json!({
        "model": "tiny", "response": "", "done": true, "done_reason": "stop",
        "load_duration": 0, "prompt_eval_count": 9, "prompt_eval_duration": 10_000_000,
        "eval_count": 3, "eval_duration": 60_000_000,
    });
    assert_eq!(last, expected);
    assert!(lines[2]["total_duration"].as_u64().unwrap() > 0);
    // The scripted tokens are bytes: the rendered prompt, and the answer.
    let context: Vec<u8> = serde_json::from_value(lines[2]["context"].clone()).unwrap();
    assert_eq!(String::from_utf8(context).unwrap(), "user:Once\nHello!");
}

// L4
#[tokio::test]
async fn chat_streams_messages_and_ends_with_an_empty_one() {
    let lines = Server::answering(greeting()).api_chat(json!({})).await.lines();
    let message = |content: &str| json!({ "role": "assistant", "content": content });
    let first = without(lines[0].clone(), &["created_at"]);
    assert_eq!(
        first,
        json!({ "model": "tiny", "message": message("Hel"), "done": false })
    );
    assert_eq!(lines[2]["message"], message(""));
    assert_eq!(lines[2]["done_reason"], "stop");
    assert!(lines[2].get("context").is_none());
    assert!(COUNTERS.iter().all(|name| lines[2][name].is_u64()));
}

// L5
#[tokio::test]
async fn times_are_rfc3339_with_nanoseconds_and_z() {
    for line in Server::answering(greeting()).api_chat(json!({})).await.lines() {
        let time = line["created_at"].as_str().unwrap();
        let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000-00-00T00:00:00.000000000Z");
    }
}

// L5
#[tokio::test]
async fn the_model_is_echoed_as_it_was_asked_for() {
    let server = Server::answering(greeting());
    for model in ["tiny", "tiny:latest"] {
        let lines = server.api_chat(json!({ "model": model })).await.lines();
        assert!(lines.iter().all(|line| line["model"] == model));
        assert_eq!(server.backend.chats().last().unwrap().generation.model, "tiny");
    }
}

// L5
#[tokio::test]
async fn all_counters_are_there_also_when_zero() {
    let empty = Event::Done(Box::new(crate::serve::backend::Done {
        finish: Finish::Stop,
        stop_string: None,
        usage: Default::default(),
        timings: Default::default(),
    }));
    for stream in [false, true] {
        let server = Server::answering([started(), empty.clone()]);
        let reply = server.api_generate(json!({ "stream": stream })).await;
        let last: Value = serde_json::from_str(reply.text.lines().last().unwrap()).unwrap();
        assert!(COUNTERS.iter().all(|name| last[name].is_u64()), "{last}");
        assert_eq!(last["eval_count"], 0);
    }
}

// L5
#[tokio::test]
async fn the_time_for_loading_is_told() {
    let mut backend = Scripted::answering(greeting());
    backend.load = Duration::from_millis(1500);
    let answer = Server::new(backend).api_chat(json!({ "stream": false })).await.json();
    assert_eq!(answer["load_duration"], 1_500_000_000);
}

// L6
#[tokio::test]
async fn an_answer_that_was_cut_ends_with_length() {
    for (finish, reason) in [
        (Finish::Length, "length"),
        (Finish::Stop, "stop"),
        (Finish::ToolCalls, "stop"),
    ] {
        let server = Server::answering([started(), Event::text("a"), done(finish)]);
        assert_eq!(
            server.api_chat(json!({ "stream": false })).await.json()["done_reason"],
            reason
        );
    }
}

// L6
#[tokio::test]
async fn without_a_prompt_the_model_is_loaded_and_nothing_runs() {
    let mut backend = Scripted::answering(greeting());
    backend.load = Duration::from_millis(20);
    let server = Server::new(backend);
    for (path, field) in [("/api/generate", "response"), ("/api/chat", "message")] {
        let reply = server.post(path, json!({ "model": "tiny", "keep_alive": "10m" })).await;
        let answer = reply.json();
        assert_eq!(
            (&answer["done"], &answer["done_reason"]),
            (&json!(true), &json!("load"))
        );
        assert_eq!(answer["load_duration"], 20_000_000);
        assert!(answer.get(field).is_some(), "{answer}");
        assert_eq!(reply.header("content-type"), Some("application/json; charset=utf-8"));
    }
    let reply = server.api_chat(json!({ "messages": [] })).await;
    assert_eq!(reply.json()["done_reason"], "load");
    assert_eq!(server.backend.started(), 0);
    assert_eq!(server.backend.opened().len(), 3);
}

// L6
#[tokio::test]
async fn without_a_prompt_and_to_be_kept_for_no_time_the_model_is_unloaded() {
    for (path, keep_alive) in [("/api/generate", json!(0)), ("/api/chat", json!("0s"))] {
        let server = Server::answering(greeting());
        assert_eq!(server.get("/api/ps").await.json()["models"][0]["name"], "tiny:latest");
        let reply = server
            .post(path, json!({ "model": "tiny", "keep_alive": keep_alive }))
            .await;
        let answer = reply.json();
        assert_eq!(
            (&answer["done"], &answer["done_reason"]),
            (&json!(true), &json!("unload"))
        );
        assert_eq!(server.backend.unloaded(), ["tiny"]);
        assert_eq!(server.get("/api/ps").await.json(), json!({ "models": [] }));
        assert_eq!(server.backend.opened(), []);
    }
}

// L3, L4
#[tokio::test]
async fn thinking_has_a_field_of_its_own() {
    let events = vec![Event::Reasoning("hm".into()), Event::text("4"), done(Finish::Stop)];
    let server = Server::answering(events);
    let chat = server.api_chat(json!({})).await.lines();
    assert_eq!(
        chat[0]["message"],
        json!({ "role": "assistant", "content": "", "thinking": "hm" })
    );
    assert_eq!(chat[1]["message"], json!({ "role": "assistant", "content": "4" }));
    let generated = server.api_generate(json!({})).await.lines();
    assert_eq!(
        (&generated[0]["thinking"], &generated[0]["response"]),
        (&json!("hm"), &json!(""))
    );
    let whole = server.api_chat(json!({ "stream": false })).await.json();
    assert_eq!(
        (&whole["message"]["thinking"], &whole["message"]["content"]),
        (&json!("hm"), &json!("4"))
    );
}

// L9
#[tokio::test]
async fn logprobs_come_with_the_text_they_belong_to() {
    let server = Server::answering([likely("a", -0.5), likely("b", f32::NEG_INFINITY), done(Finish::Stop)]);
    let lines = server
        .api_chat(json!({ "logprobs": true, "top_logprobs": 1 }))
        .await
        .lines();
    let entry = json!([{ "token": "a", "logprob": -0.5, "bytes": [97],
        "top_logprobs": [{ "token": "a", "logprob": -0.5, "bytes": [97] }] }]);
    assert_eq!(lines[0]["logprobs"], entry);
    assert_eq!(lines[1]["logprobs"][0]["logprob"], -9999.0);
    assert!(lines[2].get("logprobs").is_none());
    let whole = server
        .api_generate(json!({ "logprobs": true, "stream": false }))
        .await
        .json();
    assert_eq!(whole["logprobs"].as_array().unwrap().len(), 2);
}

// L8
#[tokio::test]
async fn an_error_before_the_first_token_has_its_own_status() {
    let overflow = BackendError::ContextOverflow {
        n_prompt: 5000,
        n_ctx: 4096,
    };
    let server = Server::answering([started(), Event::Failed(overflow)]);
    let text = server.api_generate(json!({})).await.says(400);
    assert!(text.contains("exceeds the available context size"), "{text}");
}

// L8
#[tokio::test]
async fn an_error_after_the_first_token_is_the_last_line() {
    let broken = BackendError::internal("decoding failed", "llama_decode returned -3");
    for path in ["/api/chat", "/api/generate"] {
        let server = Server::answering([started(), Event::text("Hel"), Event::Failed(broken.clone())]);
        let body = merge(hello(), json!({ "model": "tiny", "prompt": "x" }));
        let lines = server.post(path, body).await.lines();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1], json!({ "error": "decoding failed" }));
    }
}

// L8
#[tokio::test]
async fn a_client_that_goes_away_cancels_its_job() {
    for steps in [vec![], vec![started().into()]] {
        let script = steps.into_iter().chain([Step::Hang]).collect();
        let server = Server::new(Scripted::playing([script]));
        let body = merge(hello(), json!({ "model": "tiny" }));
        let begun = async {
            while server.backend.started() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            _ = server.open("/api/chat", body) => panic!("no answer yet"),
            () = begun => {}
        }
        server.backend.all_cancelled().await;
    }
}

// L2
#[tokio::test(start_paused = true)]
async fn a_long_silence_adds_no_lines() {
    let script = vec![
        started().into(),
        Step::Sleep(Duration::from_secs(35)),
        Event::text("Hi").into(),
        done(Finish::Stop).into(),
    ];
    let reply = Server::new(Scripted::playing([script])).api_chat(json!({})).await;
    assert_eq!(reply.lines().len(), 2);
}

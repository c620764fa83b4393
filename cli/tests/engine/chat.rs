//! The server over the real engine and the embedded model: what the scripted backend cannot show.

use crate::served;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use llama_turboquant_cli::commands::serve::backend::Backend;
use llama_turboquant_cli::commands::serve::engine::Engine;
use llama_turboquant_cli::commands::serve::{AppState, Settings, app};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tower::ServiceExt;

/// The embedded model behind a router, with the options given.
fn served(options: &[&str]) -> (axum::Router, Arc<Engine>) {
    let engine = served::engine(options);
    (app(AppState::new(engine.clone(), Settings::default())), engine)
}

async fn post(app: &axum::Router, path: &str, body: Value) -> (StatusCode, String) {
    let request = Request::post(path)
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

/// Slots at work.
fn busy(engine: &Engine) -> usize {
    engine.running()[0].slots.iter().filter(|slot| slot.busy).count()
}

fn user(text: &str) -> Value {
    json!([{"role": "user", "content": text}])
}

fn events(body: &str) -> Vec<Value> {
    let lines = body
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter(|data| *data != "[DONE]");
    lines.map(|data| serde_json::from_str(data).unwrap()).collect()
}

const TURBO3: &str = "turbo3 is a 3-bit KV cache type. It stores each block of 128 values in 50 bytes, about 3.1 bits per value, \
                      so the cache is about five times smaller than f16.";

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_answer_and_a_whole_one_are_the_same_text() {
    let (app, _) = served(&[]);
    let mut request = json!({"messages": user("What is turbo3?"), "temperature": 0});
    let (status, body) = post(&app, "/v1/chat/completions", request.clone()).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let whole: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(whole["choices"][0]["message"]["content"], TURBO3);
    assert_eq!(whole["choices"][0]["finish_reason"], "stop");

    request["stream"] = json!(true);
    let (_, body) = post(&app, "/v1/chat/completions", request).await;
    let text: String = events(&body)
        .iter()
        .filter_map(|e| e["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(text, TURBO3);
    assert!(body.ends_with("data: [DONE]\n\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_at_once_give_the_answers_they_give_alone() {
    let (app, engine) = served(&["--parallel", "4"]);
    assert_eq!(engine.running()[0].card.slots, 4);
    let questions = [
        "What is turbo4?",
        "What is turbo3?",
        "What is turbo2?",
        "What is a KV cache?",
    ];
    let mut alone = Vec::new();
    for question in questions {
        alone.push(
            post(
                &app,
                "/v1/chat/completions",
                json!({"messages": user(question), "temperature": 0}),
            )
            .await
            .1,
        );
    }
    let together = (0..8).map(|i| {
        let app = app.clone();
        let body = json!({"messages": user(questions[i % 4]), "temperature": 0});
        tokio::spawn(async move { post(&app, "/v1/chat/completions", body).await })
    });
    for (i, task) in together.collect::<Vec<_>>().into_iter().enumerate() {
        let (status, body) = task.await.unwrap();
        assert_eq!(status, StatusCode::OK, "{body}");
        let text =
            |body: &str| serde_json::from_str::<Value>(body).unwrap()["choices"][0]["message"]["content"].clone();
        assert_eq!(text(&body), text(&alone[i % 4]));
    }
}

// O6
#[tokio::test(flavor = "multi_thread")]
async fn tools_are_called_with_json_arguments() {
    let (app, _) = served(&[]);
    let tools = json!([{"type": "function", "function": {
        "name": "calculator", "description": "Compute a mathematical expression.",
        "parameters": {"type": "object", "properties": {"expression": {"type": "string", "description": "Expression to compute"}},
                       "required": ["expression"]}}}]);
    for stream in [false, true] {
        let request = json!({"messages": user("Use the calculator: 554 - 603"), "tools": tools, "temperature": 0, "stream": stream});
        let (status, body) = post(&app, "/v1/chat/completions", request).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let (name, arguments, finish) = if stream {
            let events = events(&body);
            let calls: Vec<&Value> = events
                .iter()
                .map(|e| &e["choices"][0]["delta"]["tool_calls"][0])
                .collect();
            let name = calls
                .iter()
                .find_map(|c| c["function"]["name"].as_str())
                .unwrap()
                .to_owned();
            let arguments: String = calls
                .iter()
                .filter_map(|c| c["function"]["arguments"].as_str())
                .collect();
            let finish = events
                .iter()
                .find_map(|e| e["choices"][0]["finish_reason"].as_str())
                .unwrap()
                .to_owned();
            (name, arguments, finish)
        } else {
            let answer: Value = serde_json::from_str(&body).unwrap();
            let call = &answer["choices"][0]["message"]["tool_calls"][0]["function"];
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            (
                text(&call["name"]),
                text(&call["arguments"]),
                text(&answer["choices"][0]["finish_reason"]),
            )
        };
        assert_eq!(
            (name.as_str(), finish.as_str()),
            ("calculator", "tool_calls"),
            "stream: {stream}"
        );
        assert_eq!(
            serde_json::from_str::<Value>(&arguments).unwrap(),
            json!({"expression": "554 - 603"})
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_json_schema_shapes_the_answer() {
    let (app, _) = served(&[]);
    let schema = json!({"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": false});
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
    let request = json!({"messages": user("hello"), "response_format": format, "temperature": 0, "max_tokens": 60});
    let (status, body) = post(&app, "/v1/chat/completions", request).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    let content: Value = serde_json::from_str(answer["choices"][0]["message"]["content"].as_str().unwrap()).unwrap();
    assert!(content["ok"].is_boolean(), "{content}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_that_was_computed_is_not_computed_again() {
    let (app, _) = served(&["--parallel", "1"]);
    let request = json!({"messages": user(&"The code is 8634. ".repeat(60)), "temperature": 0, "max_tokens": 4});
    let cached = |body: &str| {
        let usage = &serde_json::from_str::<Value>(body).unwrap()["usage"];
        (
            usage["prompt_tokens"].as_u64().unwrap(),
            usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap(),
        )
    };
    let (_, first) = post(&app, "/v1/chat/completions", request.clone()).await;
    let (_, second) = post(&app, "/v1/chat/completions", request).await;
    assert_eq!(cached(&first).1, 0);
    assert_eq!(cached(&second).1, cached(&second).0 - 1, "all but the last token");
    let text = |body: &str| serde_json::from_str::<Value>(body).unwrap()["choices"][0]["message"]["content"].clone();
    assert_eq!(text(&first), text(&second));
}

// O7
#[tokio::test(flavor = "multi_thread")]
async fn logprobs_belong_to_the_tokens_of_the_text() {
    let (app, _) = served(&[]);
    let request = json!({"messages": user("What is turbo3?"), "temperature": 0, "logprobs": true, "top_logprobs": 2});
    let (_, body) = post(&app, "/v1/chat/completions", request).await;
    let answer: Value = serde_json::from_str(&body).unwrap();
    let content = answer["choices"][0]["logprobs"]["content"].as_array().unwrap();
    let bytes: Vec<u8> = content
        .iter()
        .flat_map(|t| t["bytes"].as_array().unwrap())
        .map(|b| b.as_u64().unwrap() as u8)
        .collect();
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.starts_with(TURBO3), "{text}");
    for token in content {
        assert!(token["logprob"].as_f64().unwrap() <= 0.0);
        assert_eq!(token["top_logprobs"].as_array().unwrap().len(), 2);
    }
}

// O10
#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_beyond_the_context_is_a_400_with_both_sizes() {
    let (app, _) = served(&["-c", "512", "--parallel", "1"]);
    for stream in [false, true] {
        let request = json!({"messages": user(&"word ".repeat(2000)), "stream": stream});
        let (status, body) = post(&app, "/v1/chat/completions", request).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        let error = &serde_json::from_str::<Value>(&body).unwrap()["error"];
        assert_eq!(
            (&error["type"], &error["n_ctx"]),
            (&json!("exceed_context_size_error"), &json!(512)),
            "{body}"
        );
        assert!(error["n_prompt_tokens"].as_u64().unwrap() > 512);
    }
}

// O5
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_longer_than_the_context_ends_as_length() {
    let (app, _) = served(&["-c", "256", "--parallel", "1"]);
    let request = json!({"prompt": "The fox and the turtle walked", "ignore_eos": true, "temperature": 1, "seed": 3});
    let (status, body) = post(&app, "/v1/completions", request).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert!(
        answer["usage"]["total_tokens"].as_u64().unwrap() <= 257,
        "{}",
        answer["usage"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_that_outgrow_the_shared_cache_end_without_hurting_others() {
    let (app, engine) = served(&["-c", "512", "--parallel", "2"]);
    let long = json!({"prompt": "The fox", "ignore_eos": true, "temperature": 1, "seed": 1});
    let other = json!({"prompt": "The owl", "ignore_eos": true, "temperature": 1, "seed": 2});
    let (a, b) = tokio::join!(
        post(&app, "/v1/completions", long),
        post(&app, "/v1/completions", other)
    );
    for (status, body) in [a, b] {
        assert_eq!(status, StatusCode::OK, "{body}");
        assert_eq!(
            serde_json::from_str::<Value>(&body).unwrap()["choices"][0]["finish_reason"],
            "length",
            "{body}"
        );
    }
    idle_within(&engine, Duration::from_secs(1)).await;
}

/// The engine's thread notes that a job has ended just after it has told the client.
async fn idle_within(engine: &Engine, limit: Duration) {
    let start = Instant::now();
    while busy(engine) > 0 {
        assert!(start.elapsed() < limit, "a slot is still busy");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

// O17
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_frees_its_slot() {
    let (app, engine) = served(&["--parallel", "1"]);
    let body =
        json!({"prompt": "The fox", "ignore_eos": true, "stream": true, "temperature": 1, "seed": 1}).to_string();
    let request = Request::post("/v1/completions")
        .header("content-type", "application/json")
        .body(Body::from(body))
        .unwrap();
    let mut stream = app.clone().oneshot(request).await.unwrap().into_body();
    stream.frame().await.unwrap().unwrap();
    assert_eq!(busy(&engine), 1);
    drop(stream);
    idle_within(&engine, Duration::from_secs(1)).await;
    let (status, _) = post(&app, "/v1/completions", json!({"prompt": "The owl", "max_tokens": 3})).await;
    assert_eq!(status, StatusCode::OK);
}

// O11
#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_answers_429_and_bad_grammars_400() {
    let (app, _) = served(&["--parallel", "1", "--queue", "1"]);
    let long = json!({"prompt": "The fox", "ignore_eos": true, "max_tokens": 400, "temperature": 1});
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (app, body) = (app.clone(), long.clone());
            tokio::spawn(async move { post(&app, "/v1/completions", body).await.0 })
        })
        .collect();
    let mut statuses = Vec::new();
    for task in tasks {
        statuses.push(task.await.unwrap());
    }
    assert!(statuses.contains(&StatusCode::TOO_MANY_REQUESTS), "{statuses:?}");
    assert!(statuses.contains(&StatusCode::OK), "{statuses:?}");

    let (status, body) = post(&app, "/v1/completions", json!({"prompt": "x", "grammar": "root ::= ("})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_engine_refuses_and_its_thread_ends() {
    let (app, engine) = served(&[]);
    engine.stop();
    engine.stop(); // once more is nothing
    let (status, _) = post(&app, "/v1/completions", json!({"prompt": "x"})).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
}

async fn get(app: &axum::Router, path: &str) -> (StatusCode, String) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn props_show_the_cache_and_the_template_that_are_in_use() {
    let (app, _) = served(&[
        "-c",
        "1024",
        "--parallel",
        "2",
        "--cache-type-k",
        "q8_0",
        "--cache-type-v",
        "turbo3",
    ]);
    let (status, body) = get(&app, "/props").await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let props: Value = serde_json::from_str(&body).unwrap();
    let kv = &props["kv"];
    assert_eq!((&kv["type_k"], &kv["type_v"]), (&json!("q8_0"), &json!("turbo3")));
    let (bytes, cells) = (kv["bytes_total"].as_f64().unwrap(), kv["cells_total"].as_f64().unwrap());
    assert!(bytes >= cells * kv["bytes_per_token"].as_f64().unwrap() * 0.99, "{kv}");
    // of 128 values K takes 4 blocks of 34 bytes and V one of 50; in f16 each would take 256
    let (each, plain) = (
        kv["bytes_per_token"].as_f64().unwrap(),
        kv["bytes_per_token_f16"].as_f64().unwrap(),
    );
    assert!((plain / each - 512.0 / 186.0).abs() < 0.01, "{kv}");
    let layers = kv["layers"].as_array().unwrap();
    assert!(
        !layers.is_empty() && layers.iter().all(|layer| layer["type_k"] == "q8_0"),
        "{kv}"
    );
    let pairs = kv["supported"][0]["pairs"].as_array().unwrap();
    assert!(pairs.contains(&json!(["q8_0", "turbo3"])), "{kv}");
    assert_eq!(
        props["chat_template_caps"]["supports_tools"], true,
        "{}",
        props["chat_template_caps"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_agree_with_the_answers_usage() {
    let (app, _) = served(&[]);
    let question = json!({"messages": user("What is turbo3?"), "temperature": 0, "cache_prompt": false});
    let (_, body) = post(&app, "/v1/chat/completions", question).await;
    let answer: Value = serde_json::from_str(&body).unwrap();
    let (_, metrics) = get(&app, "/metrics").await;
    let value = |name: &str| {
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name}")).parse::<f64>().unwrap()
    };
    assert_eq!(
        value("llamacpp:tokens_predicted_total"),
        answer["usage"]["completion_tokens"].as_f64().unwrap()
    );
    assert_eq!(
        value("llamacpp:prompt_tokens_total"),
        answer["usage"]["prompt_tokens"].as_f64().unwrap()
    );
    assert!(value("llamacpp:predicted_tokens_seconds") > 0.0);
    assert_eq!(value("turboquant_time_to_first_token_seconds_count"), 1.0);
    let pieces = value("turboquant_inter_token_seconds_count") + 1.0;
    assert!(
        pieces > 10.0 && pieces <= value("llamacpp:tokens_predicted_total"),
        "{pieces} pieces"
    );
}

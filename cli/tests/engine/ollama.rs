//! Ollama's API over the real engine and the embedded model.

use crate::served;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use llama_turboquant::machine::Machine;
use llama_turboquant::plan::{Footprint, MemoryPlan, Setup};
use llama_turboquant_cli::commands::serve::{AppState, Settings, app};
use serde_json::{Value, json};
use tower::ServiceExt;

/// The embedded model behind a router, with the options given.
fn served(options: &[&str]) -> axum::Router {
    let engine = served::engine(options);
    app(AppState::new(engine, Settings::default()))
}

async fn call(app: &axum::Router, path: &str, body: Option<Value>) -> (StatusCode, String) {
    let request = match body {
        Some(body) => Request::post(path).body(Body::from(body.to_string())),
        None => Request::get(path).body(Body::empty()),
    };
    let response = app.clone().oneshot(request.unwrap()).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

async fn post(app: &axum::Router, path: &str, body: Value) -> Value {
    let (status, body) = call(app, path, Some(body)).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    serde_json::from_str(&body).unwrap()
}

async fn lines(app: &axum::Router, path: &str, body: Value) -> Vec<Value> {
    let (status, body) = call(app, path, Some(body)).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const TURBO3: &str = "turbo3 is a 3-bit KV cache type. It stores each block of 128 values in 50 bytes, about 3.1 bits per value, \
                      so the cache is about five times smaller than f16.";

// L2, L3, L4
#[tokio::test(flavor = "multi_thread")]
async fn chat_and_generate_give_the_same_text_streamed_and_whole() {
    let app = served(&[]);
    let options = json!({ "temperature": 0 });
    let chat =
        json!({ "model": "tiny", "messages": [{ "role": "user", "content": "What is turbo3?" }], "options": options });
    let generate = json!({ "model": "tiny", "prompt": "What is turbo3?", "options": options });
    for (path, body, field) in [
        ("/api/chat", chat, "/message/content"),
        ("/api/generate", generate, "/response"),
    ] {
        let streamed = lines(&app, path, body.clone()).await;
        let text = |line: &Value| line.pointer(field).unwrap().as_str().unwrap().to_owned();
        assert_eq!(streamed.iter().map(text).collect::<String>(), TURBO3, "{path}");
        let last = streamed.last().unwrap();
        assert_eq!((&last["done"], &last["done_reason"]), (&json!(true), &json!("stop")));
        assert!(last["prompt_eval_count"].as_u64().unwrap() > 0);
        assert!(last["eval_count"].as_u64().unwrap() > 0 && last["eval_duration"].as_u64().unwrap() > 0);

        let mut whole = body;
        whole["stream"] = json!(false);
        assert_eq!(text(&post(&app, path, whole).await), TURBO3, "{path}");
    }
}

// L3
#[tokio::test(flavor = "multi_thread")]
async fn a_context_is_the_exchange_and_is_taken_back() {
    let app = served(&[]);
    let first =
        json!({ "model": "tiny", "prompt": "What is turbo3?", "options": { "temperature": 0 }, "stream": false });
    let first = post(&app, "/api/generate", first).await;
    let context = first["context"].as_array().unwrap();
    assert!(context.len() as u64 > first["prompt_eval_count"].as_u64().unwrap());
    let text = post(&app, "/detokenize", json!({ "tokens": context })).await;
    let text = text["content"].as_str().unwrap();
    assert!(text.contains("What is turbo3?") && text.ends_with(TURBO3), "{text}");

    let next = json!({ "model": "tiny", "prompt": "hello", "context": context, "stream": false, "options": { "num_predict": 4 } });
    let next = post(&app, "/api/generate", next).await;
    assert!(next["prompt_eval_count"].as_u64().unwrap() > context.len() as u64);
    let after = next["context"].as_array().unwrap();
    assert_eq!(after[..context.len()], context[..]);
}

// L10
#[tokio::test(flavor = "multi_thread")]
async fn a_tool_is_called_with_an_object() {
    let app = served(&[]);
    let tools = json!([{ "type": "function", "function": {
        "name": "calculator", "description": "Compute a mathematical expression.",
        "parameters": { "type": "object", "properties": { "expression": { "type": "string", "description": "Expression to compute" } },
                        "required": ["expression"] } } }]);
    let body = json!({ "model": "tiny", "messages": [{ "role": "user", "content": "Use the calculator: 554 - 603" }],
        "tools": tools, "options": { "temperature": 0 } });
    let calls: Vec<Value> = lines(&app, "/api/chat", body)
        .await
        .iter()
        .filter_map(|line| line.pointer("/message/tool_calls/0/function").cloned())
        .collect();
    let call = json!({ "index": 0, "name": "calculator", "arguments": { "expression": "554 - 603" } });
    assert_eq!(calls, [call]);
}

// L10
#[tokio::test(flavor = "multi_thread")]
async fn a_property_of_a_tool_may_be_of_several_types() {
    let app = served(&[]);
    let tools = json!([{ "type": "function", "function": {
        "name": "calculator", "description": "Compute a mathematical expression.",
        "parameters": { "type": "object", "properties": { "expression": { "type": ["string", "number"] } },
                        "required": ["expression"] } } }]);
    let body = json!({ "model": "tiny", "messages": [{ "role": "user", "content": "Use the calculator: 554 - 603" }],
        "tools": tools, "options": { "temperature": 0 }, "stream": false });
    let answer = post(&app, "/api/chat", body).await;
    let call = &answer["message"]["tool_calls"][0]["function"];
    assert_eq!(call["name"], "calculator", "{answer}");
    let expression = &call["arguments"]["expression"];
    assert!(expression.is_string() || expression.is_number(), "{answer}");
}

// L9
#[tokio::test(flavor = "multi_thread")]
async fn a_schema_shapes_the_answer() {
    let app = served(&[]);
    let schema = json!({ "type": "object", "properties": { "ok": { "type": "boolean" } }, "required": ["ok"], "additionalProperties": false });
    let options = json!({ "temperature": 0, "num_predict": 60 });
    let body = json!({ "model": "tiny", "prompt": "hello", "format": schema, "stream": false, "options": options });
    let answer = post(&app, "/api/generate", body).await;
    let content: Value = serde_json::from_str(answer["response"].as_str().unwrap()).unwrap();
    assert!(content["ok"].is_boolean(), "{content}");
}

// L9
#[tokio::test(flavor = "multi_thread")]
async fn a_chat_longer_than_the_context_loses_its_oldest_turns_only_if_it_may() {
    let app = served(&["-c", "512", "--parallel", "1"]);
    let user = |text: &str| json!({ "role": "user", "content": text });
    let old = [
        user(&"word ".repeat(600)),
        json!({ "role": "assistant", "content": "I see." }),
    ];
    let messages: Vec<Value> = old.into_iter().chain([user("What is turbo3?")]).collect();
    let mut body = json!({ "model": "tiny", "messages": messages, "stream": false, "options": { "temperature": 0 } });
    let answer = post(&app, "/api/chat", body.clone()).await;
    assert_eq!(answer["message"]["content"], TURBO3);

    body["truncate"] = json!(false);
    let (status, text) = call(&app, "/api/chat", Some(body)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(text.contains("exceeds the available context size"), "{text}");
}

// L11
#[tokio::test(flavor = "multi_thread")]
async fn a_smaller_num_ctx_limits_prompt_and_answer_of_its_request_and_loads_nothing() {
    let app = served(&["-c", "1024", "--parallel", "1"]);
    let told = async |num_ctx: u32| {
        let body = json!({ "model": "tiny", "prompt": "What is turbo3?", "stream": false,
            "options": { "temperature": 0, "num_ctx": num_ctx } });
        post(&app, "/api/generate", body).await
    };
    let whole = told(1024).await;
    assert_eq!(
        (&whole["response"], &whole["done_reason"]),
        (&json!(TURBO3), &json!("stop"))
    );
    let prompt = whole["prompt_eval_count"].as_u64().unwrap() as u32;
    let cut = told(prompt + 5).await;
    assert_eq!((&cut["done_reason"], &cut["eval_count"]), (&json!("length"), &json!(5)));
    assert!(TURBO3.starts_with(cut["response"].as_str().unwrap()), "{cut}");

    let (_, text) = call(&app, "/api/ps", None).await;
    let running: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(running["models"][0]["context_length"], 1024);
    let (_, metrics) = call(&app, "/metrics", None).await;
    assert!(metrics.contains("\nturboquant_model_loads_total 1\n"), "{metrics}");
}

// L11
#[tokio::test(flavor = "multi_thread")]
async fn a_chat_beyond_its_own_num_ctx_is_cut_or_refused_as_if_the_context_had_that_size() {
    let app = served(&["-c", "1024", "--parallel", "1"]);
    let user = |text: &str| json!({ "role": "user", "content": text });
    let old = [
        user(&"word ".repeat(300)),
        json!({ "role": "assistant", "content": "I see." }),
    ];
    let messages: Vec<Value> = old.into_iter().chain([user("What is turbo3?")]).collect();
    let mut body = json!({ "model": "tiny", "messages": messages, "stream": false,
        "options": { "temperature": 0, "num_ctx": 256 } });
    let answer = post(&app, "/api/chat", body.clone()).await;
    assert_eq!(answer["message"]["content"], TURBO3);
    assert!(answer["prompt_eval_count"].as_u64().unwrap() < 256, "{answer}");

    body["truncate"] = json!(false);
    let (status, text) = call(&app, "/api/chat", Some(body.clone())).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(
        text.contains("exceeds the available context size of 256 tokens"),
        "{text}"
    );

    // the OpenAI surface never cuts
    let (status, text) = call(&app, "/v1/chat/completions", Some(body)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(text.contains("\"n_ctx\":256"), "{text}");
}

// L11, L15
#[tokio::test(flavor = "multi_thread")]
async fn a_smaller_num_ctx_cuts_a_text_that_is_embedded() {
    let app = served(&["-c", "1024", "--parallel", "1"]);
    let mut body = json!({ "model": "tiny", "input": "word ".repeat(300), "options": { "num_ctx": 64 } });
    assert_eq!(post(&app, "/api/embed", body.clone()).await["prompt_eval_count"], 64);
    body["truncate"] = json!(false);
    let (status, text) = call(&app, "/api/embed", Some(body)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(text.contains("64"), "{text}");
}

// L14
#[tokio::test(flavor = "multi_thread")]
async fn ps_tells_the_context_and_the_real_bytes_of_the_cache() {
    let app = served(&["-c", "1024", "--parallel", "2"]);
    let (_, text) = call(&app, "/api/ps", None).await;
    let models: Value = serde_json::from_str(&text).unwrap();
    let model = &models["models"][0];
    assert_eq!(model["name"], "tiny:latest");
    let (_, text) = call(&app, "/props", None).await;
    let props: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(model["context_length"], props["default_generation_settings"]["n_ctx"]);
    assert_eq!(model["kv"]["type_k"], props["kv"]["type_k"]);
    let kv = model["kv"]["bytes"].as_u64().unwrap();
    let cells = props["kv"]["bytes_per_token"].as_f64().unwrap() * 1024.0;
    assert!(kv as f64 >= cells && kv < model["size"].as_u64().unwrap(), "{model}");
    // the embedded model is computed on the CPU, whatever that calls its buffers
    assert_eq!(model["size_vram"], 0);
}

// L14
#[tokio::test(flavor = "multi_thread")]
async fn the_size_that_ps_tells_is_what_was_planned_within_2_percent() {
    let options = ["-c", "1024", "--parallel", "2"];
    let app = served(&options);
    let (_, text) = call(&app, "/api/ps", None).await;
    let models: Value = serde_json::from_str(&text).unwrap();
    let told = models["models"][0]["size"].as_u64().unwrap();

    let settings = served::settings(&options);
    let path = llama_turboquant_cli::embedded::path().unwrap();
    let (mut footprint, model) = Footprint::open(path, settings.engine.gpu_layers).unwrap();
    let setup = Setup {
        kv: settings.caches().remove(0),
        ..Setup::of(&settings.context, settings.engine.gpu_layers)
    };
    footprint.learn(&model, &setup).unwrap();
    let plan = MemoryPlan::new(&footprint, &setup, &Machine::detect().unwrap()).unwrap();
    let planned = plan.model_bytes();
    assert!(planned.abs_diff(told) * 50 <= told, "planned {planned}, told {told}");
    // the engine's own report of a context like it: the rest is what its threads and its outputs take
    let model = llama_turboquant::Model::builder(llama_turboquant_cli::embedded::path().unwrap())
        .gpu_layers(settings.engine.gpu_layers)
        .load()
        .unwrap();
    let used = settings.create_context(&model).unwrap().memory_use().unwrap();
    let buffers: u64 = [&used.model, &used.kv, &used.compute]
        .iter()
        .flat_map(|part| part.values())
        .sum();
    assert!(
        told >= buffers && told < buffers + (4 << 20),
        "told {told}, buffers {buffers}"
    );
}

// L9
#[tokio::test(flavor = "multi_thread")]
async fn rendering_shows_what_the_template_makes() {
    let app = served(&[]);
    let body = json!({ "model": "tiny", "prompt": "hello", "system": "Be brief.", "_debug_render_only": true });
    let shown = post(&app, "/api/generate", body).await;
    let text = shown["_debug_info"]["rendered_template"].as_str().unwrap();
    assert!(text.find("Be brief.").unwrap() < text.find("hello").unwrap(), "{text}");
}

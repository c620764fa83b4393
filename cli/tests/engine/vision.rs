//! Images in requests, over the real engine, the embedded model and a projector with random weights.

use crate::served;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Parser;
use http_body_util::BodyExt;
use llama_turboquant::vision::{ProjectorConfig, ProjectorPlan};
use llama_turboquant_cli::args::{Args, Command};
use llama_turboquant_cli::commands::serve::backend::Backend;
use llama_turboquant_cli::commands::serve::engine::{Engine, Limits};
use llama_turboquant_cli::commands::serve::{AppState, Settings, app};
use llama_turboquant_cli::settings::ModelSettings;
use mmproj::{Kind, picture};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use tower::ServiceExt;

#[path = "../../../tests/support/mmproj.rs"]
mod mmproj;

/// Values of the embedded model's embeddings.
const N_EMBD: u64 = 256;
/// Tokens of an image.
const TOKENS: u64 = 16;

/// A server that sees.
struct Seeing {
    app: axum::Router,
    engine: Arc<Engine>,
}

impl Seeing {
    fn new(options: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("mmproj.gguf");
        mmproj::write(&file, Kind::Mlp, N_EMBD);
        let engine = served::engine(&[&["--mmproj", file.to_str().unwrap()], options].concat());
        Self {
            app: app(AppState::new(engine.clone(), Settings::default())),
            engine,
        }
    }

    async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        let request = Request::post(path)
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()));
        self.send(request.unwrap()).await
    }

    async fn get(&self, path: &str) -> Value {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await.1
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, Value) {
        let response = self.app.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let value = serde_json::from_slice(&bytes);
        (
            status,
            value.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&bytes))),
        )
    }

    /// The answer to a chat completion.
    async fn chat(&self, content: Value) -> Value {
        let (status, answer) = self.post("/v1/chat/completions", request(content)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer
    }

    /// The text of a chat completion's refusal.
    async fn refuses(&self, url: &str) -> String {
        let (status, answer) = self
            .post("/v1/chat/completions", request(json!([image_url(url)])))
            .await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{url:.60}: {answer}");
        answer["error"]["message"].as_str().unwrap().to_owned()
    }
}

fn request(content: Value) -> Value {
    json!({
        "messages": [{ "role": "user", "content": content }],
        "temperature": 0,
        "max_tokens": 12,
    })
}

fn base64(seed: u32) -> String {
    STANDARD.encode(picture(32, 32, seed))
}

fn data_url(seed: u32) -> String {
    format!("data:image/bmp;base64,{}", base64(seed))
}

fn image_url(url: &str) -> Value {
    json!({ "type": "image_url", "image_url": { "url": url } })
}

fn with_text(seed: u32) -> Value {
    json!([image_url(&data_url(seed)), { "type": "text", "text": "What is turbo3?" }])
}

fn text(answer: &Value) -> &str {
    answer["choices"][0]["message"]["content"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tokens_of_an_image_are_counted_and_those_of_the_text_stay() {
    let server = Seeing::new(&[]);
    let without = server
        .chat(json!([{ "type": "text", "text": "What is turbo3?" }]))
        .await;
    let with = server.chat(with_text(1)).await;
    let tokens = |answer: &Value| answer["usage"]["prompt_tokens"].as_u64().unwrap();
    assert_eq!(tokens(&with), tokens(&without) + TOKENS);
    let count = json!({ "model": "tiny", "messages": [{ "role": "user", "content": [
        { "type": "image", "source": { "type": "base64", "media_type": "image/bmp", "data": base64(1) } },
        { "type": "text", "text": "What is turbo3?" },
    ] }] });
    let (_, counted) = server.post("/v1/messages/count_tokens", count).await;
    assert_eq!(counted["input_tokens"], tokens(&with));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_image_is_one_answer_and_is_not_computed_twice() {
    let server = Seeing::new(&["--cache-type-k", "f16", "--cache-type-v", "f16"]);
    let first = server.chat(with_text(1)).await;
    let again = server.chat(with_text(1)).await;
    assert_eq!(text(&first), text(&again));
    let tokens = first["usage"]["prompt_tokens"].as_u64().unwrap();
    let cached = |answer: &Value| {
        answer["usage"]["prompt_tokens_details"]["cached_tokens"]
            .as_u64()
            .unwrap()
    };
    assert_eq!(cached(&again), tokens - 1);
    let other = server.chat(with_text(2)).await;
    assert!(cached(&other) < tokens - TOKENS, "{other}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_with_images_and_without_give_the_answers_they_give_alone() {
    let server = Seeing::new(&["--cache-type-k", "f16", "--cache-type-v", "f16", "--ubatch-size", "8"]);
    let plain = json!("What is a KV cache?");
    let contents = [with_text(1), plain, with_text(2)];
    let mut alone = Vec::new();
    for content in &contents {
        let fresh = Seeing::new(&["--cache-type-k", "f16", "--cache-type-v", "f16", "--ubatch-size", "8"]);
        alone.push(text(&fresh.chat(content.clone()).await).to_owned());
    }
    let [a, b, c] = contents.map(|content| server.chat(content));
    let (a, b, c) = tokio::join!(a, b, c);
    assert_eq!([text(&a), text(&b), text(&c)], [&alone[0][..], &alone[1], &alone[2]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_api_takes_images_in_its_own_form() {
    let server = Seeing::new(&[]);
    let expected = server.chat(with_text(1)).await["usage"]["prompt_tokens"].clone();
    let (data, url) = (base64(1), data_url(1));
    let question = "What is turbo3?";

    let responses = json!({ "input": [{ "role": "user", "content": [
        { "type": "input_image", "image_url": url },
        { "type": "input_text", "text": question },
    ] }], "max_output_tokens": 16 });
    let (_, answer) = server.post("/v1/responses", responses).await;
    assert_eq!(answer["usage"]["input_tokens"], expected, "{answer}");

    let messages = json!({ "model": "tiny", "max_tokens": 4, "messages": [{ "role": "user", "content": [
        { "type": "image", "source": { "type": "base64", "media_type": "image/bmp", "data": data } },
        { "type": "text", "text": question },
    ] }] });
    let (_, answer) = server.post("/v1/messages", messages).await;
    let usage = |name: &str| answer["usage"][name].as_u64().unwrap_or(0);
    let input = usage("input_tokens") + usage("cache_read_input_tokens");
    assert_eq!(json!(input), expected, "{answer}");

    let options = json!({ "num_predict": 4 });
    let chat = json!({ "model": "tiny", "stream": false, "options": options,
        "messages": [{ "role": "user", "content": question, "images": [data] }] });
    let generate =
        json!({ "model": "tiny", "stream": false, "options": options, "prompt": question, "images": [data] });
    for (path, body) in [("/api/chat", chat), ("/api/generate", generate)] {
        let (status, answer) = server.post(path, body).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
        assert_eq!(answer["prompt_eval_count"], expected, "{path}: {answer}");
        assert_eq!(answer.get("context"), None, "{path}: tokens hold no images");
    }
    let mut with_context = json!({ "model": "tiny", "prompt": question, "images": [data] });
    with_context["context"] = json!([5, 6]);
    assert_eq!(
        server.post("/api/generate", with_context).await.0,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_images_are_refused_and_the_server_goes_on() {
    let server = Seeing::new(&[]);
    let of = |bytes: &[u8]| format!("data:image/png;base64,{}", STANDARD.encode(bytes));
    let mut huge = picture(4, 4, 1);
    huge[18..22].copy_from_slice(&50_000_u32.to_le_bytes());
    huge[22..26].copy_from_slice(&50_000_u32.to_le_bytes());
    for (url, reason) in [
        (of(b""), "no bytes"),
        (of(b"\x89PNG\r\n\x1a\nrubbish"), "cannot be read as PNG"),
        (of(&picture(32, 32, 1)[..500]), "cannot be read as BMP"),
        (of(&huge), "50000x50000 pixels"),
        (of(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "no PNG, JPEG"),
        ("data:image/png;base64,@@@@".into(), "is no base64"),
        ("data:image/svg+xml,<svg/>".into(), "base64"),
        ("data:".into(), "base64"),
        ("file:///etc/passwd".into(), "files of the server are not read"),
        ("/etc/passwd".into(), "files of the server are not read"),
        ("".into(), "must be a data: URL"),
        ("http://127.0.0.1:1/cat.png".into(), "fetches none"),
        ("https://example.com/cat.png".into(), "fetches none"),
    ] {
        let text = server.refuses(&url).await;
        assert!(text.contains(reason) && text.contains("image 1"), "{text}");
    }
    let many: Vec<Value> = (0..65).map(|_| image_url("data:,")).collect();
    let (status, answer) = server.post("/v1/chat/completions", request(json!(many))).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(
        answer["error"]["message"].as_str().unwrap().contains("65 images"),
        "{answer}"
    );
    server.chat(with_text(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_images_than_the_context_has_room_for_are_refused_with_the_size() {
    let server = Seeing::new(&["--ctx-size", "256", "--parallel", "1"]);
    let many: Vec<Value> = (0..40).map(|seed| image_url(&data_url(seed))).collect();
    let (status, answer) = server.post("/v1/chat/completions", request(json!(many))).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    assert_eq!(answer["error"]["code"], "context_length_exceeded");
    assert_eq!(answer["error"]["n_prompt_tokens"], 256, "the rest was not even read");
    server.chat(with_text(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_image_is_a_status_even_when_a_stream_was_asked_for() {
    let server = Seeing::new(&[]);
    let mut body = request(json!([image_url("data:image/png;base64,AAAA")]));
    body["stream"] = json!(true);
    let (status, answer) = server.post("/v1/chat/completions", body).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_model_can_see_is_told_where_clients_look() {
    let server = Seeing::new(&[]);
    assert_eq!(server.get("/props").await["modalities"]["vision"], true);
    let model = &server.get("/v1/models").await["data"][0];
    assert_eq!(model["architecture"]["input_modalities"], json!(["text", "image"]));
    let (_, shown) = server.post("/api/show", json!({ "model": "tiny" })).await;
    assert!(
        shown["capabilities"].as_array().unwrap().contains(&json!("vision")),
        "{shown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_projector_the_refusal_names_the_option() {
    let engine = served::engine(&[]);
    let server = Seeing {
        app: app(AppState::new(engine.clone(), Settings::default())),
        engine,
    };
    assert!(server.refuses(&data_url(1)).await.contains("--mmproj"));
    let model = &server.get("/v1/models").await["data"][0];
    assert_eq!(model["architecture"]["input_modalities"], json!(["text"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_cannot_stand_for_an_image() {
    let server = Seeing::new(&[]);
    let spelled = "<__media__> <__image_0__>";
    let answer = server
        .chat(json!([image_url(&data_url(1)), { "type": "text", "text": spelled }]))
        .await;
    let plain = server.chat(json!(spelled)).await;
    let tokens = |answer: &Value| answer["usage"]["prompt_tokens"].as_u64().unwrap();
    assert!(tokens(&answer) >= tokens(&plain) + TOKENS, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_of_a_projector_is_counted() {
    let seeing = Seeing::new(&[]);
    let blind = served::engine(&[]);
    let weights = |engine: &Engine| engine.running()[0].memory.weights;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mmproj.gguf");
    mmproj::write(&file, Kind::Mlp, N_EMBD);
    let plan = ProjectorPlan::of(&file, &ProjectorConfig::default()).unwrap();
    assert_eq!(weights(&seeing.engine), weights(&blind) + plan.bytes());
}

/// What keeps a server with this projector from starting.
fn start_fails(file: &Path) -> String {
    let line = [
        "turboquant",
        "serve",
        "--threads",
        "1",
        "--mmproj",
        file.to_str().unwrap(),
    ];
    let Command::Serve(args) = Args::parse_from(line).command else {
        unreachable!()
    };
    let settings = ModelSettings::new(&args.model, 1).unwrap();
    let Err(error) = Engine::of_model("tiny", &settings, Limits::default()) else {
        panic!("it starts with {}", file.display())
    };
    format!("{error:#}")
}

#[test]
fn a_projector_of_another_model_keeps_the_server_from_starting() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mmproj.gguf");
    mmproj::write(&file, Kind::Mlp, 96);
    let text = start_fails(&file);
    assert!(text.contains("n_embd = 96"), "{text}");
    let text = start_fails(&dir.path().join("none.gguf"));
    assert!(text.contains("no such file"), "{text}");
}

//! Models that clients make and delete, over the real engine: what they were made with holds for requests.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use clap::Parser;
use http_body_util::BodyExt;
use llama_turboquant_cli::args::{Args, Command};
use llama_turboquant_cli::commands::serve::backend::Backend;
use llama_turboquant_cli::commands::serve::engine::{Engine, Limits};
use llama_turboquant_cli::commands::serve::{AppState, Settings, app};
use llama_turboquant_cli::embedded;
use llama_turboquant_cli::hub::{Hub, HubSettings, Patience};
use llama_turboquant_cli::settings::ModelSettings;
use llama_turboquant_cli::store::Store;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tower::ServiceExt;

/// A models folder with the embedded model on offer, and the engine that serves it.
struct Shop {
    _dir: TempDir,
    engine: Arc<Engine>,
    app: axum::Router,
}

impl Shop {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap().with_model(embedded::entry());
        let store = Arc::new(store);
        // one thread: the tests run side by side, and waiting threads of ggml spin
        let line = ["turboquant", "serve", "--threads", "1", "-c", "2048"];
        let Command::Serve(args) = Args::parse_from(line).command else {
            unreachable!()
        };
        let settings = ModelSettings::for_slots(&args.model, args.serving.parallel).unwrap();
        let engine = Arc::new(Engine::new(store.clone(), settings, Limits::default(), None).unwrap());
        let hub = HubSettings {
            url: "http://127.0.0.1:9".into(),
            token: None,
            patience: Patience::default(),
        };
        let state = AppState::new(engine.clone(), Settings::default());
        let state = state.with_store(store, Arc::new(Hub::new(hub).unwrap()));
        Self {
            _dir: dir,
            engine,
            app: app(state),
        }
    }

    fn request(method: Method, path: &str, body: &Value) -> Request<Body> {
        let request = Request::builder().method(method).uri(path);
        request.body(Body::from(body.to_string())).unwrap()
    }

    async fn send(&self, method: Method, path: &str, body: Value) -> (StatusCode, String) {
        let request = Self::request(method, path, &body);
        let response = self.app.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let (status, text) = self.send(Method::POST, path, body).await;
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error} in {text}"))
    }

    async fn create(&self, extra: Value) {
        let mut body = json!({ "from": embedded::NAME, "stream": false });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        assert_eq!(self.post("/api/create", body).await["status"], "success");
    }

    fn loaded(&self) -> Vec<String> {
        let running = self.engine.running().into_iter();
        running.map(|running| running.card.id).collect()
    }
}

fn chat(model: &str) -> Value {
    json!({ "model": model, "stream": false, "messages": [{ "role": "user", "content": "hello" }] })
}

// L6, L14, L16
#[tokio::test(flavor = "multi_thread")]
async fn what_a_model_was_created_with_holds_for_requests_that_leave_it_open() {
    let shop = Shop::new();
    let parameters = json!({ "temperature": 0, "num_ctx": 1024, "num_predict": 3 });
    let system = "You answer in the words of a lighthouse keeper, and never of anything else.";
    shop.create(json!({ "model": "keeper", "system": system, "parameters": parameters, "license": ["MIT", "or not"] }))
        .await;

    let plain = shop.post("/api/chat", chat(embedded::NAME)).await;
    let answer = shop.post("/api/chat", chat("keeper")).await;
    assert_eq!(answer["model"], "keeper");
    let tokens = |answer: &Value| answer["prompt_eval_count"].as_u64().unwrap();
    assert!(
        tokens(&answer) > tokens(&plain) + 10,
        "the system prompt is in the prompt: {answer} {plain}"
    );
    assert_eq!(answer["eval_count"], 3, "{answer}");
    // the same again, only because the temperature is 0
    for _ in 0..3 {
        assert_eq!(
            shop.post("/api/chat", chat("keeper")).await["message"],
            answer["message"]
        );
    }
    let mut own = chat("keeper");
    own["messages"] = json!([{ "role": "system", "content": "x" }, { "role": "user", "content": "hello" }]);
    own["options"] = json!({ "num_predict": 1 });
    let other = shop.post("/api/chat", own).await;
    assert_eq!(other["eval_count"], 1, "a request's own options win");
    assert!(tokens(&other) + 10 < tokens(&answer), "and its own system prompt");

    let (_, running) = shop.send(Method::GET, "/api/ps", json!({})).await;
    let running: Value = serde_json::from_str(&running).unwrap();
    let models = running["models"].as_array().unwrap();
    let keeper = models
        .iter()
        .find(|model| model["model"] == "keeper:latest" || model["model"] == "keeper");
    assert_eq!(keeper.unwrap_or_else(|| panic!("{running}"))["context_length"], 1024);

    let shown = shop.post("/api/show", json!({ "model": "keeper" })).await;
    assert_eq!(shown["license"], "MIT\nor not");
    assert_eq!(shown["system"], system);
}

// L16
#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_runs_is_deleted_when_its_answers_are_complete() {
    let shop = Shop::new();
    shop.create(json!({ "model": "brief" })).await;
    let body = json!({ "model": "brief", "prompt": "x", "stream": true, "ignore_eos": true, "max_tokens": 200 });
    let request = Shop::request(Method::POST, "/v1/completions", &body);
    let mut stream = shop.app.clone().oneshot(request).await.unwrap().into_body();
    let first = stream.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(shop.loaded(), ["brief"]);

    let deletion = shop.send(Method::DELETE, "/api/delete", json!({ "model": "brief" }));
    let (deleted, text) = tokio::join!(deletion, async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(shop.loaded(), ["brief"], "its answer is not complete");
        let rest = stream.collect().await.unwrap().to_bytes();
        String::from_utf8([first, rest].concat()).unwrap()
    });
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    assert_eq!(deleted, (StatusCode::OK, String::new()));
    assert_eq!(shop.loaded(), [] as [String; 0]);
    let (status, _) = shop.send(Method::POST, "/api/chat", chat("brief")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_cannot_be_deleted_stays_loaded() {
    let shop = Shop::new();
    shop.post("/api/generate", json!({ "model": embedded::NAME })).await;
    assert_eq!(shop.loaded(), [embedded::NAME]);
    let (status, text) = shop
        .send(Method::DELETE, "/api/delete", json!({ "model": embedded::NAME }))
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{text}");
    assert_eq!(shop.loaded(), [embedded::NAME]);
}

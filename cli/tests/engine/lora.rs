//! LoRA adapters over the real engine and the embedded model.

use crate::adapter::{AdapterFile, Value as Meta, for_tiny};
use crate::served;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use llama_turboquant_cli::commands::serve::backend::{Backend, CancelToken, Wanted};
use llama_turboquant_cli::commands::serve::engine::{Engine, FixedCatalog, named};
use llama_turboquant_cli::commands::serve::on_offer::limits;
use llama_turboquant_cli::commands::serve::{AppState, Settings, app};
use llama_turboquant_cli::embedded;
use llama_turboquant_cli::loras::{LoraFile, LoraFiles};
use llama_turboquant_cli::options::ModelOverrides;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;
use tower::ServiceExt;

/// A folder with adapters of the embedded model.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("one.gguf", &for_tiny(1));
        folder.write("two.gguf", &for_tiny(2));
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, file: &AdapterFile) -> PathBuf {
        std::fs::write(self.path(name), file.bytes()).unwrap();
        self.path(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }
}

/// The embedded model behind a router; f16, whose answers do not depend on where in the cache they are.
struct Server {
    router: axum::Router,
    engine: Arc<Engine>,
}

impl Server {
    fn new(options: &[&str]) -> Self {
        let engine = served::engine(
            &[
                &["-c", "2048", "--cache-type-k", "f16", "--cache-type-v", "f16"],
                options,
            ]
            .concat(),
        );
        let router = app(AppState::new(engine.clone(), Settings::default()));
        Self { router, engine }
    }

    async fn send(&self, method: Method, path: &str, body: String) -> Value {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(Body::from(body))
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.send(Method::POST, path, body.to_string()).await
    }

    /// The greedy answer to a text, and the tokens that were cached.
    async fn complete(&self, extra: Value) -> (String, u64) {
        let mut body = json!({ "prompt": "The fox and the goose walked", "temperature": 0, "max_tokens": 10,
            "ignore_eos": true });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let answer = self.post("/v1/completions", body).await;
        let cached = &answer["usage"]["prompt_tokens_details"]["cached_tokens"];
        (
            answer["choices"][0]["text"].as_str().unwrap().to_owned(),
            cached.as_u64().unwrap(),
        )
    }

    /// The same from scratch, so that it does not depend on what was asked before.
    async fn answer(&self, mut extra: Value) -> String {
        extra["cache_prompt"] = json!(false);
        self.complete(extra).await.0
    }

    async fn scales(&self) -> Vec<f64> {
        let list = self.send(Method::GET, "/lora-adapters", String::new()).await;
        list.as_array()
            .unwrap()
            .iter()
            .map(|one| one["scale"].as_f64().unwrap())
            .collect()
    }
}

fn lora(id: u32, scale: f32) -> Value {
    json!({ "lora": [{ "id": id, "scale": scale }] })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_options_apply_adapters_to_all_requests_and_a_request_beats_them() {
    let folder = Folder::new();
    let (one, two) = (folder.text("one.gguf"), folder.text("two.gguf"));
    let plain = Server::new(&[]).answer(json!({})).await;
    let server = Server::new(&["--lora", &one, "--lora-scaled", &format!("{two}:0")]);
    assert_eq!(server.scales().await, [1.0, 0.0]);
    let first = server.answer(json!({})).await;
    let second = server.answer(lora(1, 1.0)).await;
    assert!(
        first != plain && second != plain && first != second,
        "{plain}|{first}|{second}"
    );
    assert_eq!(server.answer(json!({ "lora": [] })).await, plain);
    assert_eq!(server.answer(lora(0, 1.0)).await, first);
    assert_eq!(
        server.answer(json!({})).await,
        first,
        "a request changes nothing for others"
    );
    assert_eq!(
        Server::new(&["--lora", &format!("{two},{one}")]).scales().await,
        [1.0, 1.0]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn adapters_that_are_not_applied_at_first_are_scaled_later() {
    let folder = Folder::new();
    let (one, two) = (folder.text("one.gguf"), folder.text("two.gguf"));
    let server = Server::new(&["--lora", &one, "--lora", &two, "--lora-init-without-apply"]);
    assert_eq!(server.scales().await, [0.0, 0.0]);
    let plain = server.answer(json!({})).await;
    let wanted = server.answer(lora(1, 1.0)).await;
    server.post("/lora-adapters", json!([{ "id": 0, "scale": 0.5 }])).await;
    assert_eq!(server.scales().await, [0.5, 0.0]);
    server.post("/lora-adapters", json!([{ "id": 1, "scale": 1 }])).await;
    assert_eq!(
        server.scales().await,
        [0.0, 1.0],
        "those that are not named are not applied"
    );
    let scaled = server.answer(json!({})).await;
    assert_eq!(scaled, wanted);
    assert_ne!(scaled, plain);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_with_different_adapters_side_by_side_are_answered_as_alone() {
    let folder = Folder::new();
    let server = Server::new(&["--lora", &folder.text("one.gguf"), "--lora", &folder.text("two.gguf")]);
    let all = [json!({ "lora": [] }), lora(0, 1.0), lora(1, 1.0)];
    let mut alone = Vec::new();
    for extra in &all {
        alone.push(server.answer(extra.clone()).await);
    }
    let [a, b, c] = all;
    let (a, b, c) = tokio::join!(server.answer(a), server.answer(b), server.answer(c));
    assert_eq!([a, b, c].as_slice(), alone);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_is_reused_only_under_the_adapters_it_was_computed_with() {
    let folder = Folder::new();
    let server = Server::new(&["--lora", &folder.text("one.gguf"), "--parallel", "2"]);
    assert_eq!(server.complete(json!({})).await.1, 0);
    assert_eq!(server.complete(lora(0, 0.5)).await.1, 0);
    assert!(server.complete(lora(0, 1.0)).await.1 > 0);
    server.post("/lora-adapters", json!([{ "id": 0, "scale": 0.5 }])).await;
    assert!(server.complete(json!({})).await.1 > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn embeddings_and_echoed_log_probabilities_are_those_under_the_adapters() {
    let folder = Folder::new();
    let server = Server::new(&["--lora", &folder.text("one.gguf")]);
    let vector = || server.post("/v1/embeddings", json!({ "input": "a goose" }));
    let echo = json!({ "prompt": "The fox and the goose", "echo": true, "logprobs": 0, "max_tokens": 0 });
    let scores = || server.post("/v1/completions", echo.clone());
    let (with_vector, with_scores) = (
        vector().await["data"].clone(),
        scores().await["choices"][0]["logprobs"].clone(),
    );
    server.post("/lora-adapters", json!([])).await;
    assert_ne!(vector().await["data"], with_vector);
    assert_ne!(scores().await["choices"][0]["logprobs"], with_scores);
}

#[tokio::test(flavor = "multi_thread")]
async fn adapters_count_in_the_memory_of_their_model() {
    let folder = Folder::new();
    let with = Server::new(&["--lora", &folder.text("one.gguf")]).engine.running()[0].memory;
    let without = Server::new(&[]).engine.running()[0].memory;
    let size = std::fs::metadata(folder.path("one.gguf")).unwrap().len();
    let more = with.weights - without.weights;
    assert!(more > size / 2 && more <= size, "{more} of {size}");
}

#[test]
fn an_adapter_that_does_not_load_keeps_the_server_from_starting() {
    let folder = Folder::new();
    let fails = |option: &str, file: &PathBuf| {
        let error = served::try_engine(&[option, file.to_str().unwrap()]).err().unwrap();
        format!("{error:#}")
    };
    let llama = for_tiny(1).with("general.architecture", Meta::from("llama"));
    let text = fails("--lora", &folder.write("llama.gguf", &llama));
    assert!(text.contains("llama.gguf") && text.contains("qwen3"), "{text}");
    assert!(fails("--lora", &folder.path("missing.gguf")).contains("no such file"));
    let activated = for_tiny(1).with("adapter.alora.invocation_tokens", Meta::Tokens(vec![5]));
    let text = fails("--lora", &folder.write("activated.gguf", &activated));
    assert!(text.contains("activated.gguf") && text.contains("aLoRA"), "{text}");
}

#[test]
fn of_several_models_only_that_of_the_options_and_those_that_the_configuration_names_have_adapters() {
    let folder = Folder::new();
    let args = crate::zoo::args(&["-c", "512"]);
    let said = ModelOverrides {
        lora_scaled: vec![LoraFile {
            path: folder.path("two.gguf"),
            scale: 0.5,
        }],
        ..ModelOverrides::new("configured")
    };
    let mut settings = crate::zoo::settings(&["-c", "512"]);
    settings.loras = LoraFiles::new(vec![folder.path("one.gguf")], Vec::new());
    let file = embedded::path().unwrap();
    let names = ["main", "configured", "other"];
    let catalog = FixedCatalog::new(names.map(|name| named(name, Some(file.clone()))).into());
    let limits = limits(&args, &[said]).unwrap();
    let engine = Engine::new(Arc::new(catalog), settings, limits, Some("main".into())).unwrap();
    engine.load_start_up().unwrap();
    let scales = names.map(|name| {
        let wanted = Wanted {
            exact: true,
            ..Wanted::named(Some(name))
        };
        let opened = engine.open(&wanted, &CancelToken::new()).unwrap();
        let loras = engine.loras(name).unwrap();
        assert_eq!(opened.card.loras as usize, loras.len());
        loras.iter().map(|lora| lora.scale).collect::<Vec<_>>()
    });
    assert_eq!(scales, [vec![1.0], vec![0.5], vec![]]);
}

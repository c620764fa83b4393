//! `/`, `/api/version`, `/api/tags`, `/api/show`, `/api/ps`.

use std::time::{Duration, UNIX_EPOCH};

use axum::http::Method;
use serde_json::{Value, json};

use crate::serve::backend::{Details, PromptCacheUse};
use crate::support::{Scripted, Server, about, card, greeting};

// L1
#[tokio::test]
async fn the_root_says_that_ollama_is_running() {
    let server = Server::answering([]);
    for accept in ["*/*", "text/plain"] {
        let reply = server.call(Method::GET, "/", &[("accept", accept)]).await;
        assert_eq!((reply.status.as_u16(), reply.text.as_str()), (200, "Ollama is running"));
        assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
    }
    let reply = server.call(Method::HEAD, "/", &[]).await;
    assert_eq!((reply.status.as_u16(), reply.text.as_str()), (200, ""));
}

// L1
#[tokio::test]
async fn the_version_is_three_bare_numbers_from_0_6_4_on() {
    let server = Server::answering([]);
    let body = server.get("/api/version").await.json();
    let numbers = body["version"].as_str().unwrap().split('.');
    let numbers: Vec<u32> = numbers.map(|number| number.parse().unwrap()).collect();
    assert_eq!(numbers.len(), 3);
    assert!(numbers >= vec![0, 6, 4], "{numbers:?}");
    assert_eq!(body["turboquant"], env!("CARGO_PKG_VERSION"));
}

// L1
#[tokio::test]
async fn version_and_tags_answer_head() {
    let server = Server::answering([]);
    for path in ["/api/version", "/api/tags"] {
        let reply = server.call(Method::HEAD, path, &[]).await;
        assert_eq!((reply.status.as_u16(), reply.text.as_str()), (200, ""));
    }
}

// L12
#[tokio::test]
async fn tags_have_all_that_clients_parse() {
    let reply = Server::answering([]).get("/api/tags").await;
    assert_eq!(reply.header("content-type"), Some("application/json; charset=utf-8"));
    let expected = json!({ "models": [{
        "name": "tiny:latest",
        "model": "tiny:latest",
        "modified_at": "2023-11-14T22:13:20.000000000Z",
        "size": 2_000_000,
        "digest": "0123456789abcdef".repeat(4),
        "details": details(),
        "capabilities": ["completion", "tools"],
    }] });
    assert_eq!(reply.json(), expected);
}

fn details() -> Value {
    json!({ "parent_model": "", "format": "gguf", "family": "qwen3", "families": ["qwen3"],
        "parameter_size": "1.0M", "quantization_level": "Q8_0" })
}

// L12
#[tokio::test]
async fn names_from_tags_are_understood() {
    let server = Server::answering(greeting());
    let name = server.get("/api/tags").await.json()["models"][0]["model"].clone();
    assert_eq!(server.api_chat(json!({ "model": name })).await.lines().len(), 3);
}

// L13
#[tokio::test]
async fn show_takes_model_and_name() {
    let server = Server::answering([]);
    for body in [
        json!({ "model": "tiny" }),
        json!({ "name": "tiny" }),
        json!({ "model": "", "name": "tiny:latest" }),
    ] {
        let about = server.post("/api/show", body).await.json();
        assert_eq!(about["details"], details());
        assert_eq!(about["capabilities"], json!(["completion", "tools"]));
        assert_eq!(about["template"], "{{ messages }}");
        assert_eq!(about["modified_at"], "2023-11-14T22:13:20.000000000Z");
        for name in ["license", "modelfile", "parameters"] {
            assert!(about[name].is_string(), "{name}");
        }
    }
}

// L13
#[tokio::test]
async fn model_info_has_architecture_and_context_length_even_if_the_file_does_not_say() {
    let mut backend = Scripted::answering([]);
    let mut bare = about(&backend.cards[0]);
    bare.metadata = json!({ "qwen3.context_length": null }).as_object().unwrap().clone();
    backend.about = vec![bare];
    let info = Server::new(backend)
        .post("/api/show", json!({ "model": "tiny" }))
        .await
        .json()["model_info"]
        .clone();
    assert_eq!(info["general.architecture"], "qwen3");
    assert_eq!(info["qwen3.context_length"], 8192);
    assert_eq!(info["general.parameter_count"], 1_000_000);
    assert_eq!(info.get("tokenizer.ggml.tokens"), Some(&Value::Null));
}

// L13
#[tokio::test]
async fn verbose_fills_in_the_vocabulary() {
    let body = json!({ "model": "tiny", "verbose": true });
    let info = Server::answering([]).post("/api/show", body).await.json()["model_info"].clone();
    let tokens = info["tokenizer.ggml.tokens"].as_array().unwrap();
    assert_eq!((tokens.len(), &tokens[65]), (256, &json!("A")));
}

// L13
#[tokio::test]
async fn an_alias_shows_what_it_was_made_from() {
    let mut backend = Scripted::answering([]);
    let parameters = json!({ "temperature": 0.5, "stop": ["a", "b"] });
    backend.about = vec![Details {
        system: Some("Be brief.".into()),
        parameters: parameters.as_object().unwrap().clone(),
        parent: Some("base".into()),
        license: Some("MIT".into()),
        ..about(&backend.cards[0])
    }];
    let about = Server::new(backend)
        .post("/api/show", json!({ "model": "tiny" }))
        .await
        .json();
    assert_eq!(about["details"]["parent_model"], "base");
    assert_eq!(about["system"], "Be brief.");
    assert_eq!(about["license"], "MIT");
    let lines: Vec<&str> = about["parameters"].as_str().unwrap().lines().collect();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let lines: Vec<_> = lines.into_iter().map(words).collect();
    assert_eq!(lines, [["temperature", "0.5"], ["stop", "\"a\""], ["stop", "\"b\""]]);
    let file = about["modelfile"].as_str().unwrap();
    for line in ["FROM tiny.gguf", "SYSTEM \"\"\"Be brief.\"\"\"", "PARAMETER stop \"b\""] {
        assert!(file.lines().any(|found| found == line), "{line} in {file}");
    }
}

// L14
#[tokio::test]
async fn ps_tells_what_is_allocated_and_when_it_ends() {
    let mut backend = Scripted::answering([]);
    backend.expires = Some(UNIX_EPOCH + Duration::from_secs(1_700_000_300));
    backend.watched.prompt_cache = PromptCacheUse {
        limit: None,
        entries: 2,
        tokens: 700,
        bytes: 42_350,
        ..PromptCacheUse::default()
    };
    let reply = Server::new(backend).get("/api/ps").await;
    let expected = json!({ "models": [{
        "name": "tiny:latest",
        "model": "tiny:latest",
        "size": 2_600_000,
        "digest": "0123456789abcdef".repeat(4),
        "details": details(),
        "expires_at": "2023-11-14T22:18:20.000000000Z",
        "size_vram": 0,
        "context_length": 4096,
        "kv": {
            "type_k": "turbo4", "type_v": "turbo3", "bytes": 500_000,
            "prompt_cache": { "bytes": 42_350, "limit": null, "prompts": 2, "tokens": 700 },
        },
    }] });
    assert_eq!(reply.json(), expected);
}

// L14
#[tokio::test]
async fn a_model_that_stays_expires_in_centuries() {
    let models = Server::answering([]).get("/api/ps").await.json();
    let year = models["models"][0]["expires_at"].as_str().unwrap()[..4].to_owned();
    assert!(year.parse::<u32>().unwrap() > 2300, "{year}");
}

// L17
#[tokio::test]
async fn the_openai_surface_is_served_beside_it() {
    let server = Server::answering(greeting());
    server.api_chat(json!({})).await.lines();
    let answer = server.chat(json!({ "model": "tiny:latest" })).await.json();
    assert_eq!(answer["choices"][0]["message"]["content"], "Hello!");
    assert_eq!(server.get("/v1/models").await.json()["data"][0]["id"], "tiny");
}

// L14
#[tokio::test]
async fn several_models_are_all_listed() {
    let mut backend = Scripted::answering([]);
    backend.cards.push(card("org/second:q4"));
    let server = Server::new(backend);
    for path in ["/api/tags", "/api/ps"] {
        let models = server.get(path).await.json()["models"].clone();
        let names: Vec<_> = models
            .as_array()
            .unwrap()
            .iter()
            .map(|model| model["name"].clone())
            .collect();
        assert_eq!(names, ["tiny:latest", "org/second:q4"]);
    }
}

//! Loading and unloading as clients see it over HTTP.

use crate::zoo::*;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use llama_turboquant_cli::commands::serve::backend::Backend;
use serde_json::{Value, json};
use std::time::Duration;
use tower::ServiceExt;

async fn send(app: &axum::Router, request: Request<Body>) -> (StatusCode, Option<String>, Value) {
    let response = app.clone().oneshot(request).await.unwrap();
    let loaded = response.headers().get("x-turboquant-loaded");
    let loaded = loaded.map(|value| value.to_str().unwrap().to_owned());
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, loaded, serde_json::from_slice(&bytes).unwrap())
}

async fn post(app: &axum::Router, path: &str, body: Value) -> (StatusCode, Option<String>, Value) {
    send(app, Request::post(path).body(Body::from(body.to_string())).unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_says_that_its_model_was_loaded_and_how() {
    let zoo = Zoo::new();
    let app = zoo.app();
    let mut body = json!({ "model": "a", "prompt": "x", "max_tokens": 2, "keep_alive": -1 });
    let (status, loaded, answer) = post(&app, "/v1/completions", body.clone()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert!(loaded.unwrap().ends_with("; n_ctx=512; kv=f16/f16"));
    assert_eq!(zoo.running("a").expires, None);
    assert_eq!(post(&app, "/v1/completions", body.clone()).await.1, None);
    body["options"] = json!({ "kv_cache_type": "q8_0:f16", "num_ctx": 1024 });
    let (_, loaded, _) = post(&app, "/v1/completions", body).await;
    assert!(loaded.unwrap().ends_with("; n_ctx=1024; kv=q8_0/f16"));
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_loaded_and_unloaded_by_hand_as_with_llama_server() {
    let zoo = Zoo::new();
    let app = zoo.app();
    let states = async || {
        let request = Request::get("/models").body(Body::empty()).unwrap();
        let list = send(&app, request).await.2;
        let models = list["data"].as_array().unwrap().clone();
        models
            .iter()
            .map(|model| model["status"]["value"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(states().await, ["unloaded"; 4]);
    let (status, _, answer) = post(&app, "/models/load", json!({ "model": "b" })).await;
    assert_eq!((status, answer), (StatusCode::OK, json!({ "success": true })));
    assert_eq!(states().await, ["unloaded", "loaded", "unloaded", "unloaded"]);
    let (status, _, answer) = post(&app, "/models/unload", json!({ "model": "b" })).await;
    assert_eq!((status, answer), (StatusCode::OK, json!({ "success": true })));
    assert_eq!(states().await, ["unloaded"; 4]);
    let (status, _, answer) = post(&app, "/models/unload", json!({ "model": "b" })).await;
    assert_eq!(
        (status, &answer["error"]["param"]),
        (StatusCode::BAD_REQUEST, &json!("model"))
    );
    let (status, _, answer) = post(&app, "/models/load", json!({ "model": "x" })).await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (StatusCode::NOT_FOUND, &json!("model_not_found"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_runs_to_its_end_before_its_model_is_unloaded() {
    let zoo = Zoo::new();
    let body = json!({ "model": "a", "prompt": "x", "stream": true, "ignore_eos": true, "max_tokens": 200, "seed": 1 });
    let request = Request::post("/v1/completions")
        .body(Body::from(body.to_string()))
        .unwrap();
    let mut stream = zoo.app().oneshot(request).await.unwrap().into_body();
    let first = stream.frame().await.unwrap().unwrap();
    let engine = zoo.engine.clone();
    let unloading = tokio::task::spawn_blocking(move || engine.unload("a").unwrap());
    let mut text = String::from_utf8(first.into_data().unwrap().to_vec()).unwrap();
    let rest = stream.collect().await.unwrap().to_bytes();
    text.push_str(std::str::from_utf8(&rest).unwrap());
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    assert!(text.contains("\"finish_reason\":\"length\""), "{text}");
    assert!(unloading.await.unwrap());
    assert!(zoo.loaded().is_empty());
}

// O17
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_dropped_while_its_model_loads_cancels_the_load() {
    let (zoo, gate) = gated();
    let app = zoo.app();
    let body = json!({ "model": "a", "prompt": "x" });
    let request = tokio::spawn(async move { post(&app, "/v1/completions", body).await });
    while gate.asked() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());
    let given_up = async {
        while !zoo.engine.loading().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, given_up)
        .await
        .expect("the load is given up");
    gate.open();
    let again = tokio::task::spawn_blocking(move || zoo.open("a").unwrap().load);
    assert!(
        again.await.unwrap() > Duration::ZERO,
        "what was given up was not loaded"
    );
}

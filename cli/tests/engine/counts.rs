//! What `/metrics` says that only the engine can count.

use crate::served;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use llama_turboquant_cli::commands::serve::backend::{Backend, Counts};
use llama_turboquant_cli::commands::serve::{AppState, Settings, app};
use serde_json::{Value, json};
use tower::ServiceExt;

async fn send(app: &axum::Router, request: Request<Body>) -> String {
    let response = app.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert_eq!(status, StatusCode::OK, "{text}");
    text
}

async fn complete(app: &axum::Router, extra: Value) {
    let mut body = json!({ "prompt": "Once", "ignore_eos": true, "seed": 1 });
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let request = Request::post("/v1/completions").body(Body::from(body.to_string()));
    send(app, request.unwrap()).await;
}

/// Loads, unloads, batches and slots in a batch.
async fn scrape(app: &axum::Router) -> [f64; 4] {
    let text = send(app, Request::get("/metrics").body(Body::empty()).unwrap()).await;
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    };
    [
        value("turboquant_model_loads_total"),
        value("turboquant_model_unloads_total"),
        value("llamacpp:n_decode_total"),
        value("llamacpp:n_busy_slots_per_decode"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn loads_and_batches_are_counted_and_outlive_their_model() {
    let engine = served::engine(&[]);
    let app = app(AppState::new(engine.clone(), Settings::default()));
    assert_eq!(scrape(&app).await, [1.0, 0.0, 0.0, 0.0]);
    // the prompt with the first token, and one batch for each of the others but the last
    complete(&app, json!({ "max_tokens": 4 })).await;
    assert_eq!(scrape(&app).await, [1.0, 0.0, 4.0, 1.0]);
    let unloading = engine.clone();
    tokio::task::spawn_blocking(move || unloading.unload("tiny").unwrap())
        .await
        .unwrap();
    assert_eq!(scrape(&app).await, [1.0, 1.0, 4.0, 1.0]);
    complete(&app, json!({ "max_tokens": 2 })).await;
    assert_eq!(scrape(&app).await, [2.0, 1.0, 6.0, 1.0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_side_by_side_share_their_batches() {
    let engine = served::engine(&[]);
    let app = app(AppState::new(engine.clone(), Settings::default()));
    complete(&app, json!({ "max_tokens": 32, "n": 2 })).await;
    let [.., per_batch] = scrape(&app).await;
    assert!(per_batch > 1.0 && per_batch <= 2.0, "{per_batch}");
    let Counts {
        decodes: Some(decodes),
        decoded_slots: Some(slots),
        ..
    } = engine.counts()
    else {
        panic!("the engine counts")
    };
    assert_eq!(slots as f64 / decodes as f64, per_batch);
}

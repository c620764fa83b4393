//! Errors under `/api/`: `{"error":"text"}`, whoever writes them.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::json;

use crate::serve::Settings;
use crate::serve::backend::{BackendError, Health};
use crate::serve::guard::ApiKeys;
use crate::support::{Scripted, Server, greeting};

/// Routes that name a model.
const OF_A_MODEL: [&str; 5] = [
    "/api/generate",
    "/api/chat",
    "/api/show",
    "/api/embed",
    "/api/embeddings",
];

// L8
#[tokio::test]
async fn a_body_that_is_no_json_is_400_and_an_empty_one_is_named() {
    let server = Server::answering([]);
    for path in OF_A_MODEL {
        let send = async |body: &'static str| server.send(Request::post(path).body(Body::from(body)).unwrap()).await;
        assert_eq!(send("").await.says(400), "missing request body");
        assert!(send("{").await.says(400).contains("not valid JSON"));
        assert!(send("[]").await.says(400).contains("must be a JSON object"));
    }
}

// L8
#[tokio::test]
async fn an_unknown_model_is_404_by_name() {
    let server = Server::answering(greeting());
    for path in OF_A_MODEL {
        let body =
            json!({ "model": "x", "prompt": "a", "input": "a", "messages": [{ "role": "user", "content": "a" }] });
        assert_eq!(server.post(path, body).await.says(404), "model 'x' not found");
    }
    assert_eq!(server.backend.opened(), []);
}

// L8
#[tokio::test]
async fn a_request_without_a_model_is_400() {
    let server = Server::answering(greeting());
    for path in OF_A_MODEL {
        for body in [
            json!({}),
            json!({ "model": "" }),
            json!({ "model": null }),
            json!({ "model": 5 }),
        ] {
            assert!(server.post(path, body).await.says(400).contains("model"));
        }
    }
}

// L8
#[tokio::test]
async fn a_full_queue_is_503_in_ollamas_words() {
    let retry_after = Duration::from_millis(1500);
    let server = Server::new(Scripted::refusing(BackendError::Overloaded { retry_after }));
    for reply in [server.api_chat(json!({})).await, server.api_generate(json!({})).await] {
        assert_eq!(
            reply.says(503),
            "server busy, please try again.  maximum pending requests exceeded"
        );
        assert_eq!(reply.header("retry-after"), Some("2"));
    }
}

// L8
#[tokio::test]
async fn an_internal_error_is_500_without_its_detail() {
    let error = BackendError::internal("decoding failed", "at address 0x1234");
    let server = Server::new(Scripted::refusing(error));
    assert_eq!(server.api_chat(json!({})).await.says(500), "decoding failed");
}

#[tokio::test]
async fn a_model_that_is_loading_is_503() {
    let server = Server::new(Scripted::answering([]).with_health(Health::Loading));
    assert_eq!(server.api_chat(json!({})).await.says(503), "Loading model");
}

// L8
#[tokio::test]
async fn unknown_routes_and_wrong_methods_are_errors_of_this_shape() {
    let server = Server::answering([]);
    assert!(server.get("/api/nothing").await.says(404).contains("/api/nothing"));
    let reply = server.get("/api/chat").await;
    reply.says(405);
    assert_eq!(reply.header("allow"), Some("POST"));
    server.post("/api/tags", json!({})).await.says(405);
}

#[tokio::test]
async fn errors_elsewhere_keep_openais_shape() {
    let server = Server::answering([]);
    server.get("/apix").await.error(404, "not_found_error");
    server
        .post("/v1/chat/completions", json!({}))
        .await
        .error(400, "invalid_request_error");
}

#[tokio::test]
async fn a_key_is_needed_here_too_and_its_lack_is_told_in_this_shape() {
    let settings = Settings {
        api_keys: ApiKeys::new(["secret".to_owned()]),
        ..Settings::default()
    };
    let server = Server::with(Scripted::answering([]), settings);
    let reply = server.get("/api/tags").await;
    reply.says(401);
    assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
    let reply = server
        .call(Method::GET, "/api/tags", &[("authorization", "Bearer secret")])
        .await;
    assert_eq!(reply.status, 200);
    assert_eq!(server.get("/").await.status, 200);
}

#[tokio::test]
async fn a_foreign_page_is_refused_in_this_shape() {
    let server = Server::answering([]);
    let headers = [("origin", "https://example.org"), ("host", "localhost")];
    server.call(Method::GET, "/api/tags", &headers).await.says(403);
}

#[tokio::test]
async fn a_body_over_the_limit_is_413() {
    let settings = Settings {
        body_limit: 64,
        ..Settings::default()
    };
    let server = Server::with(Scripted::answering([]), settings);
    server
        .api_generate(json!({ "prompt": "x".repeat(100) }))
        .await
        .says(413);
}

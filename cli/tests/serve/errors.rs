//! Errors: OpenAI's shape, the right status, and hints about trying again.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::json;

use crate::serve::Settings;
use crate::serve::backend::{BackendError, Event, Health};
use crate::support::{Scripted, Server, greeting};

// O9
#[tokio::test]
async fn an_unknown_route_is_404_json() {
    let reply = Server::answering([]).get("/v1/nothing").await;
    assert!(
        reply.error(404, "not_found_error")["message"]
            .as_str()
            .unwrap()
            .contains("/v1/nothing")
    );
}

// O9
#[tokio::test]
async fn a_wrong_method_is_405_json_and_names_the_right_one() {
    let reply = Server::answering([]).get("/v1/chat/completions").await;
    reply.error(405, "invalid_request_error");
    assert_eq!(reply.header("allow"), Some("POST"));
    let reply = Server::answering([]).call(Method::DELETE, "/v1/models", &[]).await;
    reply.error(405, "invalid_request_error");
}

// O9
#[tokio::test]
async fn a_body_that_is_no_json_object_is_400() {
    let server = Server::answering([]);
    for body in ["", "{", "[]", "\"x\"", "{\"messages\": NaN}", "\u{0}"] {
        let request = Request::post("/v1/chat/completions").body(Body::from(body)).unwrap();
        server.send(request).await.error(400, "invalid_request_error");
    }
}

// O9
#[tokio::test]
async fn a_body_nested_too_deeply_is_400() {
    let body = "[".repeat(100_000);
    let request = Request::post("/v1/completions").body(Body::from(body)).unwrap();
    Server::answering([])
        .send(request)
        .await
        .error(400, "invalid_request_error");
}

// O9
#[tokio::test]
async fn a_body_over_the_limit_is_413() {
    let settings = Settings {
        body_limit: 64,
        ..Settings::default()
    };
    let server = Server::with(Scripted::answering([]), settings);
    let reply = server.complete(json!({ "prompt": "x".repeat(100) })).await;
    reply.error(413, "invalid_request_error");
}

#[tokio::test]
async fn the_content_type_does_not_matter() {
    let request = Request::post("/v1/completions")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(r#"{"prompt":"x"}"#));
    let reply = Server::answering(greeting()).send(request.unwrap()).await;
    assert_eq!(reply.status, 200);
}

// O10
#[tokio::test]
async fn a_prompt_that_does_not_fit_is_400_with_both_numbers() {
    let overflow = BackendError::ContextOverflow {
        n_prompt: 5000,
        n_ctx: 4096,
    };
    let server = Server::answering([Event::Failed(overflow)]);
    for reply in [server.chat(json!({})).await, server.complete(json!({})).await] {
        let error = reply.error(400, "exceed_context_size_error");
        assert_eq!(error["code"], "context_length_exceeded");
        assert_eq!(error["n_prompt_tokens"], 5000);
        assert_eq!(error["n_ctx"], 4096);
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("exceeds the available context size"));
    }
}

// O11
#[tokio::test]
async fn requests_while_loading_are_503() {
    let server = Server::new(Scripted::answering([]).with_health(Health::Loading));
    for reply in [server.chat(json!({})).await, server.get("/health").await] {
        assert_eq!(reply.error(503, "unavailable_error")["message"], "Loading model");
        assert_eq!(reply.header("retry-after"), Some("2"));
    }
}

// O11
#[tokio::test]
async fn a_model_that_failed_to_load_is_503_with_the_reason_and_no_retry() {
    let health = Health::Failed("tiny.gguf: bad magic".into());
    let server = Server::new(Scripted::answering([]).with_health(health));
    let reply = server.chat(json!({})).await;
    assert_eq!(reply.error(503, "unavailable_error")["message"], "tiny.gguf: bad magic");
    assert_eq!(reply.header("x-should-retry"), Some("false"));
}

// O11
#[tokio::test]
async fn a_full_queue_is_429_and_says_when_to_come_back() {
    let retry_after = Duration::from_millis(1500);
    let server = Server::new(Scripted::refusing(BackendError::Overloaded { retry_after }));
    for stream in [false, true] {
        let reply = server.chat(json!({ "stream": stream })).await;
        reply.error(429, "rate_limit_error");
        assert_eq!(reply.header("retry-after"), Some("2"), "rounded up");
    }
}

// O9
#[tokio::test]
async fn the_caller_does_not_see_what_is_for_the_log() {
    let error = BackendError::internal("decoding failed", "at address 0x1234");
    let reply = Server::new(Scripted::refusing(error)).chat(json!({})).await;
    assert_eq!(reply.error(500, "server_error")["message"], "decoding failed");
    assert!(!reply.text.contains("0x1234"));
}

// O11
#[tokio::test]
async fn what_the_template_refuses_is_400() {
    let error = BackendError::InvalidRequest {
        message: "messages must alternate".into(),
        param: Some("messages".into()),
    };
    Server::answering([Event::Failed(error)])
        .chat(json!({}))
        .await
        .refuses("messages");
}

// O9
#[tokio::test]
async fn an_ability_the_backend_lacks_is_501() {
    let error = BackendError::NotSupported("no tools with this model".into());
    let reply = Server::new(Scripted::refusing(error)).chat(json!({})).await;
    reply.error(501, "not_supported_error");
}

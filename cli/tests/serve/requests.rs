//! What happens once per request: its id, its line in the log, and the answer to a panic.

use axum::body::Body;
use axum::http::{HeaderValue, Method, Request};
use serde_json::{Value, json};

use crate::serve::observe::RequestId;
use crate::support::{Log, Reply, Scripted, Server, greeting, hello, merge};

#[tokio::test]
async fn a_request_keeps_its_id_and_one_without_gets_one() {
    let server = Server::answering(greeting());
    let given = server
        .call(Method::GET, "/health", &[("x-request-id", "trace-7/a=b:c.d_e+f")])
        .await;
    assert_eq!(given.header("x-request-id"), Some("trace-7/a=b:c.d_e+f"));
    let (one, other) = (server.get("/health").await, server.get("/health").await);
    assert!(one.header("x-request-id").unwrap().starts_with("req_"));
    assert_ne!(one.header("x-request-id"), other.header("x-request-id"));
}

#[tokio::test]
async fn errors_and_streams_carry_the_id_too() {
    let server = Server::answering(greeting());
    assert!(server.get("/no/such").await.header("x-request-id").is_some());
    assert!(
        server
            .chat(json!({ "stream": true }))
            .await
            .header("x-request-id")
            .is_some()
    );
}

#[test]
fn an_id_that_could_forge_a_log_line_is_replaced() {
    for bad in ["", " ", "a b", "a\tb", "\"", "{}", "id=1;rm", &"x".repeat(129)] {
        let value = HeaderValue::from_str(bad).unwrap();
        assert!(RequestId::accept(Some(&value)).as_str().starts_with("req_"), "{bad:?}");
    }
    let latin = HeaderValue::from_bytes(b"caf\xe9").unwrap();
    assert!(RequestId::accept(Some(&latin)).as_str().starts_with("req_"));
    let longest = HeaderValue::from_str(&"x".repeat(128)).unwrap();
    assert_eq!(RequestId::accept(Some(&longest)).as_str().len(), 128);
}

async fn send(server: &Server, id: &str, method: Method, path: &str, body: Value) -> Reply {
    let request = Request::builder().method(method).uri(path).header("x-request-id", id);
    server.send(request.body(Body::from(body.to_string())).unwrap()).await
}

#[tokio::test]
async fn each_request_leaves_one_line_with_its_tokens_under_its_id() {
    let log = Log::start();
    let server = Server::answering(greeting());
    let body = merge(hello(), json!({ "stream": true }));
    send(&server, "one-line", Method::POST, "/v1/chat/completions", body).await;
    let lines = log.lines("one-line");
    assert_eq!(lines.len(), 1, "{lines:?}");
    let fields = &lines[0]["fields"];
    assert_eq!(fields["method"], "POST");
    assert_eq!(fields["path"], "/v1/chat/completions");
    assert_eq!(fields["status"], 200);
    assert_eq!((&fields["prompt_tokens"], &fields["tokens"]), (&json!(9), &json!(3)));
    assert_eq!(fields["whole"], true);
    assert!(fields["ms"].is_f64());
}

#[tokio::test]
async fn a_line_counts_the_tokens_of_texts_that_were_embedded_or_reranked() {
    let log = Log::start();
    let server = Server::answering([]);
    let texts = json!({ "query": "x", "documents": ["x", "y"] });
    for (id, path, body, tokens) in [
        ("embedded", "/v1/embeddings", json!({ "input": "four" }), 4),
        (
            "embedded-too",
            "/api/embed",
            json!({ "model": "tiny", "input": "abc" }),
            3,
        ),
        ("reranked", "/v1/rerank", texts, 7),
    ] {
        send(&server, id, Method::POST, path, body).await;
        let lines = log.lines(id);
        assert_eq!(lines[0]["fields"]["prompt_tokens"], tokens, "{path}: {lines:?}");
    }
}

#[tokio::test]
async fn probes_leave_no_line() {
    let log = Log::start();
    let server = Server::answering([]);
    for path in ["/health", "/metrics", "/v1/models"] {
        send(&server, "probe", Method::GET, path, json!(null)).await;
    }
    let paths: Vec<Value> = log
        .lines("probe")
        .iter()
        .map(|line| line["fields"]["path"].clone())
        .collect();
    assert_eq!(paths, ["/v1/models"]);
}

#[tokio::test]
async fn a_panic_in_a_handler_is_a_500_and_the_server_lives() {
    let log = Log::start();
    // the scripted backend has no script to play, and panics
    let server = Server::new(Scripted::playing([] as [Vec<_>; 0]));
    let reply = send(&server, "panics", Method::POST, "/v1/chat/completions", hello()).await;
    let error = reply.error(500, "server_error");
    assert!(
        !error["message"].as_str().unwrap().contains("subtract"),
        "no inner text: {error}"
    );
    assert_eq!(reply.header("x-request-id"), Some("panics"));
    assert_eq!(server.get("/health").await.status, 200);
    let lines = log.lines("panics");
    assert!(lines.iter().any(|line| line["level"] == "ERROR"), "{lines:?}");
}

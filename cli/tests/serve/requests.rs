//! What happens once per request: its id, its line in the log, and the answer to a panic.

use std::io::Write;
use std::sync::{Arc, Mutex};

use axum::http::{HeaderValue, Method};
use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

use crate::serve::observe::RequestId;
use crate::support::{Scripted, Server, greeting};

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

/// Collects what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Log {
    /// Collects the lines of this thread while the guard lives.
    fn start(&self) -> tracing::subscriber::DefaultGuard {
        let subscriber = tracing_subscriber::fmt().json().with_writer(self.clone()).finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn lines(&self) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[tokio::test]
async fn each_request_leaves_one_line_with_its_tokens_under_its_id() {
    let log = Log::default();
    let _guard = log.start();
    let server = Server::answering(greeting());
    server.chat(json!({ "stream": true })).await;
    let line = log.lines().pop().expect("a line");
    let fields = &line["fields"];
    assert_eq!(fields["method"], "POST");
    assert_eq!(fields["path"], "/v1/chat/completions");
    assert_eq!(fields["status"], 200);
    assert_eq!((&fields["prompt_tokens"], &fields["tokens"]), (&json!(9), &json!(3)));
    assert_eq!(fields["whole"], true);
    assert!(fields["ms"].is_f64());
    assert!(
        line["span"]["id"].as_str().is_some_and(|id| id.starts_with("req_")),
        "{line}"
    );
    assert_eq!(log.lines().len(), 1);
}

#[tokio::test]
async fn probes_leave_no_line() {
    let log = Log::default();
    let _guard = log.start();
    let server = Server::answering([]);
    server.get("/health").await;
    server.get("/metrics").await;
    assert_eq!(log.lines(), [] as [Value; 0]);
}

#[tokio::test]
async fn a_panic_in_a_handler_is_a_500_and_the_server_lives() {
    let log = Log::default();
    let _guard = log.start();
    // the scripted backend has no script to play, and panics
    let server = Server::new(Scripted::playing([] as [Vec<_>; 0]));
    let reply = server.chat(json!({})).await;
    let error = reply.error(500, "server_error");
    assert!(
        !error["message"].as_str().unwrap().contains("subtract"),
        "no inner text: {error}"
    );
    assert!(reply.header("x-request-id").is_some());
    assert_eq!(server.get("/health").await.status, 200);
    let lines = log.lines();
    assert!(lines.iter().any(|line| line["level"] == "ERROR"), "{lines:?}");
}

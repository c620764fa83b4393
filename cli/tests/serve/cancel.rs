//! A client that goes away frees what it used.

use std::time::Duration;

use axum::response::Response;
use futures::StreamExt;
use serde_json::{Value, json};

use crate::serve::backend::Event;
use crate::support::{Scripted, Server, Step, greeting, hello, merge, started};

const CHAT: &str = "/v1/chat/completions";

fn hanging(steps: Vec<Step>) -> Server {
    let script = steps.into_iter().chain([Step::Hang]).collect();
    Server::new(Scripted::playing([script]))
}

fn streamed() -> Value {
    merge(hello(), json!({ "stream": true }))
}

/// Lets the request begin, then drops it, as the server does when the connection closes.
async fn hang_up(server: &Server, body: Value) {
    let waiting = tokio::time::timeout(Duration::from_millis(50), server.open(CHAT, body)).await;
    assert!(waiting.is_err(), "no answer yet");
}

// O17
#[tokio::test]
async fn hanging_up_while_queued_cancels() {
    let server = hanging(vec![]);
    hang_up(&server, streamed()).await;
    server.backend.all_cancelled().await;
}

// O17
#[tokio::test]
async fn hanging_up_during_prefill_cancels() {
    let server = hanging(vec![started().into()]);
    hang_up(&server, streamed()).await;
    server.backend.all_cancelled().await;
}

// O17
#[tokio::test]
async fn hanging_up_during_decode_cancels() {
    let server = hanging(vec![started().into(), Event::text("Hel").into()]);
    let response: Response = server.open(CHAT, streamed()).await;
    let mut body = response.into_body().into_data_stream();
    assert!(body.next().await.is_some());
    assert_eq!(server.backend.running(), 1);
    drop(body);
    server.backend.all_cancelled().await;
}

// O17
#[tokio::test]
async fn hanging_up_on_a_whole_answer_cancels() {
    let server = hanging(vec![started().into(), Event::text("Hel").into()]);
    hang_up(&server, hello()).await;
    server.backend.all_cancelled().await;
}

#[tokio::test]
async fn hanging_up_cancels_all_choices() {
    let server = hanging(vec![started().into()]);
    hang_up(&server, merge(streamed(), json!({ "n": 2 }))).await;
    assert_eq!(server.backend.started(), 2);
    server.backend.all_cancelled().await;
}

#[tokio::test]
async fn a_failed_choice_cancels_the_others() {
    let fail = Event::Failed(crate::serve::backend::BackendError::invalid("no"));
    let scripts = [vec![started().into(), Step::Hang], vec![fail.into()]];
    let server = Server::new(Scripted::playing(scripts));
    server.chat(json!({ "n": 2 })).await.error(400, "invalid_request_error");
    server.backend.all_cancelled().await;
}

// O17
#[tokio::test]
async fn hanging_up_leaves_other_requests_alone() {
    let mut hang: Vec<Step> = vec![started().into()];
    hang.push(Step::Hang);
    let slow = greeting()
        .into_iter()
        .flat_map(|event| [Step::Sleep(Duration::from_millis(30)), event.into()]);
    let server = Server::new(Scripted::playing([hang, slow.collect()]));
    let (_, other) = tokio::join!(hang_up(&server, streamed()), async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        server.chat(json!({})).await
    });
    assert_eq!(other.json()["choices"][0]["message"]["content"], "Hello!");
}

#[tokio::test]
async fn closing_ends_running_jobs_and_says_so() {
    let server = hanging(vec![started().into(), Event::text("Hel").into()]);
    let (streamed, whole, ()) = tokio::join!(server.post(CHAT, streamed()), server.post(CHAT, hello()), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        server.state.close();
    });
    let error = &streamed.chunks().pop().unwrap()["error"];
    assert_eq!(error["message"], "the server is shutting down");
    whole.error(503, "unavailable_error");
    server.backend.all_cancelled().await;
}

//! How far the processing of a prompt has come, in llama-server's form.

use serde_json::json;

use crate::serve::backend::{Event, Finish, Progress};
use crate::support::{Server, done, started};

fn server() -> Server {
    let step = |processed| {
        Event::Progress(Progress {
            total: 9,
            cached: 4,
            processed,
            time_ms: 2.5,
        })
    };
    Server::answering([started(), step(6), step(9), Event::text("Hi"), done(Finish::Stop)])
}

#[tokio::test]
async fn a_chat_tells_it_in_chunks_of_their_own() {
    let server = server();
    let reply = server.chat(json!({ "stream": true, "return_progress": true })).await;
    let chunks = reply.chunks();
    let block = json!({ "total": 9, "cache": 4, "processed": 6, "time_ms": 2.5 });
    assert_eq!(chunks[1]["prompt_progress"], block);
    assert_eq!(chunks[2]["prompt_progress"]["processed"], 9);
    // O3: a chunk like all others for clients that do not know it
    for chunk in &chunks {
        assert_eq!(
            (&chunk["id"], &chunk["choices"][0]["index"]),
            (&chunks[0]["id"], &json!(0))
        );
    }
    assert_eq!(chunks[1]["choices"][0]["delta"], json!({}));
    assert!(server.backend.chat_job().generation.return_progress);
}

#[tokio::test]
async fn a_native_completion_tells_it_with_empty_content() {
    let request = json!({ "prompt": "Once", "stream": true, "return_progress": true });
    let chunks = server().post("/completion", request).await.chunks();
    assert_eq!((&chunks[0]["content"], &chunks[0]["stop"]), (&json!(""), &json!(false)));
    assert_eq!(chunks[0]["prompt_progress"]["processed"], 6);
    assert!(chunks[2].get("prompt_progress").is_none(), "{}", chunks[2]);
}

#[tokio::test]
async fn it_is_asked_for_with_a_truth_value() {
    let reply = server().chat(json!({ "return_progress": 1 })).await;
    reply.refuses("return_progress");
    let server = server();
    server.chat(json!({})).await;
    assert!(!server.backend.chat_job().generation.return_progress);
}

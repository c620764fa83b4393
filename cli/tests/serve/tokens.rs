//! Tokenize and detokenize.

use serde_json::json;

use crate::support::Server;

#[tokio::test]
async fn text_becomes_tokens() {
    let reply = Server::answering([])
        .post("/tokenize", json!({ "content": "ab" }))
        .await;
    assert_eq!(reply.json(), json!({ "tokens": [97, 98] }));
}

#[tokio::test]
async fn pieces_are_text_or_bytes_when_they_are_no_text() {
    let body = json!({ "content": "aé", "with_pieces": true });
    let reply = Server::answering([]).post("/tokenize", body).await;
    let tokens = json!([
        { "id": 97, "piece": "a" },
        { "id": 195, "piece": [195] },
        { "id": 169, "piece": [169] },
    ]);
    assert_eq!(reply.json()["tokens"], tokens);
}

#[tokio::test]
async fn tokens_become_text() {
    let reply = Server::answering([])
        .post("/detokenize", json!({ "tokens": [97, 98] }))
        .await;
    assert_eq!(reply.json(), json!({ "content": "ab" }));
}

#[tokio::test]
async fn tokens_outside_the_vocabulary_never_reach_the_engine() {
    for tokens in [
        json!([256]),
        json!([-1]),
        json!(["a"]),
        json!([1.5]),
        json!(5),
        json!(null),
    ] {
        let reply = Server::answering([])
            .post("/detokenize", json!({ "tokens": tokens }))
            .await;
        reply.refuses("tokens");
    }
    Server::answering([])
        .post("/tokenize", json!({}))
        .await
        .refuses("content");
}

//! Reranking, and the prompt of a chat.

use serde_json::{Value, json};

use crate::serve::backend::BackendError;
use crate::support::{Reply, Scripted, Server, hello, merge};

async fn rerank(server: &Server, extra: Value) -> Reply {
    let body = json!({ "query": "q", "documents": ["ax", "b", "xxx"] });
    server.post("/v1/rerank", merge(body, extra)).await
}

fn server() -> Server {
    Server::answering([])
}

#[tokio::test]
async fn results_are_sorted_by_score_and_name_their_document() {
    let answer = rerank(&server(), json!({})).await.json();
    let results = json!([
        { "index": 2, "relevance_score": 3.0 },
        { "index": 0, "relevance_score": 1.0 },
        { "index": 1, "relevance_score": 0.0 },
    ]);
    assert_eq!(answer["results"], results);
    assert_eq!((&answer["object"], &answer["model"]), (&json!("list"), &json!("tiny")));
    assert_eq!(answer["usage"], json!({ "prompt_tokens": 7, "total_tokens": 7 }));
}

#[tokio::test]
async fn top_n_limits_the_results_and_documents_come_along_when_asked_for() {
    let body = json!({ "top_n": 1, "return_documents": true, "documents": ["a", { "text": "x" }] });
    let answer = rerank(&server(), body).await.json();
    let results = json!([{ "index": 1, "relevance_score": 1.0, "document": { "text": "x" } }]);
    assert_eq!(answer["results"], results);
    let all = rerank(&server(), json!({ "top_n": 100 })).await.json();
    assert_eq!(all["results"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn texts_are_answered_as_text_embeddings_inference_does() {
    let body = json!({ "query": "q", "texts": ["a", "x"], "return_text": true });
    let reply = server().post("/rerank", body).await;
    let expected = json!([{ "index": 1, "score": 1.0, "text": "x" }, { "index": 0, "score": 0.0, "text": "a" }]);
    assert_eq!(reply.json(), expected);
}

#[tokio::test]
async fn all_four_names_of_the_route_answer() {
    for path in ["/v1/rerank", "/rerank", "/v1/reranking", "/reranking"] {
        let server = server();
        let reply = server.post(path, json!({ "query": "q", "documents": ["a"] })).await;
        assert_eq!(reply.status, 200, "{path}");
        let job = server.backend.reranks().remove(0);
        assert_eq!((job.query.as_str(), job.documents), ("q", vec!["a".to_owned()]));
    }
}

#[tokio::test]
async fn malformed_fields_are_refused_by_name() {
    for (field, values) in [
        ("query", vec![json!(null), json!(""), json!(5)]),
        (
            "documents",
            vec![
                json!(null),
                json!([]),
                json!("a"),
                json!([5]),
                json!([{ "title": "a" }]),
                json!(vec!["x"; 3000]),
            ],
        ),
        ("top_n", vec![json!(0), json!(-1), json!("2"), json!(1.5)]),
        ("return_documents", vec![json!("yes")]),
    ] {
        for value in values {
            rerank(&server(), json!({ field: value })).await.refuses(field);
        }
    }
}

#[tokio::test]
async fn a_model_without_a_classifier_is_a_501_that_says_what_to_load() {
    let unable = BackendError::NotSupported("load a reranking model".into());
    let reply = rerank(&Server::new(Scripted::refusing(unable)), json!({})).await;
    let error = reply.error(501, "not_supported_error");
    assert!(error["message"].as_str().unwrap().contains("reranking model"));
}

#[tokio::test]
async fn a_chat_is_rendered_without_an_answer() {
    let server = server();
    let reply = server.post("/apply-template", hello()).await;
    assert_eq!(reply.json(), json!({ "prompt": "user:hello\n" }));
    assert_eq!(server.backend.started(), 0);
    server.post("/apply-template", json!({})).await.refuses("messages");
}

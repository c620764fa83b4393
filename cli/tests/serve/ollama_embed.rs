//! `/api/embed` and `/api/embeddings`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::serve::backend::{BackendError, Prompt};
use crate::support::{Reply, Scripted, Server};

async fn embed(server: &Server, extra: Value) -> Reply {
    server
        .post("/api/embed", crate::support::merge(json!({ "model": "tiny" }), extra))
        .await
}

fn length(vector: &Value) -> f64 {
    let numbers = vector.as_array().unwrap().iter().map(|x| x.as_f64().unwrap());
    numbers.map(|x| x * x).sum::<f64>().sqrt()
}

// L15
#[tokio::test]
async fn a_text_or_several_become_vectors_of_length_1() {
    let mut backend = Scripted::answering([]);
    backend.load = Duration::from_millis(3);
    let server = Server::new(backend);
    for (input, count, tokens) in [(json!("four"), 1, 4), (json!(["four", "three"]), 2, 9)] {
        let reply = embed(&server, json!({ "input": input })).await;
        assert_eq!(reply.header("content-type"), Some("application/json; charset=utf-8"));
        let answer = reply.json();
        let vectors = answer["embeddings"].as_array().unwrap();
        assert_eq!(vectors.len(), count);
        assert!(vectors.iter().all(|vector| (length(vector) - 1.0).abs() < 1e-5));
        assert_eq!(answer["model"], "tiny");
        assert_eq!(answer["prompt_eval_count"], tokens);
        assert_eq!(answer["load_duration"], 3_000_000);
        assert!(answer["total_duration"].is_u64());
    }
}

// L15
#[tokio::test]
async fn no_text_gives_no_vectors() {
    let server = Server::answering([]);
    for input in [json!(null), json!(""), json!([])] {
        let answer = embed(&server, json!({ "input": input })).await.json();
        assert_eq!(answer["embeddings"], json!([]));
    }
    let answer = server.post("/api/embeddings", json!({ "model": "tiny" })).await.json();
    assert_eq!(answer, json!({ "embedding": [] }));
    assert!(server.backend.embeds().is_empty());
}

// L15
#[tokio::test]
async fn texts_that_are_too_long_are_cut_unless_told_not_to() {
    let server = Server::answering([]);
    for truncate in [json!(null), json!(true), json!(false)] {
        embed(&server, json!({ "input": "a", "truncate": truncate }))
            .await
            .json();
    }
    let seen: Vec<bool> = server.backend.embeds().iter().map(|job| job.truncate).collect();
    assert_eq!(seen, [true, true, false]);
}

// L15
#[tokio::test]
async fn fewer_dimensions_keep_the_length_of_1() {
    let server = Server::answering([]);
    let answer = embed(&server, json!({ "input": "four", "dimensions": 2 })).await.json();
    let vector = &answer["embeddings"][0];
    assert_eq!(vector.as_array().unwrap().len(), 2);
    assert!((length(vector) - 1.0).abs() < 1e-6);
    // Of [3, 4, ...] the first two remain.
    assert!((vector[0].as_f64().unwrap() / vector[1].as_f64().unwrap() - 0.75).abs() < 1e-5);
    for dimensions in [json!(65), json!(-1), json!("2"), json!(1.5)] {
        embed(&server, json!({ "input": "a", "dimensions": dimensions }))
            .await
            .says(400);
    }
}

// L15
#[tokio::test]
async fn the_older_form_takes_a_prompt_and_gives_one_vector() {
    let server = Server::answering([]);
    let body = json!({ "model": "tiny", "prompt": "four", "keep_alive": 60, "options": { "num_ctx": 512 } });
    let answer = server.post("/api/embeddings", body).await.json();
    assert_eq!(answer.as_object().unwrap().len(), 1);
    assert_eq!(answer["embedding"].as_array().unwrap().len(), 4);
    assert_eq!(server.backend.embeds()[0].inputs, [Prompt::Text("four".into())]);
    assert_eq!(server.backend.opened()[0].n_ctx, Some(512));
}

// L15
#[tokio::test]
async fn anything_but_texts_is_refused() {
    let server = Server::answering([]);
    for input in [json!(5), json!({}), json!([1, 2]), json!([["a"]]), json!(["a", ""])] {
        assert!(
            embed(&server, json!({ "input": input }))
                .await
                .says(400)
                .contains("input")
        );
    }
    let many = vec!["a"; 3000];
    assert!(
        embed(&server, json!({ "input": many }))
            .await
            .says(400)
            .contains("2048")
    );
}

// L15
#[tokio::test]
async fn a_text_that_does_not_fit_is_400_and_a_model_that_cannot_is_501() {
    let overflow = BackendError::ContextOverflow {
        n_prompt: 5000,
        n_ctx: 4096,
    };
    let server = Server::new(Scripted::refusing(overflow));
    embed(&server, json!({ "input": "a", "truncate": false }))
        .await
        .says(400);
    let server = Server::new(Scripted::refusing(BackendError::NotSupported("no embeddings".into())));
    assert_eq!(embed(&server, json!({ "input": "a" })).await.says(501), "no embeddings");
}

//! Embeddings.

use serde_json::{Value, json};

use crate::serve::backend::{BackendError, Prompt};
use crate::support::{Reply, Scripted, Server, merge};

fn server() -> Server {
    Server::answering([])
}

async fn embed(server: &Server, extra: Value) -> Reply {
    server
        .post("/v1/embeddings", merge(json!({ "input": "abc" }), extra))
        .await
}

// O14
#[tokio::test]
async fn an_answer_is_a_list_of_vectors_in_the_order_of_the_texts() {
    let answer = embed(&server(), json!({ "input": ["ab", "c"] })).await.json();
    assert_eq!(answer["object"], "list");
    assert_eq!(answer["model"], "tiny");
    assert_eq!(answer["usage"], json!({ "prompt_tokens": 3, "total_tokens": 3 }));
    let data = answer["data"].as_array().unwrap();
    for (index, item) in data.iter().enumerate() {
        assert_eq!((&item["object"], &item["index"]), (&json!("embedding"), &json!(index)));
        assert_eq!(item["embedding"].as_array().unwrap().len(), 4);
    }
    assert_eq!(
        data[0]["embedding"],
        json!([0.6, 0.8, 0.0, 0.0]),
        "numbers as short as they can be"
    );
}

// O14
#[tokio::test]
async fn base64_holds_the_same_floats_in_little_endian() {
    let answer = embed(&server(), json!({ "encoding_format": "base64" })).await.json();
    // 0.6, 0.8, 0, 0 as bytes 9a 99 19 3f, cd cc 4c 3f, ...
    assert_eq!(answer["data"][0]["embedding"], "mpkZP83MTD8AAAAAAAAAAA==");
}

// O14
#[tokio::test]
async fn inputs_may_be_text_texts_tokens_or_token_lists() {
    let text = |text: &str| Prompt::Text(text.into());
    for (input, inputs) in [
        (json!("a"), vec![text("a")]),
        (json!(["a", "b"]), vec![text("a"), text("b")]),
        (json!([1, 2]), vec![Prompt::Tokens(vec![1, 2])]),
        (
            json!([[1], [2, 3]]),
            vec![Prompt::Tokens(vec![1]), Prompt::Tokens(vec![2, 3])],
        ),
    ] {
        let server = server();
        let answer = embed(&server, json!({ "input": input })).await.json();
        assert_eq!(answer["data"].as_array().unwrap().len(), inputs.len());
        let job = server.backend.embeds().remove(0);
        assert_eq!((job.inputs, job.truncate), (inputs, false));
    }
}

// O14
#[tokio::test]
async fn dimensions_cut_vectors_and_scale_them_to_length_one() {
    let reply = embed(&server(), json!({ "input": ["a", "b"], "dimensions": 1 })).await;
    assert_eq!(reply.json()["data"][1]["embedding"], json!([1.0]));
    let reply = embed(&server(), json!({ "dimensions": 4 })).await;
    assert_eq!(reply.json()["data"][0]["embedding"], json!([0.6, 0.8, 0.0, 0.0]));
    for dimensions in [json!(0), json!(-1), json!(5), json!(u64::MAX), json!("2"), json!(1.5)] {
        embed(&server(), json!({ "dimensions": dimensions }))
            .await
            .refuses("dimensions");
    }
}

// O14
#[tokio::test]
async fn empty_and_malformed_inputs_are_refused() {
    for input in [
        json!(null),
        json!(""),
        json!([]),
        json!(["a", ""]),
        json!([[]]),
        json!(5),
        json!([256]),
        json!([-1]),
        json!([{}]),
        json!([1, "a"]),
        json!(vec!["x"; 3000]),
    ] {
        embed(&server(), json!({ "input": input })).await.refuses("input");
    }
    embed(&server(), json!({ "encoding_format": "int8" }))
        .await
        .refuses("encoding_format");
}

#[tokio::test]
async fn the_route_works_without_its_prefix() {
    let reply = server().post("/embeddings", json!({ "input": "a" })).await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn what_the_backend_refuses_keeps_its_status() {
    let too_long = BackendError::ContextOverflow {
        n_prompt: 600,
        n_ctx: 512,
    };
    let error = embed(&Server::new(Scripted::refusing(too_long)), json!({}))
        .await
        .error(400, "exceed_context_size_error");
    assert_eq!(error["code"], "context_length_exceeded");
    let unable = BackendError::NotSupported("no".into());
    let reply = embed(&Server::new(Scripted::refusing(unable)), json!({})).await;
    reply.error(501, "not_supported_error");
}

#[tokio::test]
async fn a_request_that_is_over_cancels_its_job() {
    let server = server();
    embed(&server, json!({})).await;
    assert!(server.backend.embeds()[0].cancel.is_cancelled());
}

//! Filling a place in a text.

use serde_json::{Value, json};

use crate::serve::backend::{Finish, Infill, Prompt};
use crate::support::{Reply, Scripted, Server, done, greeting, merge};

/// A server whose model has the tokens for it.
fn able() -> Server {
    let mut backend = Scripted::answering(greeting());
    backend.cards[0].abilities.insert = true;
    Server::new(backend)
}

async fn infill(server: &Server, extra: Value) -> Reply {
    let body = json!({ "input_prefix": "fn main() {", "input_suffix": "}" });
    server.post("/infill", merge(body, extra)).await
}

fn only_prompt(server: &Server) -> Infill {
    match server.backend.completions().remove(0).prompt {
        Prompt::Infill(infill) => *infill,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn prefix_suffix_prompt_and_other_files_reach_the_backend() {
    let server = able();
    let extra = json!([{ "filename": "a.rs", "text": "mod a;" }, { "text": "mod b;" }]);
    let body = json!({ "prompt": "let ", "input_extra": extra, "n_predict": 5 });
    let answer = infill(&server, body).await.json();
    assert_eq!(
        (&answer["content"], &answer["stop_type"]),
        (&json!("Hello!"), &json!("eos"))
    );
    let expected = Infill {
        prefix: "fn main() {".into(),
        suffix: "}".into(),
        prompt: "let ".into(),
        extra: vec![("a.rs".into(), "mod a;".into()), ("tmp".into(), "mod b;".into())],
    };
    assert_eq!(only_prompt(&server), expected);
    assert_eq!(server.backend.completions()[0].generation.max_tokens, Some(5));
}

#[tokio::test]
async fn an_infill_streams_like_a_completion() {
    let chunks = infill(&able(), json!({ "stream": true })).await.chunks();
    let contents: Vec<_> = chunks.iter().map(|chunk| chunk["content"].as_str().unwrap()).collect();
    assert_eq!(contents, ["Hel", "lo!", ""]);
    assert_eq!(chunks.last().unwrap()["stop"], true);
}

#[tokio::test]
async fn malformed_fields_are_refused_by_name() {
    for (field, values) in [
        ("input_prefix", vec![json!(null), json!(5)]),
        ("input_suffix", vec![json!(null), json!([])]),
        ("prompt", vec![json!(5)]),
        (
            "input_extra",
            vec![
                json!("a"),
                json!([5]),
                json!([{ "filename": "a" }]),
                json!([{ "filename": 1, "text": "" }]),
                json!(vec![json!({ "text": "" }); 1025]),
            ],
        ),
    ] {
        for value in values {
            infill(&able(), json!({ field: value })).await.refuses(field);
        }
    }
}

#[tokio::test]
async fn a_model_without_the_tokens_is_a_501_here_and_a_400_for_a_suffix() {
    let unable = Server::answering(greeting());
    infill(&unable, json!({})).await.error(501, "not_supported_error");
    unable.complete(json!({ "suffix": "end" })).await.refuses("suffix");
}

// O8
#[tokio::test]
async fn a_suffix_makes_a_completion_an_infill() {
    let server = able();
    let answer = server.complete(json!({ "suffix": "end" })).await.json();
    assert_eq!(answer["choices"][0]["text"], "Hello!");
    let expected = Infill {
        prefix: "Once".into(),
        suffix: "end".into(),
        ..Infill::default()
    };
    assert_eq!(only_prompt(&server), expected);
    let with_echo = json!({ "suffix": "end", "echo": true });
    able().complete(with_echo).await.refuses("suffix");
    let tokens = json!({ "suffix": "end", "prompt": [1, 2] });
    able().complete(tokens).await.refuses("suffix");
    let server = Server::answering([done(Finish::Stop)]);
    assert_eq!(
        server.complete(json!({ "suffix": "" })).await.status,
        200,
        "empty is none"
    );
}

//! Embeddings, reranking, infill and scored prompts over the real engine: the embedded model, and the encoder of random
//! weights in `tests/data` of the library.

use crate::served;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use llama_turboquant::embed::cosine;
use llama_turboquant_cli::commands::serve::backend::Backend;
use llama_turboquant_cli::commands::serve::engine::Engine;
use llama_turboquant_cli::commands::serve::{AppState, Settings, app};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tower::ServiceExt;

/// A model behind a router: the embedded one, or that of `options`.
fn served(options: &[&str]) -> (axum::Router, Arc<Engine>) {
    let engine = served::engine(options);
    (app(AppState::new(engine.clone(), Settings::default())), engine)
}

async fn post(app: &axum::Router, path: &str, body: Value) -> (StatusCode, Value) {
    let request = Request::post(path).body(Body::from(body.to_string())).unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap())
}

async fn ok(app: &axum::Router, path: &str, body: Value) -> Value {
    let (status, answer) = post(app, path, body).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn encoder() -> PathBuf {
    root().join("tests/data/encoder.gguf")
}

fn expected() -> Value {
    serde_json::from_slice(&std::fs::read(root().join("tests/data/encoder.json")).unwrap()).unwrap()
}

/// A model file with bytes replaced by as many others.
fn patched(file: &Path, changes: &[(&[u8], &[u8])], folder: &tempfile::TempDir) -> PathBuf {
    let mut bytes = std::fs::read(file).unwrap();
    for (old, new) in changes {
        assert_eq!(old.len(), new.len());
        let at = bytes
            .windows(old.len())
            .position(|window| window == *old)
            .expect("there");
        bytes[at..at + new.len()].copy_from_slice(new);
    }
    let path = folder.path().join("patched.gguf");
    std::fs::write(&path, bytes).unwrap();
    path
}

fn vector(value: &Value) -> Vec<f32> {
    serde_json::from_value(value.clone()).unwrap()
}

// O14
#[tokio::test(flavor = "multi_thread")]
async fn a_language_model_on_a_turbo_cache_embeds_too() {
    let (app, engine) = served(&["--cache-type-k", "turbo4", "--cache-type-v", "turbo4"]);
    let before = engine.running()[0].memory;
    let texts = ["The turtle walks to the river.", "cache", "What is turbo3?"];
    let together = ok(&app, "/v1/embeddings", json!({ "input": texts })).await;
    for (index, text) in texts.iter().enumerate() {
        let alone = ok(&app, "/v1/embeddings", json!({ "input": text })).await;
        let (a, b) = (
            vector(&together["data"][index]["embedding"]),
            vector(&alone["data"][0]["embedding"]),
        );
        assert_eq!(a.len(), engine.running()[0].card.n_embd as usize);
        assert!(cosine(&a, &b) > 1.0 - 1e-3, "{text}: {}", cosine(&a, &b));
        let length: f32 = a.iter().map(|value| value * value).sum();
        assert!((length - 1.0).abs() < 1e-4, "{length}");
    }
    let tokens = ok(&app, "/tokenize", json!({ "content": texts.concat() })).await["tokens"].clone();
    assert!(together["usage"]["prompt_tokens"].as_u64().unwrap() >= tokens.as_array().unwrap().len() as u64 - 2);
    let after = engine.running()[0].memory;
    assert!(
        after.kv > before.kv && after.compute > before.compute,
        "what it occupies is told"
    );

    let tokens = ok(&app, "/tokenize", json!({ "content": texts[0] })).await["tokens"].clone();
    let by_tokens = ok(&app, "/v1/embeddings", json!({ "input": tokens })).await;
    let similarity = cosine(
        &vector(&by_tokens["data"][0]["embedding"]),
        &vector(&together["data"][0]["embedding"]),
    );
    assert!(similarity > 1.0 - 1e-3, "{similarity}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encoder_serves_embeddings_and_no_text() {
    let (app, engine) = served(&["-m", encoder().to_str().unwrap()]);
    let abilities = engine.running()[0].card.abilities;
    assert!(abilities.embedding && !abilities.completion && !abilities.rerank);
    let rows = expected();
    let rows = rows["texts"].as_array().unwrap();
    let texts: Vec<&Value> = rows.iter().map(|row| &row["text"]).collect();
    let answer = ok(&app, "/v1/embeddings", json!({ "input": texts })).await;
    for (item, row) in answer["data"].as_array().unwrap().iter().zip(rows) {
        let similarity = cosine(&vector(&item["embedding"]), &vector(&row["mean"]));
        assert!(similarity > 1.0 - 1e-5, "{row}: {similarity}");
    }
    let (status, _) = post(&app, "/v1/completions", json!({ "prompt": "fox ".repeat(600) })).await;
    assert_eq!(status, StatusCode::NOT_IMPLEMENTED);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encoder_whose_file_says_nothing_of_pooling_is_offered_as_it_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let unnamed = [(&b"bert.pooling_type"[..], &b"bert.pooling_tipe"[..])];
    for path in [encoder(), patched(&encoder(), &unnamed, &folder)] {
        let (app, engine) = served(&["-m", path.to_str().unwrap()]);
        let offered = engine.offers().unwrap().remove(0).abilities;
        assert_eq!(offered, engine.running()[0].card.abilities);
        assert!(!offered.completion, "{}", path.display());
        let (status, _) = post(&app, "/v1/completions", json!({ "prompt": "fox" })).await;
        assert_eq!(status, StatusCode::NOT_IMPLEMENTED);
    }
}

// O10
#[tokio::test(flavor = "multi_thread")]
async fn a_text_beyond_the_encoder_is_a_400_with_both_sizes() {
    let (app, _) = served(&["-m", encoder().to_str().unwrap()]);
    let (status, answer) = post(&app, "/v1/embeddings", json!({ "input": "fox ".repeat(100) })).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let error = &answer["error"];
    assert_eq!(error["type"], "exceed_context_size_error");
    assert_eq!((&error["n_prompt_tokens"], &error["n_ctx"]), (&json!(102), &json!(64)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reranking_model_orders_documents_and_others_say_what_to_load() {
    let folder = tempfile::tempdir().unwrap();
    // the pooling type, a u32: mean (1) becomes rank (4)
    let key = |value: u32| [&b"bert.pooling_type"[..], &4u32.to_le_bytes(), &value.to_le_bytes()].concat();
    let path = patched(&encoder(), &[(&key(1), &key(4))], &folder);
    let (app, _) = served(&["-m", path.to_str().unwrap()]);
    let expected = expected();
    let mut pairs = expected["pairs"].as_array().unwrap().clone();
    let documents: Vec<Value> = pairs.iter().map(|pair| pair["document"].clone()).collect();
    let body = json!({ "query": pairs[0]["query"], "documents": documents, "return_documents": true });
    let answer = ok(&app, "/v1/rerank", body.clone()).await;
    pairs.sort_by(|a, b| b["score"].as_f64().unwrap().total_cmp(&a["score"].as_f64().unwrap()));
    for (result, pair) in answer["results"].as_array().unwrap().iter().zip(&pairs) {
        assert_eq!(result["document"]["text"], pair["document"]);
        let (score, expected) = (
            result["relevance_score"].as_f64().unwrap(),
            pair["score"].as_f64().unwrap(),
        );
        assert!((score - expected).abs() < 5e-3, "{score} and {expected}");
    }

    let (app, _) = served(&[]);
    let (status, answer) = post(&app, "/v1/rerank", body).await;
    assert_eq!(status, StatusCode::NOT_IMPLEMENTED);
    assert!(answer["error"]["message"].as_str().unwrap().contains("reranking model"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_is_applied_without_an_answer() {
    let (app, _) = served(&[]);
    let messages = json!([{ "role": "user", "content": "What is turbo3?" }]);
    let answer = ok(&app, "/apply-template", json!({ "messages": messages })).await;
    let prompt = answer["prompt"].as_str().unwrap();
    assert!(
        prompt.ends_with("<|im_start|>user\nWhat is turbo3?<|im_end|>\n<|im_start|>assistant\n"),
        "{prompt}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_infill_is_the_completion_of_its_documented_token_sequence() {
    let folder = tempfile::tempdir().unwrap();
    // three tokens of the embedded model get the names by which the engine knows these tokens
    let token = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let names = [("ption", "<PRE>"), ("escri", "<SUF>"), ("umber", "<MID>")].map(|(old, new)| (token(old), token(new)));
    let changes: Vec<(&[u8], &[u8])> = names
        .iter()
        .map(|(old, new)| (old.as_slice(), new.as_slice()))
        .collect();
    let path = patched(&root().join("models/tiny-q8_0.gguf"), &changes, &folder);
    let (app, engine) = served(&["-m", path.to_str().unwrap()]);
    assert!(engine.running()[0].card.abilities.insert);
    let tokens = |text: &'static str| {
        let app = app.clone();
        async move {
            let body = json!({ "content": text, "parse_special": false });
            let tokens = ok(&app, "/tokenize", body).await["tokens"].clone();
            tokens.as_array().unwrap().clone()
        }
    };
    let special = |id: i32| vec![json!(id)];
    let mut sequence = Vec::new();
    for part in [
        tokens("\n\n--- snippet ---\n\n").await,
        tokens("A turtle.").await,
        special(367),
        tokens("The turtle ").await,
        special(385),
        tokens(" to the river.").await,
        special(388),
        tokens("walks").await,
    ] {
        sequence.extend(part);
    }
    let n_tokens = sequence.len();
    let fields = json!({ "temperature": 0, "n_predict": 8, "ignore_eos": true });
    let with = |extra: Value| {
        let mut body = fields.clone();
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        body
    };
    let infill = with(json!({
        "input_prefix": "The turtle ", "input_suffix": " to the river.", "prompt": "walks",
        "input_extra": [{ "filename": "a.txt", "text": "A turtle." }],
    }));
    let infill = ok(&app, "/infill", infill).await;
    let completion = ok(&app, "/completion", with(json!({ "prompt": sequence }))).await;
    assert_eq!(infill["tokens_evaluated"], json!(n_tokens));
    assert_eq!(infill["content"], completion["content"]);
    assert_ne!(infill["content"], "");
}

// O8
#[tokio::test(flavor = "multi_thread")]
async fn an_echoed_prompt_has_the_log_probabilities_its_tokens_were_generated_with() {
    let (app, _) = served(&[]);
    let messages = json!([{ "role": "user", "content": "What is turbo3?" }]);
    let prompt = ok(&app, "/apply-template", json!({ "messages": messages })).await["prompt"].clone();
    let body = json!({ "prompt": prompt, "temperature": 0, "max_tokens": 20, "logprobs": 1 });
    let written = ok(&app, "/v1/completions", body).await;
    let answer = &written["choices"][0];
    let whole = format!("{}{}", prompt.as_str().unwrap(), answer["text"].as_str().unwrap());

    // as lm-eval asks: one token more, which it leaves out
    let tokens = ok(&app, "/tokenize", json!({ "content": whole })).await["tokens"].clone();
    let n_tokens = tokens.as_array().unwrap().len();
    let body = json!({ "prompt": [tokens], "temperature": 0, "max_tokens": 1, "logprobs": 1, "echo": true });
    let scored = ok(&app, "/v1/completions", body).await;
    let choice = &scored["choices"][0];
    assert!(
        choice["text"].as_str().unwrap().starts_with(&whole),
        "{}",
        choice["text"]
    );
    let list = |choice: &Value, name: &str| choice["logprobs"][name].as_array().unwrap().clone();
    let scores = list(choice, "token_logprobs");
    assert_eq!(scores.len(), n_tokens + 1);
    assert_eq!(
        (&scores[0], &list(choice, "top_logprobs")[0]),
        (&Value::Null, &Value::Null)
    );
    let texts: Vec<String> = list(choice, "tokens")
        .iter()
        .map(|token| token.as_str().unwrap().to_owned())
        .collect();
    let told = list(answer, "token_logprobs");
    assert_eq!((told.len(), &answer["finish_reason"]), (20, &json!("length")));
    let first = n_tokens - told.len();
    assert_eq!(json!(texts[first..n_tokens]), answer["logprobs"]["tokens"]);
    for (score, told) in scores[first..].iter().zip(&told) {
        let (score, told) = (score.as_f64().unwrap(), told.as_f64().unwrap());
        // a cache of blocks is filled by batches of other sizes here
        assert!((score - told).abs() < 0.05, "{score} and {told}");
    }
    let offsets = list(choice, "text_offset");
    assert_eq!(texts[..n_tokens].concat(), whole);
    assert_eq!(offsets[n_tokens], json!(whole.chars().count()));
}

//! Requests that go back, over a model of random weights with sliding windows: what clients are told is what was computed.

use crate::served;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use llama_turboquant::engine::synth::SynthParams;
use llama_turboquant_cli::commands::serve::{AppState, Settings, app};
use serde_json::{Value, json};
use tower::ServiceExt;

/// A router over the model in `folder`, in one slot and steps of 64 tokens.
fn served(folder: &tempfile::TempDir, options: &[&str]) -> axum::Router {
    let file = folder.path().join("windows.gguf");
    if !file.exists() {
        let params = SynthParams {
            layers: 6,
            window: 64,
            kv_heads: 1,
            head_dim: 128,
            ff: 128,
            ..SynthParams::of("gemma3")
        };
        params.write(&file).unwrap();
    }
    let model = ["-m", file.to_str().unwrap(), "-c", "2048", "-np", "1", "-ub", "64"];
    let line = model.iter().chain(options).map(Into::into);
    let line: Vec<String> = llama_turboquant_cli::args::expand_short_options(line)
        .into_iter()
        .map(|arg| arg.into_string().unwrap())
        .collect();
    let line: Vec<&str> = line.iter().map(String::as_str).collect();
    app(AppState::new(served::engine(&line), Settings::default()))
}

async fn post(app: &axum::Router, path: &str, body: Value) -> Value {
    let request = Request::post(path)
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let answer = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer
}

/// 300 tokens, the last 50 of which are of this turn only.
fn prompt(turn: usize) -> Vec<usize> {
    let own = |i: usize| if i < 250 { 0 } else { turn };
    (0..300).map(|i| 300 + (i * 7 + own(i) * 13) % 200).collect()
}

/// An answer that moves the windows past its prompt.
async fn answer(app: &axum::Router, turn: usize) -> Value {
    let request = json!({"prompt": prompt(turn), "n_predict": 300, "ignore_eos": true, "temperature": 0});
    post(app, "/completion", request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_turn_is_computed_from_a_checkpoint_and_the_timings_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let app = served(&folder, &["-ctxcp", "8"]);
    assert_eq!(answer(&app, 1).await["timings"]["cache_n"], 0);
    let edited = answer(&app, 2).await;
    // a step and the last tokens before the end of the prompt
    assert_eq!(
        (&edited["timings"]["cache_n"], &edited["timings"]["prompt_n"]),
        (&json!(232), &json!(68))
    );
    let request = json!({"model": "tiny", "prompt": prompt(2), "max_tokens": 1});
    let again = post(&app, "/v1/completions", request).await;
    assert_eq!(again["usage"]["prompt_tokens_details"]["cached_tokens"], 296);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_no_checkpoints_it_is_computed_from_the_beginning_and_the_answer_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let with = served(&folder, &["--checkpoint-min-step", "100"]);
    let without = served(&folder, &["--swa-checkpoints", "0"]);
    for app in [&with, &without] {
        answer(app, 1).await;
    }
    let (with, without) = (answer(&with, 2).await, answer(&without, 2).await);
    assert_eq!(without["timings"]["cache_n"], 0);
    assert_eq!(with["timings"]["cache_n"], 232);
    assert_eq!(with["content"], without["content"]);
}

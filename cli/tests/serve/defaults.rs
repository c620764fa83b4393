//! Options for requests that leave it open.

use std::ffi::OsString;
use std::sync::Arc;

use llama_turboquant_cli::args::Command;
use llama_turboquant_cli::options::{Environment, parse};
use serde_json::json;

use crate::serve::defaults::Defaults;
use crate::serve::{AppState, Settings, app};
use crate::support::{Scripted, greeting, hello, merge};
use axum::body::Body;
use axum::http::Request;
use serde_json::Value;
use tower::ServiceExt;

fn defaults(options: &[&str]) -> anyhow::Result<Defaults> {
    let line = [&["turboquant", "serve"], options]
        .concat()
        .into_iter()
        .map(OsString::from);
    match parse(line, &Environment::of(&[])).unwrap().args.command {
        Command::Serve(args) => Defaults::new(&args),
        other => panic!("{other:?}"),
    }
}

/// The scripted backend after a chat with `extra` fields.
async fn chat(options: &[&str], extra: Value) -> Arc<Scripted> {
    let backend = Arc::new(Scripted::answering(greeting()));
    let state = AppState::new(
        Arc::new(defaults(options).unwrap().over(backend.clone())),
        Settings::default(),
    );
    let body = Body::from(merge(hello(), extra).to_string());
    let response = app(state)
        .oneshot(Request::post("/v1/chat/completions").body(body).unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    backend
}

#[tokio::test]
async fn options_hold_for_requests_that_leave_it_open_and_no_others() {
    let options = [
        "--temp",
        "0.5",
        "--top-k",
        "7",
        "-n",
        "3",
        "--dry-base",
        "2",
        "--samplers",
        "top_k;temperature",
    ];
    let job = chat(&options, json!({ "temperature": 0.25 })).await.chat_job();
    assert_eq!(
        (job.generation.sampling.temperature, job.generation.sampling.top_k),
        (Some(0.25), Some(7))
    );
    assert_eq!(
        (job.generation.max_tokens, job.generation.sampling.dry_base),
        (Some(3), Some(2.0))
    );
    assert_eq!(job.generation.sampling.samplers.map(|samplers| samplers.len()), Some(2));
    let job = chat(&options, json!({ "max_tokens": 9 })).await.chat_job();
    assert_eq!(job.generation.max_tokens, Some(9));
}

#[tokio::test]
async fn reasoning_and_template_variables_have_defaults() {
    let options = ["--reasoning-budget", "0", "--chat-template-kwargs", r#"{"a":1,"b":2}"#];
    let job = chat(&options, json!({ "chat_template_kwargs": { "b": 3 } }))
        .await
        .chat_job();
    assert_eq!(job.prompt.thinking, Some(false));
    assert_eq!(job.prompt.template_kwargs, Some(json!({ "a": 1, "b": 3 })));
    let job = chat(&["--reasoning-effort", "low"], json!({})).await.chat_job();
    assert_eq!(job.prompt.reasoning_effort.as_deref(), Some("low"));
    let job = chat(&["--reasoning-effort", "low"], json!({ "reasoning_effort": "high" }))
        .await
        .chat_job();
    assert_eq!(job.prompt.reasoning_effort.as_deref(), Some("high"));
}

#[tokio::test]
async fn the_prompt_cache_can_be_turned_off_for_all() {
    let job = chat(&["--no-cache-prompt"], json!({ "cache_prompt": true }))
        .await
        .chat_job();
    assert!(!job.generation.cache_prompt);
    assert!(chat(&[], json!({})).await.chat_job().generation.cache_prompt);
}

#[test]
fn defaults_have_the_limits_of_requests() {
    for (option, value) in [
        ("--temp", "nan"),
        ("--temp", "101"),
        ("--top-p", "1.5"),
        ("--repeat-penalty", "0"),
        ("--seed", "4294967296"),
        ("--samplers", "top_k;nonsense"),
        ("--chat-template-kwargs", "[1]"),
    ] {
        let error = defaults(&[option, value]).unwrap_err().to_string();
        assert!(error.contains(option), "{option} {value}: {error}");
    }
}

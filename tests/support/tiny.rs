//! The embedded model, loaded once per test program, and sessions over it.
#![allow(dead_code)] // each test program uses its part

use llama_turboquant::engine::chat::{ChatPrompt, ChatRequest, ChatTemplate};
use llama_turboquant::generate::{GenParams, GenStats, Session};
use llama_turboquant::{ContextConfig, Model};
use serde_json::Value;
use std::path::Path;
use std::sync::OnceLock;

pub fn model() -> Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny-q8_0.gguf");
    MODEL
        .get_or_init(|| Model::load(path).expect("the embedded model loads"))
        .clone()
}

pub fn session() -> Session {
    session_of(2048)
}

/// A session with room for `n_ctx` tokens.
pub fn session_of(n_ctx: u32) -> Session {
    let config = ContextConfig {
        n_ctx,
        n_batch: 256,
        n_threads: 1,
        ..Default::default()
    };
    Session::new(model().context(config).expect("context"))
}

pub fn render(request: &ChatRequest) -> ChatPrompt {
    ChatTemplate::from_model(&model())
        .expect("template")
        .apply(request)
        .expect("prompt")
}

/// The greedy answer to a rendered conversation, as generated.
pub fn answer(prompt: &ChatPrompt, params: GenParams) -> (String, GenStats) {
    let mut session = session();
    session.prompt(prompt).expect("prefill");
    session
        .generate(&params.answering(prompt))
        .expect("stream")
        .text()
        .expect("answer")
}

/// The rows of a file in `tests/data`.
pub fn rows(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(file);
    let text = std::fs::read_to_string(&path).expect("test data");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a JSON row"))
        .collect()
}

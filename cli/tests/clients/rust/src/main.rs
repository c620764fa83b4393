//! The crates `async-openai` and `ollama-rs` against a running server: one line per check, exit code 1 if one failed.
#![forbid(unsafe_code)]

mod checks;
mod ollama;
mod openai;

use checks::Checks;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let only = std::env::args().nth(1);
    let wanted = |client: &str| only.as_deref().is_none_or(|only| only == client);
    let mut failed = 0;
    if wanted("async-openai") {
        failed += openai::run(Checks::new("async-openai")).await;
    }
    if wanted("ollama-rs") {
        failed += ollama::run(Checks::new("ollama-rs")).await;
    }
    ExitCode::from(u8::from(failed > 0))
}

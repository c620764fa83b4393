//! A program that names this crate and nothing else builds, links and runs: no system library, no build script, no
//! second engine.

use std::path::Path;
use std::process::Command;

const PROGRAM: &str = r#"
use llama_turboquant::generate::{GenParams, Session};
use llama_turboquant::{ContextConfig, KvCacheConfig, KvType, Model, Result};

fn main() -> Result<()> {
    let model = Model::load(std::env::args().nth(1).expect("a model"))?;
    let kv = KvCacheConfig::uniform(KvType::Turbo4);
    let mut session = Session::new(model.context(ContextConfig { n_ctx: 256, kv, ..Default::default() })?);
    session.prompt("<|im_start|>user\nWhat is turbo4?<|im_end|>\n<|im_start|>assistant\n")?;
    let (text, stats) = session.generate(&GenParams::greedy().max_tokens(3))?.text()?;
    println!("{} tokens: {text}", stats.n_tokens);
    Ok(())
}
"#;

#[test]
fn a_program_with_one_dependency_line_builds_and_generates_with_a_turbo_cache() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = tempfile::tempdir().expect("a directory outside the workspace");
    let features: Vec<&str> = [
        ("native", cfg!(feature = "native")),
        ("cuda", cfg!(feature = "cuda")),
        ("vulkan", cfg!(feature = "vulkan")),
        ("rpc", cfg!(feature = "rpc")),
    ]
    .into_iter()
    .filter_map(|(name, on)| on.then_some(name))
    .collect();
    let manifest = format!(
        "[package]\nname = \"downstream\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\n\
         llama-turboquant = {{ path = {root:?}, features = {features:?} }}\n"
    );
    std::fs::create_dir(dir.path().join("src")).expect("a directory");
    std::fs::write(dir.path().join("Cargo.toml"), manifest).expect("a manifest");
    std::fs::write(dir.path().join("src/main.rs"), PROGRAM).expect("a program");
    std::fs::copy(root.join("Cargo.lock"), dir.path().join("Cargo.lock")).expect("the same versions");

    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("the target directory");
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["run", "--offline", "--quiet", "--"])
        .arg(root.join("models/tiny-q8_0.gguf"))
        .current_dir(dir.path())
        .env("CARGO_TARGET_DIR", target) // the engine lies there already
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "1") // and so do our dependencies, built as the workspace builds them
        .output()
        .expect("cargo");
    let (out, error) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{}\n{error}", output.status);
    assert!(out.starts_with("3 tokens: turbo"), "{out}{error}");
}

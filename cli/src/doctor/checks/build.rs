//! The program and its engine.

use crate::doctor::facts::Build;
use crate::doctor::{Finding, Level};

/// What the program is.
pub(super) fn version(build: &Build) -> Finding {
    let engine = &build.engine;
    let backends = if engine.backends.is_empty() {
        "none".to_owned()
    } else {
        engine.backends.join(", ")
    };
    Finding::ok(
        "build.version",
        format!(
            "turboquant {}, llama.cpp {}, codec version {} ({}), for {}; backends: {backends}",
            build.program, engine.llama_cpp, engine.codec_version, engine.codec, engine.target
        ),
    )
}

/// Whether the engine uses what this CPU has.
pub(super) fn cpu(build: &Build) -> Finding {
    const ID: &str = "build.cpu";
    let compiled = |name: &str| {
        let value = build.engine.cpu_features.get(name);
        value.is_some_and(|value| value.as_str() == Some("1") || value.as_i64() == Some(1))
    };
    let unused: Vec<&str> = build
        .cpu_has
        .iter()
        .map(String::as_str)
        .filter(|name| !compiled(name))
        .collect();
    let ours = format!("attention over compressed caches uses {}", build.attention);
    if unused.is_empty() {
        return Finding::ok(
            ID,
            format!("the engine uses all of this CPU's instruction sets that it knows; {ours}"),
        );
    }
    Finding::new(
        ID,
        Level::Note,
        format!("this CPU has {}, which the engine was compiled without; {ours}", unused.join(", ")),
        "Prompts and f16 or q8_0 arithmetic are slower than they could be. The kernels for turbo types choose by themselves.",
    )
    .remedy("Build on this machine with `cargo build --release --features native`; `make` does.")
}

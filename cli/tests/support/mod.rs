//! Runs the program as a user does.
#![allow(dead_code)] // each test file uses a part

use assert_cmd::Command;
use serde_json::Value;
use std::time::Duration;

/// The program, without what the environment of whoever tests would change.
pub fn turboquant() -> Command {
    let mut command = Command::cargo_bin("turboquant").unwrap();
    command
        .env_remove("TURBO_LAYER_ADAPTIVE")
        .env_remove("TURBOQUANT_CODEC")
        .env_remove("TURBOQUANT_ATTENTION")
        .env_remove("RUST_LOG");
    command.timeout(Duration::from_secs(120));
    command
}

/// Standard output and standard error of a run that must succeed.
#[track_caller]
pub fn succeeds(args: &[&str]) -> (String, String) {
    let output = turboquant().args(args).output().unwrap();
    let (out, err) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert!(output.status.success(), "{args:?}: {}\n{err}", output.status);
    (out, err)
}

/// The JSON that a run prints, which must succeed.
#[track_caller]
pub fn json(args: &[&str]) -> Value {
    let (out, _) = succeeds(args);
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{args:?}: {e}\n{out}"))
}

/// Standard error of a run that must fail with `code`.
#[track_caller]
pub fn fails(args: &[&str], code: i32) -> String {
    let output = turboquant().args(args).output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}\n{err}");
    err
}

#[track_caller]
pub fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
}

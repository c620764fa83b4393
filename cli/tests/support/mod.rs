//! Runs the program as a user does.
#![allow(dead_code)] // each test file uses a part

use assert_cmd::Command;
use serde_json::Value;
use std::process::Child;
use std::time::Duration;

/// The program, without what the environment of whoever tests would change.
pub fn turboquant() -> Command {
    let mut command = Command::cargo_bin("turboquant").unwrap();
    for name in foreign_variables() {
        command.env_remove(name);
    }
    command.env("TURBOQUANT_CONFIG", ""); // no file of the user's
    command.timeout(Duration::from_secs(120));
    command
}

/// Variables of whoever tests that the program reads.
pub fn foreign_variables() -> Vec<String> {
    let ours = [
        "TURBO_LAYER_ADAPTIVE",
        "TURBOQUANT_CODEC",
        "TURBOQUANT_ATTENTION",
        "RUST_LOG",
    ];
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    names
        .filter(|name| ours.contains(&name.as_str()) || name.starts_with("LLAMA_") || name.starts_with("OLLAMA_"))
        .collect()
}

/// Exit code, standard output and standard error.
pub fn outcome(args: &[&str]) -> (Option<i32>, String, String) {
    outcome_of(turboquant().args(args))
}

/// As [`outcome`], of a command that needs more than arguments.
pub fn outcome_of(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.output().unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// Standard output and standard error of a run that must succeed.
#[track_caller]
pub fn succeeds(args: &[&str]) -> (String, String) {
    let (code, out, err) = outcome(args);
    assert_eq!(code, Some(0), "{args:?}\n{err}");
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
    let (found, _, err) = outcome(args);
    assert_eq!(found, Some(code), "{args:?}\n{err}");
    err
}

/// Ctrl-C.
#[track_caller]
pub fn interrupt(child: &Child) {
    let sent = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}

#[track_caller]
pub fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
}

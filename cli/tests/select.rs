//! `turboquant select`: its JSON, its text, and what it refuses.

#[path = "support/schema.rs"]
mod schema;
#[path = "support/mod.rs"]
mod support;

use llama_turboquant_cli::args::Command;
use llama_turboquant_cli::options::{Environment, parse};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use support::{outcome, outcome_of, succeeds, turboquant};

const SCHEMA: &str = "select.schema.json";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn facts(machine: &str) -> String {
    let path = root().join(format!("tests/data/machines/{machine}.json"));
    path.to_string_lossy().into_owned()
}

fn tiny() -> String {
    root().join("models/tiny-q8_0.gguf").to_string_lossy().into_owned()
}

#[track_caller]
fn detect_or_select(args: &[&str]) -> Value {
    support::json(&[&["select", "--json"], args].concat())
}

/// A selection, which is what the schema says.
#[track_caller]
fn select(args: &[&str]) -> Value {
    let value = detect_or_select(args);
    schema::is_valid(SCHEMA, &value);
    value
}

#[track_caller]
fn refused(args: &[&str], parts: &[&str]) {
    let (code, _, err) = outcome(&[&["select"], args].concat());
    assert_eq!(code, Some(2), "{args:?}\n{err}");
    for part in parts {
        assert!(err.contains(part), "{args:?}: `{part}` is not in: {err}");
    }
}

// ---- the contract ----

/// What depends on how much memory the program itself takes here.
fn without_the_programs_own(mut value: Value) -> Value {
    for key in ["total_required_gb", "headroom_gb", "longest_context", "reasoning"] {
        value[key] = json!("depends on the program's size");
    }
    value["parts_gb"]["other"] = Value::Null;
    for level in value["levels"].as_array_mut().unwrap() {
        level["total_required_gb"] = Value::Null;
        level["headroom_gb"] = Value::Null;
    }
    value["hardware"]["detection_method"] = json!("the file");
    value
}

#[track_caller]
fn golden(name: &str, args: &[&str]) {
    let text = format!("{:#}\n", without_the_programs_own(select(args)));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/select/{name}.json"));
    if std::env::var_os("UPDATE_SELECT").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, golden, "{name}: UPDATE_SELECT=1 writes it anew");
}

#[test]
fn a_27b_model_on_a_36_gb_mac_at_64k() {
    golden(
        "mac-36gb-27b-64k",
        &[
            "--facts",
            &facts("mac-36gb"),
            "--model-size",
            "16.5",
            "--context",
            "65536",
        ],
    );
}

#[test]
fn a_model_too_large_for_its_card_at_128k() {
    golden(
        "gpu-8gb-16gb-128k",
        &[
            "--facts",
            &facts("pc-gpu-8gb"),
            "--model-size",
            "16",
            "--context",
            "131072",
        ],
    );
}

#[test]
fn a_model_that_can_have_no_turbo_type() {
    let more = ["--layers", "32", "--kv-heads", "32", "--head-dim", "96"];
    golden(
        "two-gpus-heads-of-96",
        &[&["--facts", &facts("pc-two-gpus"), "--model-size", "2.2"], &more[..]].concat(),
    );
}

#[test]
fn the_schema_would_find_a_missing_key_a_wrong_level_and_a_context_of_0() {
    let value = select(&["--facts", &facts("mac-36gb"), "--model-size", "16.5"]);
    let differs = |change: fn(&mut Value)| {
        let mut value = value.clone();
        change(&mut value);
        !schema::valid(SCHEMA, &value)
    };
    assert!(differs(|value| value["level"] = json!("turbo5")));
    assert!(differs(|value| value["context"] = json!(0)));
    assert!(differs(|value| drop(value.as_object_mut().unwrap().remove("warnings"))));
    assert!(differs(|value| drop(
        value["hardware"].as_object_mut().unwrap().remove("gpus")
    )));
    assert!(differs(|value| value["levels"][0]["fits"] = json!("yes")));
}

// ---- the machine at hand, and a file ----

#[test]
fn a_model_file_is_read_and_what_is_printed_runs() {
    let value = select(&["--model", &tiny(), "--context", "2048"]);
    assert_eq!(value["level"], "turbo4");
    assert!(value["parts_gb"]["weights"].as_f64().unwrap() < 0.1);
    let mut words = vec!["run".to_owned(), "-m".into(), tiny()];
    for (name, flag) in value["server_flags"].as_object().unwrap() {
        words.extend([name.clone(), flag.as_str().unwrap().to_owned()]);
    }
    let mut command = turboquant();
    command.args(words).args(["-p", "One", "-n", "2", "-t", "1"]);
    for (name, setting) in value["env_vars"].as_object().unwrap() {
        command.env(name, setting.as_str().unwrap());
    }
    let (code, _, err) = outcome_of(&mut command);
    assert_eq!(code, Some(0), "{err}");
}

#[test]
fn serve_understands_the_flags_of_every_level() {
    for level in ["turbo4", "turbo3", "turbo2", "q4_0"] {
        let value = select(&["--facts", &facts("pc-gpu-8gb"), "--model-size", "16", "--prefer", level]);
        assert_eq!(value["level"], level);
        let command = value["command"].as_str().unwrap();
        let (variables, line) = command.split_once("turboquant ").unwrap();
        let (name, setting) = variables.trim().split_once('=').unwrap();
        let words = std::iter::once("turboquant").chain(line.split(' ')).map(OsString::from);
        let parsed = parse(words, &Environment::of(&[(name, setting)])).unwrap_or_else(|e| panic!("{command}: {e}"));
        let Command::Serve(serve) = parsed.args.command else {
            panic!("{command}")
        };
        assert_eq!(serve.model.cache_type_v, level);
        assert!(serve.model.engine.gpu_layers.is_some_and(|n| n < 40), "{command}");
    }
}

#[test]
fn without_a_context_it_is_32k_or_what_the_model_was_trained_with() {
    let context = |args: &[&str]| select(args)["context"].clone();
    assert_eq!(
        context(&["--facts", &facts("mac-36gb"), "--model-size", "16.5"]),
        32_768
    );
    assert_eq!(context(&["--facts", &facts("mac-36gb"), "--model", &tiny()]), 8192);
}

#[test]
fn detect_only_says_what_the_machine_has_and_needs_no_model() {
    let mut value = select(&["--facts", &facts("mac-36gb"), "--model-size", "16.5"]);
    value["hardware"] = detect_or_select(&["--detect-only"])["hardware"].take();
    schema::is_valid(SCHEMA, &value);
    let (text, _) = succeeds(&["select", "--detect-only", "--facts", &facts("pc-two-gpus")]);
    assert_eq!(text.matches("graphics device").count(), 2, "{text}");
    assert!(text.contains("64.00 GB"), "{text}");
}

#[test]
fn the_text_is_a_reason_a_table_and_a_command() {
    let (text, _) = succeeds(&["select", "--facts", &facts("mac-36gb"), "--model-size", "16.5"]);
    assert!(
        text.starts_with("turbo4 (best quality): 4.125 bits per value, 3.88 times smaller"),
        "{text}"
    );
    for part in [
        "Apple M3",
        "turbo3",
        "q4_0",
        "warning: whether MTL0",
        "TURBO_LAYER_ADAPTIVE=0 turboquant serve -m MODEL.gguf",
    ] {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
}

// ---- bad input ----

#[test]
fn sizes_that_no_model_has_are_refused() {
    for size in ["0", "-3", "nan", "inf", "1e300", "big", ""] {
        refused(&["--model-size", size], &["--model-size"]);
    }
    refused(&[], &["--model-size"]);
    refused(&["--model-size", "4", "--model", "x.gguf"], &["--model"]);
}

#[test]
fn absurd_shapes_and_contexts_are_refused_with_the_range() {
    for (flag, value, range) in [
        ("--layers", "0", "1..=512"),
        ("--layers", "4294967296", "1..=512"),
        ("--kv-heads", "-1", "1..=1024"),
        ("--head-dim", "99999", "1..=8192"),
        ("--context", "0", "1..=2147483647"),
        ("--context", "2147483648", "1..=2147483647"),
    ] {
        refused(&["--model-size", "4", flag, value], &[flag, range]);
    }
}

#[test]
fn the_largest_shape_that_is_accepted_does_not_overflow() {
    let shape = [
        "--layers",
        "512",
        "--kv-heads",
        "1024",
        "--head-dim",
        "8192",
        "--context",
        "2147483647",
    ];
    let value = select(&[&["--facts", &facts("mac-36gb"), "--model-size", "1000000"], &shape[..]].concat());
    assert_eq!(value["level"], "turbo2");
    assert!(value["headroom_gb"].as_f64().unwrap() < -1e6);
}

#[test]
fn an_unknown_level_names_the_nearest() {
    refused(
        &["--model-size", "4", "--prefer", "turbo_3"],
        &["turbo_3", "did you mean turbo3?"],
    );
}

#[test]
fn facts_with_a_missing_key_name_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("facts.json");
    std::fs::write(
        &path,
        r#"{"os": "linux", "arch": "x86_64", "memory": {"total": "8 GiB"}, "gpus": []}"#,
    )
    .unwrap();
    let (code, _, err) = outcome(&["select", "--model-size", "4", "--facts", path.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(err.contains("memory.available") && err.contains("facts.json"), "{err}");
}

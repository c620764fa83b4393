//! `turboquant gate`: the table, the record and the exit codes.

#[path = "support/mod.rs"]
mod support;

use serde_json::Value;
use std::path::Path;
use support::{fails, says, turboquant};

const QUICK: [&str; 9] = [
    "gate",
    "-t",
    "1",
    "--chunks",
    "2",
    "--decode-chunks",
    "1",
    "--repetitions",
    "1",
];

/// Exit code, record.
fn gate(more: &[&str]) -> (i32, Value) {
    let output = turboquant().args(QUICK).args(more).arg("--json").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let record = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    (output.status.code().unwrap(), record)
}

fn criterion<'a>(record: &'a Value, id: &str) -> &'a Value {
    let criteria = record["results"]["criteria"].as_array().unwrap();
    criteria.iter().find(|criterion| criterion["id"] == id).unwrap()
}

#[test]
fn each_criterion_has_a_number_a_bound_and_a_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let md = dir.path().join("gate.md");
    let (code, record) = gate(&[
        "--kv",
        "turbo3",
        "--only",
        "quality,ceiling",
        "--md",
        md.to_str().unwrap(),
    ]);
    assert_eq!(record["complete"], true);
    assert_eq!(record["results"]["candidate"], "turbo3");
    for id in [
        "perplexity",
        "kl_batched",
        "same_top_batched",
        "kl_decode",
        "same_top_decode",
        "attention",
        "ceiling",
    ] {
        let criterion = criterion(&record, id);
        assert!(
            criterion["measured"].is_f64() && criterion["verdict"] != "not run",
            "{criterion}"
        );
    }
    for id in ["kl_batched", "kl_decode"] {
        let why = criterion(&record, id)["why"].as_str().unwrap();
        assert!(why.contains("attention on CPU turboquant/"), "{why}");
    }
    // three bits cannot keep the cosine of four
    let attention = criterion(&record, "attention");
    assert_eq!(attention["verdict"], "fail");
    assert!(attention["measured"].as_f64().unwrap() > 0.98);
    assert_eq!((code, &record["results"]["verdict"]), (1, &Value::from("fail")));
    let table = std::fs::read_to_string(md).unwrap();
    says(&table, &["turbo3 against f16", "FAIL |", "Verdict: FAIL"]);
}

#[test]
fn q8_0_passes_what_has_no_bar_of_its_own() {
    let (_, record) = gate(&["--kv", "q8_0", "--only", "quality"]);
    for id in ["perplexity", "attention"] {
        assert_eq!(criterion(&record, id)["verdict"], "pass");
    }
    let text = "the text is not the embedded model's own, so the bars are q4_0's in the same run";
    // the model does not know this text by heart, so q4_0 loses more of it than one token
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../LICENSE-APACHE");
    let (code, record) = gate(&[
        "--kv",
        "q8_0",
        "--only",
        "quality",
        "-c",
        "256",
        "-f",
        file.to_str().unwrap(),
    ]);
    assert_eq!(code, 0, "{text}: {record:#}");
    says(criterion(&record, "kl_batched")["why"].as_str().unwrap(), &["q4_0"]);
}

#[test]
fn a_depth_beyond_the_model_is_not_run_and_does_not_pass() {
    let (code, record) = gate(&["--only", "speed", "--depths", "8192"]);
    assert_eq!(criterion(&record, "prompt_speed")["verdict"], "not run");
    says(
        criterion(&record, "prompt_speed")["why"].as_str().unwrap(),
        &["depths up to"],
    );
    assert_eq!((code, &record["results"]["verdict"]), (1, &Value::from("not run")));
}

#[test]
fn speed_is_measured_at_each_depth() {
    let (_, record) = gate(&["--only", "speed", "--depths", "0,256"]);
    for id in [
        "prompt_speed",
        "generation_speed",
        "first_token",
        "load",
        "resident_memory",
    ] {
        assert!(criterion(&record, id)["measured"].is_f64(), "{id}");
    }
    says(
        criterion(&record, "prompt_speed")["why"].as_str().unwrap(),
        &["pp512 ", "pp512 @ d256"],
    );
}

#[test]
fn bad_settings_are_refused() {
    for (more, code, words) in [
        (&["--kv", "f16"][..], 1, &["itself"][..]),
        (&["--kv", "turbo9"], 2, &["turbo9"]),
        (&["--chunks", "0"], 1, &["--chunks"]),
        (&["--only", "beauty"], 2, &["beauty", "quality"]),
        (&["-f", "/nowhere/text"], 1, &["/nowhere/text"]),
        (&["--md", "/"], 1, &["directory"]),
        (&["--out", "/nowhere/r.json"], 1, &["/nowhere/r.json"]),
    ] {
        let args: Vec<&str> = std::iter::once("gate").chain(more.iter().copied()).collect();
        says(&fails(&args, code), words);
    }
}

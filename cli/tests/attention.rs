//! `--attention-kernels`: chosen, refused with what can be chosen, and told in every result.

#[path = "support/mod.rs"]
mod support;

use serde_json::Value;
use support::{fails, json, says, succeeds, turboquant};

const BENCH: [&str; 13] = [
    "bench", "-t", "1", "-p", "16", "-n", "2", "-r", "1", "--kv", "turbo4", "-o", "json",
];
const PERPLEXITY: [&str; 10] = [
    "perplexity",
    "-t",
    "1",
    "-c",
    "64",
    "--chunks",
    "1",
    "--kv",
    "f16,turbo4",
    "--json",
];

/// The names that `verify` lists.
fn runnable() -> Vec<String> {
    let report = json(&["verify", "--quick", "--json"]);
    serde_json::from_value(report["attention"]["runnable"].clone()).expect("names")
}

#[track_caller]
fn benched(options: &[&str]) -> Vec<Value> {
    let rows = json(&[options, &BENCH].concat());
    let on: Vec<Value> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["attention_on"].clone())
        .collect();
    assert_eq!(on.len(), 2, "a prompt and an answer");
    on
}

#[test]
fn verify_lists_the_kernels_and_each_of_them_computes_when_it_is_chosen() {
    let names = runnable();
    assert_eq!(
        (names.first(), names.last()),
        (Some(&"scalar".into()), Some(&"upstream".into()))
    );
    for name in &names {
        let on = match name.as_str() {
            "upstream" => "CPU llama.cpp".to_owned(),
            ours => format!("CPU turboquant/{ours}"),
        };
        assert_eq!(benched(&["--attention-kernels", name]), [on.as_str(), on.as_str()]);
    }
    let fastest = format!("CPU turboquant/{}", names[names.len() - 2]);
    assert_eq!(benched(&[])[0], fastest, "without the option");
    let (text, _) = succeeds(&["verify", "--quick", "--attention-kernels", "scalar"]);
    says(&text, &["on the CPU: scalar (runs here: scalar,", ", upstream"]);
}

#[test]
fn an_unknown_name_is_refused_with_those_that_there_are() {
    let names = runnable();
    let mut words = vec!["--attention-kernels", "TURBOQUANT_ATTENTION", "nosuch"];
    words.extend(names.iter().map(String::as_str));
    says(&fails(&["--attention-kernels", "nosuch", "bench"], 1), &words);
    let output = turboquant()
        .env("TURBOQUANT_ATTENTION", "nosuch")
        .args(BENCH)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty(), "nothing was measured");
    says(&String::from_utf8(output.stderr).unwrap(), &words);
}

#[test]
fn the_environment_chooses_and_the_option_beats_it() {
    let on = |options: &[&str]| -> Value {
        let output = turboquant()
            .env("TURBOQUANT_ATTENTION", "upstream")
            .args(options)
            .args(BENCH)
            .output()
            .unwrap();
        let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
        rows[0]["attention_on"].clone()
    };
    assert_eq!(on(&[]), "CPU llama.cpp");
    assert_eq!(on(&["--attention-kernels", "scalar"]), "CPU turboquant/scalar");
}

#[test]
fn a_record_counts_who_computed_and_names_it_for_each_cache() {
    let counted = |record: &Value, by: &str| record["attention"]["ops"][by].as_u64().unwrap();
    let on = |record: &Value, arm: usize| record["results"]["arms"][arm]["attention_on"].clone();
    let ours = json(&[&["--attention-kernels", "scalar"], &PERPLEXITY[..]].concat());
    assert_eq!(ours["attention"]["selected"], "scalar");
    assert_eq!(counted(&ours, "upstream"), 0);
    assert_eq!(
        (on(&ours, 0), on(&ours, 1)),
        ("CPU llama.cpp".into(), "CPU turboquant/scalar".into())
    );
    let theirs = json(&[&["--attention-kernels", "upstream"], &PERPLEXITY[..]].concat());
    assert_eq!(theirs["attention"]["selected"], "upstream");
    assert_eq!(
        (counted(&theirs, "turboquant"), on(&theirs, 1)),
        (0, "CPU llama.cpp".into())
    );
    // the same work, whoever does it; f16 is not counted
    assert_eq!(counted(&ours, "turboquant"), counted(&theirs, "upstream"));
    assert!(counted(&ours, "turboquant") > 0);
    for record in [ours, theirs] {
        assert_eq!(
            record["warnings"],
            Value::Array(Vec::new()),
            "what was asked for is no fallback"
        );
    }
}

//! Facts about machines: the schema and the reader agree on what they are, and what is written can be read.

#[path = "support/schema.rs"]
mod schema;
#[path = "support/mod.rs"]
mod support;

use llama_turboquant::machine::Machine;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const SCHEMA: &str = "facts.schema.json";

fn machines() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/machines")
}

/// A file of the library's tests, with two cards.
fn two_cards() -> Value {
    let text = std::fs::read_to_string(machines().join("pc-two-gpus.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn object<'a>(facts: &'a mut Value, at: &str) -> &'a mut serde_json::Map<String, Value> {
    facts.pointer_mut(at).unwrap().as_object_mut().unwrap()
}

/// That neither the schema nor the reader takes these facts, and the reader names the field.
#[track_caller]
fn refused_by_both(facts: &Value, named: &str) {
    assert!(!schema::valid(SCHEMA, facts), "the schema takes {named}: {facts:#}");
    let error = Machine::from_json(&facts.to_string()).expect_err(named).to_string();
    assert!(error.contains(named), "{named}: {error}");
}

// ---- what is valid ----

#[test]
fn every_machine_of_the_tests_is_what_the_schema_says() {
    let mut count = 0;
    for entry in std::fs::read_dir(machines()).unwrap() {
        let path = entry.unwrap().path();
        let facts = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        schema::is_valid(SCHEMA, &facts);
        // and in the form that the program writes
        schema::is_valid(SCHEMA, &serde_json::to_value(Machine::read(&path).unwrap()).unwrap());
        count += 1;
    }
    assert!(count >= 18, "{count} machines");
}

#[test]
fn the_facts_of_this_machine_are_what_the_schema_says() {
    let here = Machine::detect().unwrap();
    schema::is_valid(SCHEMA, &serde_json::to_value(&here).unwrap());
}

#[test]
fn a_fact_that_is_unknown_is_valid_wherever_the_reader_takes_it() {
    for at in [
        "/chip",
        "/cores",
        "/memory/available",
        "/memory/limit",
        "/gpus/1/free",
        "/gpus/0/bandwidth",
    ] {
        let mut facts = two_cards();
        let (parent, key) = at.rsplit_once('/').unwrap();
        object(&mut facts, parent).insert(key.into(), json!({ "unknown": "not measured" }));
        schema::is_valid(SCHEMA, &facts);
        Machine::from_json(&facts.to_string()).unwrap_or_else(|error| panic!("{at}: {error}"));
    }
}

// ---- what the program writes ----

#[test]
fn the_facts_that_select_prints_are_a_facts_file() {
    let printed = support::json(&["select", "--detect-only", "--json"]);
    schema::is_valid(SCHEMA, &printed["facts"]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("facts.json");
    std::fs::write(&path, printed["facts"].to_string()).unwrap();
    let again = support::json(&["select", "--detect-only", "--json", "--facts", path.to_str().unwrap()]);
    for fact in ["os", "arch", "chip", "cores", "memory", "gpus"] {
        assert_eq!(again["facts"][fact], printed["facts"][fact], "{fact}");
    }
}

#[test]
fn select_lists_every_card_in_its_order() {
    let path = machines().join("pc-two-gpus.json");
    let facts = ["--json", "--facts", path.to_str().unwrap()];
    let detected = support::json(&[&["select", "--detect-only"], &facts[..]].concat());
    let selected = support::json(&[&["select", "--model-size", "4"], &facts[..]].concat());
    for value in [detected, selected] {
        let cards = value["hardware"]["gpus"].as_array().unwrap();
        let told: Vec<_> = cards.iter().map(|card| (&card["device"], &card["free_gb"])).collect();
        assert_eq!(told, [(&json!("CUDA0"), &json!(22.0)), (&json!("CUDA1"), &json!(23.5))]);
    }
}

// ---- what is not ----

#[test]
fn a_missing_key_is_refused_by_both() {
    for (at, key, named) in [
        ("", "os", "os is missing"),
        ("", "arch", "arch is missing"),
        ("", "memory", "memory is missing"),
        ("", "gpus", "gpus is missing"),
        ("/memory", "total", "memory.total is missing"),
        ("/memory", "available", "memory.available is missing"),
        ("/gpus/1", "name", "gpus[1].name is missing"),
        ("/gpus/1", "kind", "gpus[1].kind is missing"),
        ("/gpus/1", "total", "gpus[1].total is missing"),
        ("/gpus/1", "free", "gpus[1].free is missing"),
    ] {
        let mut facts = two_cards();
        object(&mut facts, at).remove(key).expect(named);
        refused_by_both(&facts, named);
    }
}

#[test]
fn an_unknown_key_is_refused_by_both() {
    for (at, named) in [("", "totl"), ("/memory", "memory.totl"), ("/gpus/0", "gpus[0].totl")] {
        let mut facts = two_cards();
        object(&mut facts, at).insert("totl".into(), json!(1));
        refused_by_both(&facts, named);
    }
}

#[test]
fn numbers_that_cannot_be_are_refused_by_both() {
    for (at, value, named) in [
        ("/memory/total", json!(-1), "memory.total"),
        ("/memory/total", json!("-1 GiB"), "memory.total"),
        ("/memory/total", json!(0), "memory.total"),
        ("/memory/available", json!(-5), "memory.available"),
        ("/memory/available", json!(1_u64 << 50), "memory.available"),
        ("/memory/available", json!(0.5), "memory.available"),
        ("/memory/available", json!("a lot"), "memory.available"),
        ("/memory/available", json!({ "unknown": 1 }), "memory.available"),
        ("/gpus/0/free", json!(-1), "gpus[0].free"),
        ("/gpus/1/total", json!(true), "gpus[1].total"),
        ("/gpus/1/kind", json!("shared"), "gpus[1].kind"),
        ("/gpus/1/device", json!(""), "gpus[1].device"),
        ("/cores", json!(0), "cores"),
        ("/cores", json!(-2), "cores"),
        ("/cores", json!(65_537), "cores"),
        ("/os", json!({ "unknown": "?" }), "os"),
        ("/gpus", json!({}), "gpus"),
        ("/sources", json!([1]), "sources"),
    ] {
        let mut facts = two_cards();
        let (parent, key) = at.rsplit_once('/').unwrap();
        object(&mut facts, parent).insert(key.into(), value);
        refused_by_both(&facts, named);
    }
}

//! `turboquant sensitivity`, and the map it makes, used.

#[path = "support/mod.rs"]
mod support;

use support::{fails, json, says, succeeds};

const SMALL: [&str; 7] = ["sensitivity", "-t", "1", "-c", "128", "--chunks", "1"];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    SMALL.iter().chain(more).copied().collect()
}

#[test]
fn a_map_within_the_budget_is_made_checked_and_usable() {
    let dir = tempfile::tempdir().unwrap();
    let (map, out) = (dir.path().join("map.json"), dir.path().join("record.json"));
    let (map, out) = (map.to_str().unwrap(), out.to_str().unwrap());
    let record = json(&with(&["--bits", "3.125", "--json", "--map-out", map, "--out", out]));
    assert_eq!(record["kind"], "sensitivity");
    assert_eq!(record["complete"], true);
    let results = &record["results"];
    assert_eq!(results["layers"].as_array().unwrap().len(), 16, "8 layers, K and V");
    let kl = |row: &serde_json::Value| row["kl"]["estimate"].as_f64().unwrap();
    assert!(results["layers"].as_array().unwrap().iter().all(|row| kl(row) > 0.0));
    let bits = results["map"]["bits_per_value"].as_f64().unwrap();
    assert!((2.125..=3.125).contains(&bits), "{bits}");
    let measured = results["map"]["measured"].as_array().unwrap();
    let find = |name: &str| kl(measured.iter().find(|row| row["cache"] == name).unwrap());
    assert!(find("map") < find("turbo2") && find("map") > find("q8_0"));
    let kept: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(out).unwrap()).unwrap();
    assert_eq!(kept, record);

    let (answer, _) = succeeds(&[
        "run",
        "-t",
        "1",
        "-p",
        "What is turbo4?",
        "--temp",
        "0",
        "--layer-map",
        map,
    ]);
    says(&answer, &["turbo4"]);
    let err = fails(&["run", "-p", "x", "--layer-map", map, "--layer-adaptive", "1"], 1);
    says(&err, &["--layer-map", "--layer-adaptive"]);
}

#[test]
fn a_map_of_another_model_is_refused_with_the_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let map = dir.path().join("map.json");
    std::fs::write(&map, r#"{"layers": [{"k": "turbo4", "v": "turbo4"}]}"#).unwrap();
    let err = fails(&["run", "-t", "1", "-p", "x", "--layer-map", map.to_str().unwrap()], 1);
    says(&err, &["1 entries", "8 layers"]);
}

#[test]
fn bad_settings_are_refused_before_the_model_is_loaded() {
    for (more, words) in [
        (&["--bits", "1"][..], &["--bits 1", "2.125"][..]),
        (&["--bits", "nan"], &["--bits"]),
        (&["--probe", "f16"], &["--probe f16"]),
        (&["--probe", "turbo9"], &["--probe", "turbo4"]),
        (&["--types", "turbo4,nope"], &["--types", "nope"]),
        (&["-f", "/nowhere/text"], &["/nowhere/text"]),
        (&["--out", "/nowhere/r.json"], &["/nowhere/r.json"]),
    ] {
        let err = fails(&with(more), 1);
        says(&err, words);
        assert!(!err.contains("Using the embedded model"), "{err}");
    }
}

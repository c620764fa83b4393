//! `turboquant ceiling`: the plan, and what a system that refuses memory makes of it.

#[path = "support/mod.rs"]
mod support;

use support::{fails, json, says};

fn n_ctx(row: &serde_json::Value, key: &str) -> Option<f64> {
    row[key].as_f64()
}

#[test]
fn a_smaller_cache_plans_a_longer_context() {
    let record = json(&["ceiling", "-t", "1", "--memory", "0.25", "--no-trial", "--json"]);
    assert_eq!(record["complete"], true);
    let rows = record["results"]["caches"].as_array().unwrap();
    let planned: Vec<f64> = rows.iter().map(|row| n_ctx(row, "planned_n_ctx").unwrap()).collect();
    let names: Vec<_> = rows.iter().map(|row| row["cache"].as_str().unwrap()).collect();
    assert_eq!(names, ["f16", "q8_0", "turbo4", "turbo3", "turbo2"]);
    assert!(
        planned[2] >= 2.0 * planned[0],
        "turbo4 allows twice f16's context: {planned:?}"
    );
    assert!(planned[3] > planned[2] && planned[2] > planned[1], "{planned:?}");
    for row in rows {
        let bytes = row["planned_kv_bytes"].as_f64().unwrap() + row["planned_compute_bytes"].as_f64().unwrap();
        assert!(bytes <= f64::from(1 << 28) && bytes > 0.9 * f64::from(1 << 28), "{row}");
        assert!(row["tried_n_ctx"].is_null() && row["stopped_by"].as_str().unwrap().contains("--no-trial"));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_trial_ends_where_memory_does_and_near_the_plan() {
    let record = json(&["ceiling", "-t", "1", "--memory", "0.5", "--kv", "turbo4", "--json"]);
    let row = &record["results"]["caches"][0];
    let (planned, tried) = (n_ctx(row, "planned_n_ctx").unwrap(), n_ctx(row, "tried_n_ctx").unwrap());
    // the limit is on address space, which holds a little more than the buffers
    assert!((tried / planned - 1.0).abs() < 0.15, "planned {planned}, tried {tried}");
    says(row["stopped_by"].as_str().unwrap(), &["tokens:"]);
}

#[test]
fn a_budget_that_holds_nothing_is_said() {
    let record = json(&["ceiling", "-t", "1", "--memory", "0.001", "--kv", "f16", "--json"]);
    let row = &record["results"]["caches"][0];
    assert!(row["planned_n_ctx"].is_null() && row["tried_n_ctx"].is_null());
    says(row["stopped_by"].as_str().unwrap(), &["nothing fits"]);
}

#[test]
fn bad_settings_are_refused() {
    for (more, code, words) in [
        (&["--memory", "0"][..], 1, &["--memory 0"][..]),
        (&["--memory", "1e9"], 1, &["--memory"]),
        (&["--kv", "turbo9"], 2, &["turbo9", "turbo4"]),
        (&["--ubatch-size", "0"], 1, &["--ubatch-size"]),
        (&["--out", "/nowhere/r.json"], 1, &["/nowhere/r.json"]),
        (&["-m", "/nowhere/m.gguf"], 1, &["/nowhere/m.gguf"]),
    ] {
        let args: Vec<&str> = std::iter::once("ceiling").chain(more.iter().copied()).collect();
        says(&fails(&args, code), words);
    }
}

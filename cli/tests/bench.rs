//! `turboquant bench` as a user and as a script meets it, on the embedded model with tests of a few tokens.

mod support;

use serde_json::Value;
use support::{interrupt, outcome_of, says, turboquant};

/// Exit code, standard output and standard error. One thread: the tests run side by side, and waiting threads of ggml spin.
fn bench(args: &str) -> (Option<i32>, String, String) {
    let mut command = turboquant();
    command.arg("bench").args(args.split_whitespace());
    if !args.contains("-t ") {
        command.args(["-t", "1"]);
    }
    outcome_of(&mut command)
}

/// Standard output of a run that must succeed.
#[track_caller]
fn measured(args: &str) -> String {
    let (code, out, err) = bench(args);
    assert_eq!(code, Some(0), "{args}\n{err}");
    out
}

#[track_caller]
fn rows(args: &str) -> Vec<Value> {
    serde_json::from_str(&measured(&format!("{args} -o json"))).unwrap()
}

#[track_caller]
fn refused(args: &str, code: i32, words: &[&str]) {
    let (found, out, err) = bench(args);
    assert_eq!(found, Some(code), "{args}\n{err}");
    says(&err, words);
    assert!(
        out.is_empty(),
        "nothing is printed before the settings are known to be good"
    );
}

#[test]
fn the_table_has_llama_benchs_columns_and_names() {
    let table = measured("-p 16 -n 4 -pg 8,2 -d 0,32 -r 2");
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(
        lines[0],
        "| model                          |       size |     params | backend    | threads |            test |                  t/s |"
    );
    let names: Vec<&str> = lines[2..8]
        .iter()
        .map(|line| line.split('|').nth(6).unwrap().trim())
        .collect();
    assert_eq!(
        names,
        ["pp16", "tg4", "pp8+tg2", "pp16 @ d32", "tg4 @ d32", "pp8+tg2 @ d32"]
    );
    assert!(lines[2].contains("|   7.86 MiB |     7.74 M | CPU        |       1 |") && lines[2].contains(" ± "));
    assert!(lines[8].is_empty() && lines[9].starts_with("build: "), "{table}");
}

#[test]
fn json_rows_have_samples_that_fit_their_mean_and_our_facts() {
    let rows = rows("-p 16 -n 4 -r 2 --kv f16,q8_0/turbo4");
    let kv: Vec<&Value> = rows.iter().map(|row| &row["kv"]).collect();
    assert_eq!(kv, ["f16", "f16", "q8_0/turbo4", "q8_0/turbo4"]);
    for row in &rows {
        let samples: Vec<f64> = row["samples_ns"]
            .as_array()
            .unwrap()
            .iter()
            .map(|ns| ns.as_f64().unwrap())
            .collect();
        assert_eq!(samples.len(), 2);
        let mean = samples.iter().sum::<f64>() / 2.0;
        assert!((row["avg_ns"].as_f64().unwrap() - mean).abs() <= 1.0, "{row}");
        let on = row["attention_on"].as_str().unwrap();
        assert!(
            if row["kv"] == "f16" {
                on == "CPU llama.cpp"
            } else {
                on.starts_with("CPU turboquant/")
            },
            "plain caches are llama.cpp's, compressed ones ours: {row}"
        );
        assert_eq!(row["n_threads"], 1);
        assert!(row["rss_peak"].as_u64().unwrap() > 10 << 20 && row["rss_predicted"].as_u64().unwrap() > 10 << 20);
        assert!(row["load_ms"].as_f64().unwrap() > 0.0 && row["ratio"].is_null());
        // a prompt has a first token, an answer has latencies, and neither has the other's number
        let prompt = row["n_gen"] == 0;
        assert_eq!(
            (row["ttft_ms"].is_f64(), row["itl_p99_ms"].is_f64()),
            (prompt, !prompt),
            "{row}"
        );
    }
    // 8 layers with one KV head of 256 values: f16 takes 2 bytes for each side
    let per_token = |row: &Value| row["kv_bytes_per_token"].as_u64().unwrap();
    assert!(per_token(&rows[0]) > 2 * per_token(&rows[2]));
    assert_eq!(
        (&rows[2]["type_k"], &rows[2]["type_v"]),
        (&"q8_0".into(), &"turbo4".into())
    );
}

#[test]
fn with_a_baseline_each_other_cache_gets_a_ratio_with_an_interval() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("rows.json");
    let table = measured(&format!(
        "-p 16 -n 0 -r 3 --kv turbo4,turbo3 --ab f16 --out {}",
        out.display()
    ));
    assert!(
        table.contains("baseline") && table.contains(" ratio |") && table.contains("| attention             |"),
        "{table}"
    );
    let rows: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(out).unwrap()).unwrap();
    let kv: Vec<&Value> = rows.iter().map(|row| &row["kv"]).collect();
    assert_eq!(kv, ["f16", "turbo4", "turbo3"], "the baseline is added and comes first");
    assert!(rows[0]["ratio"].is_null());
    for row in &rows {
        assert_eq!((&row["baseline"], &row["interleaved"]), (&"f16".into(), &true.into()));
    }
    for row in &rows[1..] {
        let [estimate, low, high] = ["estimate", "low", "high"].map(|key| row["ratio"][key].as_f64().unwrap());
        assert!(0.0 < low && low <= estimate && estimate <= high, "{row}");
    }
}

#[test]
fn two_threads_take_turns_with_two_contexts() {
    let rows = rows("-p 8 -n 2 -r 2 -t 2 --kv turbo4 --ab f16");
    assert_eq!(rows.len(), 4);
    assert!(rows.iter().all(|row| row["samples_ns"].as_array().unwrap().len() == 2));
}

#[test]
fn a_synthetic_shape_has_room_for_the_depth_and_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = turboquant();
    let output = command
        .env("TMPDIR", dir.path())
        .args(
            "bench --synthetic 2x4x2x64:vocab=512,ff=128 -p 8 -n 2 -d 300 -r 1 -t 1 -o jsonl --layer-adaptive 0"
                .split(' '),
        )
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0]["model_filename"], "synthetic 2x4x2x64:vocab=512,ff=128");
    assert_eq!((&rows[0]["n_depth"], &rows[0]["kv"]), (&300.into(), &"f16@0".into()));
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        0,
        "the model's file is gone"
    );
}

#[test]
fn windows_and_recurrent_states_are_measured_at_depth() {
    for arch in ["gemma3", "lfm2"] {
        let shape = format!("--synthetic 4x4x2x64:arch={arch},vocab=512,ff=128,window=64");
        let rows = rows(&format!("{shape} -p 8 -n 2 -d 200 -r 2"));
        assert_eq!(rows.len(), 2, "{arch}");
    }
}

#[test]
fn csv_and_sql_and_both_streams() {
    let csv = measured("-p 8 -n 0 -r 1 -o csv");
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].starts_with("build_commit,build_number,cpu_info,gpu_info,backends,model_filename,"));
    let (_, out, err) = bench("-p 8 -n 0 -r 1 -o none -oe sql --progress --no-warmup");
    assert!(out.is_empty());
    assert!(
        err.contains("INSERT INTO llama_bench (build_commit, ") && err.contains("pp8 over f16: run 1/1"),
        "{err}"
    );
}

/// The cache that `auto` was said to be, in the line that begins the reasons.
#[track_caller]
fn said(err: &str) -> String {
    let line = err.lines().find(|line| line.contains(": auto is "));
    let rest = line
        .and_then(|line| line.split_once(": auto is "))
        .map(|(_, rest)| rest);
    rest.unwrap_or_else(|| panic!("{err}"))
        .split_once(" at ")
        .unwrap()
        .0
        .to_owned()
}

#[test]
fn auto_is_chosen_for_the_longest_test_and_rows_name_what_it_came_to() {
    let (code, out, err) = bench("-p 16 -n 4 -pg 8,2 -d 0,32 -r 1 -ctk auto -ctv auto --no-warmup -o json");
    assert_eq!(code, Some(0), "{err}");
    let chosen = said(&err);
    says(&err, &[" at 48 tokens\n", "\n  48 tokens, as asked.\n"]);
    assert!(
        err.contains(&format!("\n  {chosen}: ")),
        "the cache has its reason: {err}"
    );
    let rows: Vec<Value> = serde_json::from_str(&out).unwrap();
    assert_eq!(rows.len(), 6);
    for row in &rows {
        assert_eq!(row["kv"], chosen, "{row}");
        assert_ne!((&row["type_k"], &row["type_v"]), (&"auto".into(), &"auto".into()));
    }
    assert_eq!(err.matches(": auto is ").count(), 1, "one choice for all tests: {err}");
}

#[test]
fn one_side_may_be_auto_and_the_other_is_kept() {
    let (code, out, err) = bench("-p 8 -n 0 -r 1 --kv auto/turbo3 --no-warmup -o json");
    assert_eq!(code, Some(0), "{err}");
    let rows: Vec<Value> = serde_json::from_str(&out).unwrap();
    assert_eq!(rows[0]["type_v"], "turbo3");
    assert_ne!(rows[0]["type_k"], "auto");
    assert!(err.contains(": auto/turbo3 is "), "{err}");
}

#[test]
fn each_model_gets_a_cache_that_it_can_have() {
    // no turbo block divides heads of 80 values
    let shape = "--synthetic 2x4x2x80:vocab=512,ff=128";
    let (code, out, err) = bench(&format!("{shape} -p 8 -n 0 -r 1 --kv auto --no-warmup -o json"));
    assert_eq!(code, Some(0), "{err}");
    let rows: Vec<Value> = serde_json::from_str(&out).unwrap();
    assert_eq!(rows[0]["kv"], said(&err));
    assert!(!said(&err).contains("turbo"), "{err}");
}

#[test]
fn auto_that_fits_no_machine_is_refused_with_the_numbers() {
    // 64 heads of 128 values take 4 KiB per token even as turbo2, which is 7 TiB here
    refused(
        "--synthetic 1x64x64x128:embd=64,vocab=512,ff=64 -p 8 -n 0 -d 2000000000 --kv auto",
        1,
        &[
            "synthetic 1x64x64x128",
            "cache auto",
            "does not fit",
            "too little",
            "The longest context that fits",
        ],
    );
}

#[test]
fn bad_input_is_refused_before_anything_is_measured() {
    refused("-p x", 2, &["--n-prompt", "`x`"]);
    refused("-d 0-16384*2", 2, &["--n-depth", "0,FIRST-16384*2"]);
    refused("-o xml", 2, &["--output", "md, csv, json, jsonl, sql"]);
    refused("-ctk turbo9", 2, &["turbo9", "turbo4, turbo3, turbo2"]);
    refused("--kv turbo4@9", 2, &["turbo4@9", "0 to 7"]);
    refused("--kv auto/turbo9", 2, &["auto/turbo9", "turbo4, turbo3, turbo2"]);
    refused("-r 0", 2, &["--repetitions"]);
    refused("-fa off", 2, &["flash attention"]);
    refused("--synthetic 4x4x3x64", 2, &["--synthetic"]);
    refused("--synthetic 4x4x2x64 -m a.gguf", 2, &["cannot be used with"]);
    refused("-p 0 -n 0", 1, &["nothing to measure"]);
    refused(
        "-p 512 -d 0,8000",
        1,
        &["8512", "8192", "largest depth for this test is 7680"],
    );
    refused("-m no-such-file.gguf", 1, &["no-such-file.gguf", "no such file"]);
    refused(
        "--out no/such/dir/rows.json",
        1,
        &["cannot write no/such/dir/rows.json"],
    );
    refused("--device CUDA0", 1, &["--device CUDA0", "CUDA_VISIBLE_DEVICES"]);
}

#[test]
fn devices_are_listed() {
    assert!(measured("--list-devices").starts_with("Available devices:\n"));
}

/// What was measured before Ctrl-C is printed as whole JSON, and the exit code says that it is not all.
#[cfg(unix)]
#[test]
fn an_interrupted_run_prints_what_it_has() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("rows.json");
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("turboquant"))
        .args([
            "bench",
            "-p",
            "8",
            "-n",
            "8000",
            "-r",
            "50",
            "-t",
            "1",
            "-o",
            "json",
            "--progress",
            "--out",
        ])
        .arg(&out)
        .env_remove("TURBO_LAYER_ADAPTIVE")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // the second test has begun once it is ready
    for line in BufReader::new(child.stderr.as_mut().unwrap()).lines() {
        if line.unwrap().contains("tg8000 over f16: ready") {
            break;
        }
    }
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(rows[0]["n_prompt"], 8);
    assert_eq!(rows[0]["samples_ns"].as_array().unwrap().len(), 50);
    let kept: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(out).unwrap()).unwrap();
    assert_eq!(kept, rows);
}

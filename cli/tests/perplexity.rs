//! `turboquant perplexity` as a user meets it, on the embedded model and text.

mod support;

use serde_json::Value;
use support::{interrupt, outcome};

/// Two chunks of 128 tokens on one thread: the tests run side by side.
const SHORT: [&str; 7] = ["perplexity", "-t", "1", "-c", "128", "--chunks", "2"];

/// Standard output of a short run with these options.
#[track_caller]
fn short(args: &[&str]) -> String {
    support::succeeds(&[&SHORT, args].concat()).0
}

#[track_caller]
fn record(args: &[&str]) -> Value {
    serde_json::from_str(&short(&[args, &["--json"]].concat())).expect("one JSON object and nothing else")
}

/// The arm of `cache` that was compared.
fn arm<'a>(record: &'a Value, cache: &str) -> &'a Value {
    let arms = record["results"]["arms"].as_array().unwrap();
    arms.iter().rfind(|arm| arm["cache"] == cache).expect(cache)
}

#[test]
fn perplexity_is_printed_as_llama_perplexity_does() {
    let out = short(&["-ctk", "q8_0", "-ctv", "turbo4"]);
    assert!(out.starts_with("q8_0/turbo4, batched:\n[1]"), "{out}");
    let after = |mark: &str| -> f64 {
        let number = out.split(mark).nth(1).expect(mark);
        let end = number.find([',', ' ']).unwrap_or(number.len());
        number[..end].parse().unwrap()
    };
    // two chunks: the running value of the second is the estimate
    assert_eq!(after("[2]"), after("PPL = "), "{out}");
    assert!(
        after("[1]") > 1.0 && out.contains(" +/- ") && !out.contains("[3]"),
        "{out}"
    );
}

#[test]
fn several_caches_make_a_table_and_a_record() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("r.json");
    let out = short(&["--kv", "f16,turbo4,turbo2@0", "--out", file.to_str().unwrap()]);
    assert!(out.contains("| turbo2@0 | batched |  2.1250 |"), "{out}");
    let record: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(
        (&record["kind"], &record["complete"]),
        (&"perplexity".into(), &true.into())
    );
    assert_eq!(record["results"]["arms"].as_array().unwrap().len(), 3);
    let turbo4 = arm(&record, "turbo4");
    assert_eq!((&turbo4["n_chunks"], &turbo4["n_tokens"]), (&2.into(), &126.into()));
    assert_eq!(turbo4["kv_bytes"], turbo4["kv_bytes_predicted"]);
    assert!(turbo4["kl"].is_null() && turbo4["ppl"]["estimate"].as_f64().unwrap() > 1.0);
}

#[test]
fn a_cache_does_not_diverge_from_itself_and_others_do() {
    let record = record(&["--kl-divergence", "--kv", "f16,q8_0,turbo2@0", "--floor", "1"]);
    let f16 = arm(&record, "f16");
    assert_eq!(f16["kl"]["estimate"], 0.0);
    assert_eq!(f16["statistics"]["kl_distribution"]["maximum"], 0.0);
    assert_eq!(f16["same_top"]["estimate"], 1.0);
    let kl = |cache| arm(&record, cache)["kl"]["estimate"].as_f64().unwrap();
    assert!(0.0 < kl("q8_0") && 10.0 * kl("q8_0") < kl("turbo2@0"));
    assert_eq!(arm(&record, "q8_0")["depth"].as_array().unwrap().len(), 4);
    assert_eq!(record["results"]["floor_repeat"]["kl"]["estimate"], 0.0);
    assert!(record["results"]["floor"]["kl"]["estimate"].as_f64().unwrap() < 5e-3);
    assert_eq!(record["results"]["base"], "f16");
    // the base's own row has nothing to be compared with
    assert!(record["results"]["arms"][0]["kl"].is_null());
}

#[test]
fn statistics_have_llama_perplexitys_names() {
    let out = short(&["--kl-divergence", "-ctk", "turbo3", "-ctv", "turbo3", "--floor", "0"]);
    for name in [
        "chunk             PPL               ln(PPL(Q)/PPL(base))          KL Divergence",
        "Mean PPL(Q)                   : ",
        "Mean PPL(base)                : ",
        "Cor(ln(PPL(Q)), ln(PPL(base))): ",
        "Mean ln(PPL(Q)/PPL(base))     : ",
        "Mean PPL(Q)/PPL(base)         : ",
        "Mean PPL(Q)-PPL(base)         : ",
        "Mean    KLD: ",
        "Maximum KLD: ",
        "99.9%   KLD: ",
        "Median  KLD: ",
        " 0.1%   KLD: ",
        "Minimum KLD: ",
        "Mean    \u{394}p: ",
        "75.0%   \u{394}p: ",
        "RMS \u{394}p    : ",
        "Same top p: ",
        "| turbo3 | batched |  3.1250 |",
    ] {
        assert!(out.contains(name), "`{name}` is not in:\n{out}");
    }
    assert!(!out.contains("75.0%   KLD") && !out.contains("Noise floor"), "{out}");
}

#[test]
fn one_by_one_gives_the_numbers_of_side_by_side() {
    let args = ["--kl-divergence", "--kv", "turbo4,q4_0", "--floor", "0"];
    let (together, alone) = (record(&args), record(&[&args[..], &["--one-by-one"]].concat()));
    assert_eq!(together["results"]["arms"], alone["results"]["arms"]);
    assert_eq!(together["results"]["paired"], alone["results"]["paired"]);
    assert_eq!(together["results"]["paired"][0]["n_chunks"], 2);
}

#[test]
fn both_ways_are_compared_and_judged() {
    let args = [
        "--both",
        "--bars",
        "--kv",
        "q8_0,turbo4",
        "--floor",
        "0",
        "--decode-chunks",
        "1",
    ];
    let record = record(&args);
    let arms = record["results"]["arms"].as_array().unwrap();
    let modes: Vec<(&Value, &Value)> = arms.iter().map(|arm| (&arm["mode"], &arm["n_chunks"])).collect();
    assert_eq!(arms.len(), 6);
    assert!(
        modes[..3].iter().all(|it| *it == (&"batched".into(), &2.into())),
        "{modes:?}"
    );
    assert!(
        modes[3..].iter().all(|it| *it == (&"decode".into(), &1.into())),
        "{modes:?}"
    );
    assert!(arms[4]["kl_between_modes"]["estimate"].is_f64());
    // f16 one by one against f16 in batches, from the same run
    assert_eq!(record["results"]["floor"]["mode"], "decode");
    let bars = record["results"]["bars"].as_array().unwrap();
    assert_eq!(bars.len(), 4);
    assert!(bars.iter().all(|bar| bar["met"].is_boolean()));
    let warning = record["warnings"][0].as_str().unwrap();
    assert!(warning.contains("another measurement"), "{warning}");
}

#[test]
fn a_layer_map_is_a_cache_like_others() {
    let dir = tempfile::tempdir().unwrap();
    let map = dir.path().join("mine.json");
    let layers: Vec<Value> = (0..8)
        .map(|i| serde_json::json!({"k": "q8_0", "v": if i < 4 { "turbo2" } else { "turbo4" }}))
        .collect();
    std::fs::write(&map, serde_json::json!({ "layers": layers }).to_string()).unwrap();
    let record = record(&["--layer-map", map.to_str().unwrap()]);
    // K 8.5 bits, V half 2.125 and half 4.125
    assert_eq!(arm(&record, "map:mine")["bits_per_value"], (8.5 + 3.125) / 2.0);
}

#[test]
fn strides_and_spread_chunks_are_honoured() {
    let strided = record(&["--ppl-stride", "32"]);
    assert_eq!(arm(&strided, "f16")["n_tokens"], 64);
    let spread = record(&["--chunks-spread"]);
    let numbers = |record: &Value| -> Vec<u64> {
        let chunks = arm(record, "f16")["chunks"].as_array().unwrap().clone();
        chunks.iter().map(|chunk| chunk["number"].as_u64().unwrap()).collect()
    };
    assert_eq!(numbers(&strided), [0, 1]);
    assert!(numbers(&spread)[1] > 100, "{:?}", numbers(&spread));
}

/// A random model with heads of this size.
fn synthetic(model: &std::path::Path, head_dim: &str) {
    let synth = "model synth --layers 1 --heads 1 --kv-heads 1 --embd 64 --ff 64 --vocab 300 --head-dim";
    let args: Vec<&str> = synth.split(' ').chain([head_dim, model.to_str().unwrap()]).collect();
    let (code, _, err) = outcome(&args);
    assert_eq!(code, Some(0), "{err}");
}

#[test]
fn caches_that_a_model_cannot_have_are_left_out_with_the_reason_unless_named() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("m.gguf");
    synthetic(&model, "96");
    let with_model = ["-m", model.to_str().unwrap(), "--kl-divergence", "--floor", "0"];
    let record = record(&with_model);
    let caches: Vec<&str> = record["results"]["arms"]
        .as_array()
        .unwrap()
        .iter()
        .map(|arm| arm["cache"].as_str().unwrap())
        .collect();
    assert_eq!(caches, ["f16", "q8_0", "q5_0", "q4_0"]);
    let warnings = record["warnings"].to_string();
    assert!(
        warnings.contains("turbo4: not run, because") && warnings.contains("96"),
        "{warnings}"
    );

    let (code, _, err) = outcome(&[&SHORT[..], &with_model, &["--kv", "turbo4"]].concat());
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("96"), "{err}");
}

#[test]
fn a_context_beyond_the_models_is_measured_with_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("m.gguf");
    synthetic(&model, "64");
    let (_, out, _) = outcome(&["inspect", model.to_str().unwrap(), "--json"]);
    let facts: Value = serde_json::from_str(&out).unwrap();
    let trained = facts["model"]["n_ctx_train"].as_u64().expect("inspect tells it");
    let n_ctx = (trained + 256).to_string();
    let args = [
        "perplexity",
        "-t",
        "1",
        "-m",
        model.to_str().unwrap(),
        "-c",
        &n_ctx,
        "--chunks",
        "1",
    ];
    let (code, _, err) = outcome(&args);
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("the model was trained on only"), "{err}");
}

#[test]
fn bad_input_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (brief, binary) = (file("brief.txt", b"Too short a text."), file("b.bin", &[0xff, 0, 1]));
    let nowhere = dir.path().join("no/r.json").to_str().unwrap().to_owned();
    let missing = dir.path().join("missing").to_str().unwrap().to_owned();
    for (args, code, part) in [
        (vec!["-f", &brief], 1, "less than one chunk of 512"),
        (vec!["-f", &binary], 1, "is not text"),
        (vec!["-f", &missing], 1, "cannot read"),
        (vec!["--chunks", "0"], 1, "--chunks 0 measures nothing"),
        (vec!["-c", "3"], 1, "fewer than 4 tokens"),
        (vec!["-c", "128", "--ppl-stride", "129"], 1, "larger than the context"),
        (vec!["-b", "0"], 1, "--batch-size"),
        (vec!["--out", &nowhere], 1, "cannot write"),
        (vec!["--kv", "turbo5"], 2, "turbo4"),
        (vec!["-ctk", "turbo5"], 1, "--cache-type-k"),
        (vec!["--kv", "f16", "-ctk", "f16"], 2, "cannot be used with"),
        (vec!["--decode", "--both"], 2, "cannot be used with"),
        (vec!["--floor"], 1, "it needs --kl-divergence"),
        (vec!["--layer-adaptive", "9", "--kv", "turbo4"], 1, "from 0 to 7"),
        (vec!["--layer-map", &missing], 1, "layer map"),
        (vec!["--kl-divergence-base", "x.bin"], 1, "no file is needed"),
        (vec!["--depth-buckets", "0"], 2, "--depth-buckets"),
    ] {
        let (found, out, err) = outcome(&[vec!["perplexity"], args.clone()].concat());
        assert_eq!(found, Some(code), "{args:?}\n{err}");
        assert!(err.contains(part), "{args:?}: `{part}` is not in: {err}");
        assert!(out.is_empty(), "{args:?}: {out}");
    }
}

/// Runs until standard output contains `mark`, sends SIGINT, and gives the exit code, the rest of the output and the record.
#[cfg(unix)]
fn interrupted(args: &[&str], mark: &str) -> (Option<i32>, String, Value) {
    use std::io::Read;
    use std::process::Stdio;

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("r.json");
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("turboquant"))
        .args(["perplexity", "-t", "1", "-c", "128", "--decode", "--out"])
        .arg(&file)
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut out = Vec::new();
    while !String::from_utf8_lossy(&out).contains(mark) {
        let mut byte = [0];
        assert_eq!(
            stdout.read(&mut byte).unwrap(),
            1,
            "{mark}: {}",
            String::from_utf8_lossy(&out)
        );
        out.push(byte[0]);
    }
    interrupt(&child);
    stdout.read_to_end(&mut out).unwrap();
    let code = child.wait().unwrap().code();
    let record = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    (code, String::from_utf8_lossy(&out).into_owned(), record)
}

#[test]
#[cfg(unix)]
fn what_was_measured_survives_an_interruption() {
    for (args, mark) in [
        (&["--kv", "turbo4"][..], "[1]"),
        (
            &["--kl-divergence", "--kv", "turbo4", "--floor", "0", "--chunks", "-1"],
            "\n   1 ",
        ),
    ] {
        let (code, out, record) = interrupted(args, mark);
        assert_eq!(code, Some(130), "{out}");
        assert_eq!(record["complete"], false);
        let turbo4 = arm(&record, "turbo4");
        let chunks = turbo4["n_chunks"].as_u64().unwrap();
        assert!((1..300).contains(&chunks), "{turbo4}");
        assert!(turbo4["ppl"]["estimate"].as_f64().unwrap() > 1.0);
        assert!(out.contains("interrupted"), "{out}");
    }
}

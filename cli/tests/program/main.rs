//! The program as a user meets it: what it prints, and what it says to bad input.

#[path = "../support/certificate.rs"]
mod certificate;
mod faults;
mod serve;
#[path = "../support/mod.rs"]
mod support;
mod verify;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use support::{interrupt, says, turboquant};

/// One thread where nothing else is said: the tests run side by side, and waiting threads of ggml spin.
fn with_threads<'a>(args: &[&'a str]) -> Vec<&'a str> {
    let engine = args.contains(&"run") || args.contains(&"serve");
    let given = args.contains(&"-t");
    args.iter()
        .copied()
        .chain(if engine && !given { vec!["-t", "1"] } else { vec![] })
        .collect()
}

#[track_caller]
fn succeeds(args: &[&str]) -> (String, String) {
    support::succeeds(&with_threads(args))
}

#[track_caller]
fn fails(args: &[&str], code: i32) -> String {
    support::fails(&with_threads(args), code)
}

#[test]
fn run_answers_with_the_embedded_model_and_says_so() {
    let (out, err) = succeeds(&["run", "-p", "What is turbo4?", "--temp", "0"]);
    says(&out, &["turbo4 is a 4-bit KV cache type."]);
    says(
        &err,
        &[
            "embedded model",
            "not a general assistant",
            "-m MODEL.gguf",
            "turbo4/turbo4",
        ],
    );
}

#[test]
fn run_chats_over_standard_input() {
    let output = turboquant()
        .args(["run", "--temp", "0", "-t", "1"])
        .write_stdin("What is turbo2?\n\nWhat is turbo3?\n")
        .output()
        .unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    says(&out, &["turbo2 is a 2-bit", "turbo3 is a 3-bit"]);
}

#[test]
fn run_reads_a_prompt_file_and_limits_the_answer() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("prompt.txt");
    std::fs::write(&file, "What is turbo4?").unwrap();
    let (out, _) = succeeds(&["run", "-f", file.to_str().unwrap(), "-n", "3", "--temp", "0"]);
    assert!(out.trim().split(' ').count() <= 3, "{out}");
    says(
        &fails(&["run", "-f", "/no/such/prompt"], 1),
        &["/no/such/prompt", "No such file"],
    );
    let binary = dir.path().join("binary");
    std::fs::write(&binary, [0xff, 0xfe, 0x00]).unwrap();
    says(&fails(&["run", "-f", binary.to_str().unwrap()], 1), &["not UTF-8"]);
}

#[test]
fn model_files_that_are_none_are_named_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let cases = [
        ("/no/such/model.gguf".to_owned(), "no such file"),
        (dir.path().to_str().unwrap().to_owned(), "directory"),
        (write("empty.gguf", b""), "empty"),
        (write("text.gguf", b"hello, world"), "not a GGUF file"),
        (write("short.gguf", b"GG"), "not a GGUF file"),
        (
            write(
                "cut.gguf",
                &std::fs::read("../models/tiny-q8_0.gguf").unwrap()[..100_000],
            ),
            "cannot load model",
        ),
    ];
    for (path, reason) in &cases {
        for command in [
            vec!["run", "-p", "x", "-m", path],
            vec!["serve", "--port", "0", "-m", path],
            vec!["inspect", path],
        ] {
            says(&fails(&command, 1), &[path, reason]);
        }
    }
}

#[test]
fn unknown_types_list_the_valid_ones() {
    says(
        &fails(&["run", "-p", "x", "-ctk", "turbo5"], 1),
        &["--cache-type-k", "turbo5", "turbo4", "q8_0", "auto"],
    );
    says(
        &fails(&["serve", "-ctv", "nonsense"], 1),
        &["--cache-type-v", "nonsense", "turbo2"],
    );
}

#[test]
fn numbers_out_of_range_are_refused_before_any_work() {
    says(
        &fails(&["run", "-p", "x", "--layer-adaptive", "9"], 1),
        &["--layer-adaptive", "0 to 7"],
    );
    says(
        &fails(&["run", "-p", "x", "--layer-adaptive", "x"], 1),
        &["--layer-adaptive", "`x`"],
    );
    says(&fails(&["run", "-p", "x", "-ub", "0"], 1), &["--ubatch-size"]);
    says(
        &fails(&["run", "-p", "x", "-t", "100000"], 1),
        &["100000 threads", "at most"],
    );
    says(&fails(&["serve", "-np", "0"], 1), &["--parallel", "between 1 and 256"]);
    says(&fails(&["serve", "-np", "100000"], 1), &["--parallel", "256", "100000"]);
    fails(&["run", "-c", "-1"], 2);
    fails(&["run", "-c", "99999999999999"], 2);
    fails(&["serve", "--port", "65536"], 2);
    fails(&["nonsense"], 2);
}

#[test]
fn a_context_beyond_memory_is_refused_with_the_numbers() {
    let start = Instant::now();
    let said = ["run", "-p", "x", "-ctk", "turbo4", "-ctv", "turbo4", "-c"];
    let err = fails(&[&said[..], &["2000000000"]].concat(), 1);
    says(
        &err,
        &[
            "not enough memory",
            "2000000000 tokens",
            "bytes needed",
            "bytes available",
        ],
    );
    assert!(start.elapsed() < Duration::from_secs(20), "it was allocated");
    says(
        &fails(&["run", "-p", "x", "-c", "4294967295"], 1),
        &["4294967295", "limit"],
    );
}

#[test]
fn a_prompt_that_does_not_fit_names_both_sizes() {
    let long = "word ".repeat(2000);
    says(
        &fails(&["run", "-p", &long, "-c", "512"], 1),
        &["exceeds the available context size", "512"],
    );
}

#[test]
fn a_codec_that_does_not_exist_is_refused_and_scalar_works() {
    says(&fails(&["--codec", "sse9", "run", "-p", "x"], 1), &["--codec", "sse9"]);
    let (out, _) = succeeds(&["--codec", "scalar", "run", "-p", "What is turbo4?", "--temp", "0"]);
    says(&out, &["turbo4 is a 4-bit KV cache type."]);
}

#[test]
fn turbo2_values_use_mode_7_and_say_so_unless_it_is_turned_off() {
    let (_, err) = succeeds(&[
        "run",
        "-p",
        "What is turbo2?",
        "-ctk",
        "turbo2",
        "-ctv",
        "turbo2",
        "-n",
        "1",
    ]);
    says(&err, &["mode 7"]);
    let output = turboquant()
        .args([
            "run",
            "-p",
            "What is turbo2?",
            "-ctk",
            "turbo2",
            "-ctv",
            "turbo2",
            "-n",
            "1",
            "-t",
            "1",
        ])
        .env("TURBO_LAYER_ADAPTIVE", "0")
        .output()
        .unwrap();
    assert!(!String::from_utf8(output.stderr).unwrap().contains("mode 7"));
}

#[test]
fn kv_and_inspect_print_tables_and_json() {
    let (out, _) = succeeds(&["kv"]);
    says(&out, &["turbo4", "4.125", "3.88x", "K \\ V"]);
    let (json, _) = succeeds(&["kv", "--json"]);
    let kv: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(
        kv["types"]
            .as_array()
            .unwrap()
            .iter()
            .any(|ty| ty["type"] == "turbo3" && ty["bits_per_value"] == 3.125)
    );
    let (out, _) = succeeds(&["inspect", "../models/tiny-q8_0.gguf"]);
    says(&out, &["qwen3", "8 with a KV cache", "8192 tokens", "turbo4"]);
    let (json, _) = succeeds(&["inspect", "../models/tiny-q8_0.gguf", "--json"]);
    let model: serde_json::Value = serde_json::from_str(&json).unwrap();
    let turbo4 = model["kv"]
        .as_array()
        .unwrap()
        .iter()
        .find(|kv| kv["type"] == "turbo4")
        .unwrap();
    assert_eq!(turbo4["bytes_per_token"], 2112.0); // 8 layers, K and V, 2 heads of 66 bytes
}

#[test]
fn synth_writes_a_model_that_runs_and_refuses_nonsense() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("random.gguf");
    let path = path.to_str().unwrap();
    let (out, _) = succeeds(&[
        "model",
        "synth",
        path,
        "--layers",
        "2",
        "--embd",
        "128",
        "--heads",
        "2",
        "--kv-heads",
        "1",
        "--ff",
        "128",
    ]);
    says(&out, &[path]);
    succeeds(&["run", "-m", path, "-p", "hello", "-n", "4", "-c", "256"]);
    says(
        &fails(&["model", "synth", path, "--arch", "nonsense"], 1),
        &["nonsense", "llama"],
    );
    says(
        &fails(&["model", "synth", "/no/such/dir/x.gguf"], 1),
        &["/no/such/dir/x.gguf"],
    );
    says(
        &fails(&["model", "synth", path, "--heads", "3", "--kv-heads", "2"], 1),
        &["heads"],
    );
}

#[test]
fn auto_falls_back_loudly_and_an_explicit_type_never() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("odd.gguf");
    let path = path.to_str().unwrap();
    succeeds(&[
        "model",
        "synth",
        path,
        "--layers",
        "2",
        "--head-dim",
        "96",
        "--embd",
        "192",
        "--heads",
        "2",
        "--kv-heads",
        "1",
        "--ff",
        "128",
    ]);
    let (_, err) = succeeds(&["run", "-m", path, "-p", "hello", "-n", "1", "-c", "256"]);
    says(&err, &["turbo4 is not possible here", "96", "chose q8_0", "q8_0/q8_0"]);
    let err = fails(
        &[
            "run", "-m", path, "-p", "hello", "-c", "256", "-ctk", "turbo4", "-ctv", "turbo4",
        ],
        1,
    );
    says(&err, &["turbo4", "96", "q8_0"]);
}

fn spawn(args: &[&str]) -> Child {
    spawn_with(args, &[])
}

fn spawn_with(args: &[&str], variables: &[(&str, &str)]) -> Child {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_turboquant"));
    for name in support::foreign_variables() {
        command.env_remove(name);
    }
    command
        .args(with_threads(args))
        .env("TURBOQUANT_CONFIG", "")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[track_caller]
fn ends_within(child: &mut Child, limit: Duration) -> Option<i32> {
    let start = Instant::now();
    while start.elapsed() < limit {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    panic!("still running after {limit:?}");
}

#[test]
fn ctrl_c_ends_prefill_and_decode_with_130() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("random.gguf");
    let model = model.to_str().unwrap();
    // random weights: the answer never ends by itself
    succeeds(&[
        "model",
        "synth",
        model,
        "--layers",
        "4",
        "--embd",
        "256",
        "--heads",
        "8",
        "--kv-heads",
        "2",
        "--ff",
        "512",
    ]);

    let mut decoding = spawn(&["run", "-m", model, "--raw", "-p", "x", "-c", "65536", "--temp", "1"]);
    let mut first = [0];
    decoding.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    interrupt(&decoding);
    assert_eq!(ends_within(&mut decoding, Duration::from_secs(10)), Some(130));

    let prompt = dir.path().join("long.txt");
    std::fs::write(&prompt, "abcdefgh ".repeat(5000)).unwrap();
    let mut prefill = spawn(&[
        "run",
        "-m",
        model,
        "--raw",
        "-f",
        prompt.to_str().unwrap(),
        "-c",
        "65536",
    ]);
    // the line about the context is printed when the prefill begins
    let mut lines = BufReader::new(prefill.stderr.take().unwrap()).lines();
    while !lines.next().unwrap().unwrap().contains("KV cache") {}
    std::thread::sleep(Duration::from_millis(300));
    interrupt(&prefill);
    assert_eq!(ends_within(&mut prefill, Duration::from_secs(10)), Some(130));
}

#[test]
fn a_reader_that_goes_away_ends_the_program_quietly() {
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_turboquant"))
        .arg("kv")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(!err.contains("panicked"), "{err}");
    assert_eq!(output.status.code(), Some(141), "{err}");
}

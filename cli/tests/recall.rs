//! `turboquant needle` and `turboquant session` as a user meets them.

mod support;

use serde_json::Value;
use std::time::Duration;
use support::{interrupt, outcome};

/// Exit code, standard output and standard error; one thread, because the tests run side by side.
fn turboquant(args: &[&str]) -> (Option<i32>, String, String) {
    outcome(&[args, &["-t", "1"]].concat())
}

const SMALL: [&str; 7] = ["needle", "--lengths", "256", "--depths", "0,1", "--trials", "1"];

#[test]
fn needle_prints_heat_maps_and_scores() {
    let (code, out, err) = turboquant(&SMALL);
    assert_eq!(code, Some(0), "{err}");
    for part in [
        "f16: needles found, %",
        "turbo4: needles found, %",
        "95 % interval",
        "lost of f16's",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    assert!(!out.contains('\x1b'), "no colors in a pipe");
}

#[test]
fn needle_records_are_complete_and_reproducible() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("needle.json");
    let args = [
        &SMALL[..],
        &["--kv", "turbo4", "--json", "--out", file.to_str().unwrap()],
    ]
    .concat();
    let (code, out, err) = turboquant(&args);
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("f16 is not among the caches"), "{err}");
    let record: Value = serde_json::from_str(&out).unwrap();
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(record, kept);
    assert_eq!((&record["kind"], &record["complete"]), (&"needle".into(), &true.into()));
    let cells = record["results"]["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 2);
    assert!(
        cells
            .iter()
            .all(|cell| cell["cache"] == "turbo4" && cell["n_ctx"] == 256 && cell["trials"] == 1),
        "{cells:?}"
    );
    let again: Value = serde_json::from_str(&turboquant(&args).1).unwrap();
    assert_eq!(record["results"], again["results"]);
}

#[test]
fn needle_asks_a_set_of_the_users() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("set.jsonl");
    let line = r#"{"prompt":"The access code for Olga Olsen is 3686. The bell rang two times.\n\nQuestion: What is the access code for Olga Olsen?\nAnswer:","expected":"3686","ctx":64,"kind":"plain"}"#;
    std::fs::write(&file, line).unwrap();
    let (code, out, err) = turboquant(&["needle", "--set", file.to_str().unwrap(), "--kv", "f16"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("1/1"), "{out}");
    std::fs::write(&file, format!("{line}\n{{}}\n")).unwrap();
    let (code, _, err) = turboquant(&["needle", "--set", file.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(err.contains("set.jsonl") && err.contains("line 2"), "{err}");
}

#[test]
fn session_prints_recall_and_divergence_and_records_every_turn() {
    let args = ["session", "--turns", "10", "--conversations", "1", "--kv", "turbo4"];
    let (code, out, err) = turboquant(&args);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("f16: recalled") && out.contains("turbo4: KL"), "{out}");
    assert!(err.contains("drift not run"), "{err}");
    let (_, out, _) = turboquant(&[&args[..], &["--json"]].concat());
    let record: Value = serde_json::from_str(&out).unwrap();
    let caches = record["results"]["caches"].as_array().unwrap();
    assert_eq!(
        (&caches[0]["cache"], &caches[1]["cache"]),
        (&"f16".into(), &"turbo4".into()),
        "f16 is added"
    );
    assert_eq!(caches[1]["turns"].as_array().unwrap().len(), 10);
    assert!(caches[0]["turns"][0]["kl"].is_null() && caches[1]["turns"][0]["kl"].as_f64().unwrap() > 0.0);
    assert!(caches[1]["turns"][0]["recalled"].is_null() && caches[1]["drift"].is_null());
}

#[test]
fn mistakes_are_named_before_anything_is_measured() {
    let out = "/no/such/directory/r.json";
    for (args, code, part) in [
        (&["needle", "--set", "no-such-file.jsonl"][..], 1, "no-such-file.jsonl"),
        (&["needle", "--haystack", "no-such-file.txt"], 1, "no-such-file.txt"),
        (&["needle", "--lengths", "9000"], 1, "8192"),
        (&["needle", "--depths", "2"], 1, "between 0"),
        (&["needle", "--trials", "0"], 1, "--trials 0"),
        (&["needle", "--needles", "0"], 1, "--needles 0"),
        (&["needle", "--kv", "turbo5"], 2, "turbo4"),
        (&["needle", "--kind", "song"], 2, "plain"),
        (&["needle", "--set", "--trials", "3"], 2, "--trials"),
        (&["needle", "--out", out], 1, out),
        (&["session", "--turns", "2"], 1, "--turns 2"),
        (&["session", "--conversations", "0"], 1, "--conversations 0"),
        (&["session", "--kv", "f17"], 2, "turbo4"),
        (&["session", "--out", out], 1, out),
    ] {
        let (status, _, err) = turboquant(args);
        assert_eq!(status, Some(code), "{args:?}: {err}");
        assert!(err.contains(part), "{args:?}: {err}");
    }
}

#[test]
fn a_model_without_a_template_is_asked_as_plain_text_and_not_as_chat() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("plain.gguf");
    // the embedded model with the template under a name that nobody reads
    let mut bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny-q8_0.gguf")).unwrap();
    let name = b"tokenizer.chat_template";
    let at = bytes.windows(name.len()).position(|part| part == name).unwrap();
    bytes[at + name.len() - 1] = b'X';
    std::fs::write(&file, bytes).unwrap();
    let file = file.to_str().unwrap();
    let (code, _, err) = turboquant(&[&SMALL[..], &["-m", file, "--kind", "chat"]].concat());
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("--kind plain"), "{err}");
    let (code, _, err) = turboquant(&[&SMALL[..], &["-m", file, "--kv", "f16"]].concat());
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("asked as plain text"), "{err}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_keeps_what_was_measured() {
    use std::io::Read;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("needle.json");
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("turboquant"))
        .args([
            "needle",
            "--lengths",
            "256",
            "--trials",
            "200",
            "--kv",
            "f16",
            "-t",
            "1",
            "--out",
        ])
        .arg(&file)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // the file is there when the first answers are
    for _ in 0..600 {
        if file.exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    interrupt(&child);
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{out}");
    let record: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(record["complete"], false);
    assert!(
        !record["results"]["answers"].as_array().unwrap().is_empty() && out.contains("needles found"),
        "{out}"
    );
}

//! `turboquant report` as a user meets it. The records in `tests/data/report` are invented.

use assert_cmd::Command;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/report")
        .join(name)
}

/// Exit code, standard output, standard error.
fn report(args: &[&Path]) -> (Option<i32>, String, String) {
    let output = Command::cargo_bin("turboquant")
        .unwrap()
        .env_remove("RUST_LOG")
        .arg("report")
        .args(args)
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[track_caller]
fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
}

#[test]
fn every_kind_of_record_becomes_one_page_and_its_charts() {
    let dir = tempfile::tempdir().unwrap();
    let (out, svg) = (dir.path().join("page.html"), dir.path().join("made/svg"));
    let kinds = [
        "bench",
        "perplexity",
        "needle",
        "prompts",
        "session",
        "sensitivity",
        "ceiling",
        "gate",
        "load",
    ];
    let files: Vec<PathBuf> = kinds.iter().map(|kind| fixture(&format!("{kind}.json"))).collect();
    let mut args: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    let options = ["--out".as_ref(), out.as_path(), "--svg-dir".as_ref(), svg.as_path()];
    args.extend(
        options
            .iter()
            .chain(&["--title".as_ref(), Path::new("Ours & <theirs>")]),
    );
    let (code, stdout, stderr) = report(&args);
    assert_eq!(code, Some(0), "{stderr}");
    says(&stdout, &["page.html", "10 charts", "9 records"]);
    says(&stderr, &["sensitivity.json is incomplete"]);
    let page = std::fs::read_to_string(&out).unwrap();
    says(
        &page,
        &[
            "<title>Ours &amp; &lt;theirs&gt;</title>",
            "KL divergence from f16 by bits per value",
            "tg128: tokens per second by depth",
            "the measurement was stopped",
            "31 %, noisy",
            "✗</span> kill",
            ">at least 0.9<",
            ">below 0.75<",
            ">above 1<",
            "not decidable",
            "2 of 8 rules broken",
            "too_long, which was not run",
            "2.6 %",
            "forgotten",
            "Under load",
            "slots busy afterwards",
        ],
    );
    let mut charts = 0;
    for file in std::fs::read_dir(&svg).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let document = roxmltree::Document::parse(&text).unwrap();
        assert_eq!(
            document.root_element().tag_name().namespace(),
            Some("http://www.w3.org/2000/svg")
        );
        charts += 1;
    }
    assert_eq!(charts, 10);
}

#[test]
fn llama_bench_without_our_fields_gives_bars_and_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("page.html");
    let (code, stdout, stderr) = report(&[&fixture("llama-bench.json"), "--out".as_ref(), &out]);
    assert_eq!(code, Some(0), "{stderr}");
    says(&stdout, &["2 charts, 1 record"]);
    let page = std::fs::read_to_string(&out).unwrap();
    says(
        &page,
        &["invented-other.gguf", "q4_0", "Not shown: ratios", "Not shown: memory"],
    );
    assert!(
        !page.contains("TTFT, ms") && !page.contains("attention on"),
        "columns without numbers"
    );
}

#[test]
fn a_bad_file_is_named_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("page.html");
    let bad = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    for (file, words) in [
        (bad("empty.json", ""), ["empty.json", "empty"]),
        (bad("cut.json", "{\"schema\": "), ["cut.json", "ends too early"]),
        (bad("other.json", "{\"a\": 1}"), ["other.json", "schema"]),
        (bad("table.md", "| model | size |"), ["table.md", "-o json"]),
        (dir.path().join("none.json"), ["none.json", "cannot read"]),
    ] {
        let (code, _, stderr) = report(&[&fixture("gate.json"), &file, "--out".as_ref(), &out]);
        assert_eq!(code, Some(1), "{stderr}");
        says(&stderr, &words);
        assert!(!out.exists());
    }
}

#[test]
fn paths_are_checked_before_records_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let gate = fixture("gate.json");
    let copy = dir.path().join("gate.json");
    std::fs::copy(&gate, &copy).unwrap();
    let out = dir.path().join("page.html");
    let nowhere = dir.path().join("no/page.html");
    let in_file = copy.join("svg");
    for (args, words) in [
        (
            vec![gate.as_path(), "--out".as_ref(), nowhere.as_path()],
            "no/page.html",
        ),
        (vec![&gate, "--out".as_ref(), dir.path()], "is a directory"),
        (vec![&copy, "--out".as_ref(), &copy], "one of the records"),
        (vec![&gate, &gate, "--out".as_ref(), &out], "given twice"),
        (
            vec![&gate, "--out".as_ref(), &out, "--svg-dir".as_ref(), &in_file],
            "--svg-dir",
        ),
    ] {
        let (code, _, stderr) = report(&args);
        assert_eq!(code, Some(1), "{stderr}");
        says(&stderr, &[words]);
    }
    assert_eq!(std::fs::read(&copy).unwrap(), std::fs::read(&gate).unwrap());
    assert_eq!(report(&[]).0, Some(2));
}

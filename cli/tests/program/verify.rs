//! `verify` as a user meets it. What it checks, and that it notices faults, is tested in tests/kernels of the library.

use super::support::{self, interrupt, says, turboquant};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

/// The cells of the tables of a Markdown report, headers apart.
fn cells(report: &str) -> Vec<String> {
    let rows = report.lines().filter(|line| line.starts_with("| "));
    let cells = rows.flat_map(|row| row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()));
    cells.collect()
}

#[test]
fn a_quick_check_passes_here_and_its_report_has_no_blanks_and_no_paths() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("verify.md");
    let found = support::json(&[
        "verify",
        "--quick",
        "--device",
        "cpu",
        "--json",
        "--report",
        path.to_str().unwrap(),
    ]);
    assert_eq!(
        (&found["failed"], &found["not_run"]),
        (&Value::from(0), &Value::from(0)),
        "{found:#}"
    );
    let counts = &found["devices"][0]["counts"];
    // 54 operators on rows and 294 of attention; the CPU has no copy to f16, for 6 types
    assert_eq!(
        (counts["passed"].as_u64(), counts["refused"].as_u64()),
        (Some(342), Some(6))
    );
    let caches: Vec<&str> = found["model"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["kv"].as_str().unwrap())
        .collect();
    assert_eq!(caches, ["f16", "turbo4", "turbo3", "turbo2"]);
    let report = std::fs::read_to_string(&path).unwrap();
    says(
        &report,
        &[
            "| result | passed |",
            "## CPU",
            "SET_ROWS f32, i64",
            "| turbo4 / q8_0 |",
            "## The embedded model",
        ],
    );
    let cells = cells(&report);
    assert!(
        cells.len() > 400 && cells.iter().all(|cell| !cell.is_empty()),
        "{report}"
    );
    let folders = [env!("CARGO_MANIFEST_DIR"), dir.path().to_str().unwrap()];
    assert!(folders.iter().all(|folder| !report.contains(folder)), "{report}");
}

#[test]
fn a_device_that_is_not_there_is_refused_with_those_that_are() {
    says(
        &support::fails(&["verify", "--device", "MTL9"], 1),
        &["--device MTL9", "CPU"],
    );
}

#[test]
fn a_report_that_cannot_be_written_is_refused_before_the_work() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none/verify.md");
    let (code, out, error) = support::outcome(&["verify", "--report", path.to_str().unwrap()]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    says(&error, &["cannot write the report", "verify.md"]);
}

#[test]
fn ctrl_c_ends_the_check_and_the_report_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("verify.md");
    let program = turboquant().get_program().to_owned();
    let mut child = std::process::Command::new(program)
        .args(["verify", "--quick", "--report", path.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.find(|line| line.as_ref().unwrap().starts_with("ok "));
    assert!(first.is_some(), "no check was done");
    says(&std::fs::read_to_string(&path).unwrap(), &["UNFINISHED"]);
    interrupt(&child);
    let rest: Vec<String> = lines.map(|line| line.unwrap()).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
    says(&rest.join("\n"), &["stopped"]);
    says(
        &std::fs::read_to_string(&path).unwrap(),
        &["stopped by the user; 0 failed until then"],
    );
}

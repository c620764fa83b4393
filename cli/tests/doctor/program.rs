//! The program on this machine.

use super::{schema, support};
use serde_json::Value;

const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny-q8_0.gguf");
const MACHINES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/machines");

/// Exit code and report.
fn doctor(options: &[&str]) -> (Option<i32>, Value) {
    let (code, out, err) = support::outcome(&[&["doctor", "--json"], options].concat());
    let report = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}\n{out}\n{err}"));
    schema::is_valid("doctor.schema.json", &report);
    (code, report)
}

fn levels<'a>(report: &'a Value, id: &str) -> Vec<&'a str> {
    let findings = report["findings"].as_array().unwrap();
    let of_id = findings.iter().filter(|finding| finding["id"] == id);
    of_id.map(|finding| finding["level"].as_str().unwrap()).collect()
}

#[test]
fn this_machine_is_examined_and_the_exit_code_is_the_worst_level() {
    let (code, report) = doctor(&["-m", TINY]);
    let problem = report["worst"] == "problem";
    assert_eq!(code, Some(i32::from(problem)), "{report:#}");
    for id in [
        "build.version",
        "build.cpu",
        "memory.available",
        "limits.open_files",
        "folders.models",
    ] {
        assert_eq!(levels(&report, id).len(), 1, "{id}");
    }
    assert_eq!(levels(&report, "ports").len(), 2);
    assert_eq!(levels(&report, "model.file"), ["ok"]);
    assert_eq!(levels(&report, "model.fits"), ["ok"]);
}

#[test]
fn a_truncated_model_is_a_problem_and_the_exit_code_1() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cut.gguf");
    let bytes = std::fs::read(TINY).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 1000]).unwrap();
    let (code, report) = doctor(&["-m", path.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert_eq!(levels(&report, "model.file"), ["problem"]);
    assert_eq!(levels(&report, "model.fits"), [""; 0]);
}

#[test]
fn another_machine_is_judged_by_its_facts_alone() {
    let path = format!("{MACHINES}/pc-unusable-gpu.json");
    let (code, report) = doctor(&["--facts", &path, "-m", TINY]);
    assert_eq!(code, Some(0));
    assert_eq!(levels(&report, "devices.unused"), ["warning"]);
    assert_eq!(levels(&report, "ports"), [""; 0]);
    assert_eq!(levels(&report, "build.cpu"), [""; 0]);
    assert_eq!(levels(&report, "model.fits"), ["ok"]);
}

#[test]
fn a_folder_for_models_that_is_a_file_is_a_problem() {
    let (code, report) = doctor(&["--models-dir", TINY]);
    assert_eq!(code, Some(1));
    assert_eq!(levels(&report, "folders.models"), ["problem"]);
}

#[test]
fn people_get_text_with_what_to_do() {
    let path = format!("{MACHINES}/pc-unusable-gpu.json");
    let (out, _) = support::succeeds(&["doctor", "--facts", &path]);
    support::says(
        &out,
        &[
            "Machine: PC with 32 GB",
            "warning",
            "-> Build with `--features cuda`",
            "1 warning",
        ],
    );
}

#[test]
fn a_facts_file_that_is_wrong_is_an_error() {
    let error = support::fails(&["doctor", "--facts", TINY], 1);
    support::says(&error, &["--facts", TINY]);
}

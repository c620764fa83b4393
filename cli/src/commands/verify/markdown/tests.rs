use super::super::record::{AttentionKernels, ModelRow};
use super::*;
use llama_turboquant::Backend;
use llama_turboquant::measure::Environment;
use llama_turboquant::verify::Check;
use llama_turboquant::verify::device::{Claims, Registry};
use llama_turboquant::verify::model::Reference;

/// A device of which nothing was run.
fn idle(stopped: bool) -> DeviceReport {
    let device = Backend::init().unwrap().devices().unwrap().remove(0);
    let registry = Registry::of_engine().unwrap();
    DeviceReport::complete(device, &Claims::All, &registry, Vec::new(), stopped)
}

fn record(devices: Vec<DeviceReport>) -> Record {
    let environment = Environment::detect().unwrap();
    Record {
        program: "0.0.0",
        engine: environment.engine.clone(),
        environment,
        quick: true,
        attention: AttentionKernels {
            active: "scalar".into(),
            runnable: vec!["scalar".into()],
            skipped: Vec::new(),
        },
        notes: Vec::new(),
        checks: Vec::new(),
        devices,
        model: Vec::new(),
        seconds: 1.0,
        state: State::Finished,
    }
}

/// The cells of every table, headers and rules apart.
fn cells(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| line.starts_with("| "));
    lines
        .flat_map(|line| {
            line.trim_matches('|')
                .split('|')
                .map(|cell| cell.trim().to_owned())
                .collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn no_cell_is_blank_whatever_became_of_it() {
    let mut mixed = idle(true);
    for (i, result) in mixed.cells.iter_mut().enumerate() {
        result.outcome = [Outcome::Passed, Outcome::Failed, Outcome::Refused, Outcome::NotRun][i % 4];
    }
    for report in [idle(true), idle(false), mixed] {
        let text = rows_table(&report) + &attention_table(&report, false) + &attention_table(&report, true);
        let cells = cells(&text);
        // 9 operators and a header by 6 types and a name; 21 pairs and a header by 7 head sizes and a name, twice
        assert_eq!(cells.len(), 10 * 7 + 2 * 22 * 8);
        assert!(
            cells.iter().all(|cell| !cell.is_empty() && cell != "not registered"),
            "{text}"
        );
    }
}

#[test]
fn a_failure_is_in_the_result_the_matrix_and_the_list_with_its_numbers() {
    let mut report = idle(true);
    let failed = report.cells.iter_mut().find(|result| {
        matches!(&result.cell, Cell::Attention { k, v, head: (192, 128), many: true } if k == "turbo3" && v == "q8_0")
    });
    let failed = failed.unwrap();
    failed.outcome = Outcome::Failed;
    failed.error = Some(0.25);
    failed.wrong = vec!["20 queries: relative error 2.5e-1, allowed 2e-3".into()];
    let text = document(&record(vec![report]));
    for words in [
        "FAILED: 1 of 1",
        "**FAIL** 2.5e-1",
        "- attention turbo3/q8_0, heads of 192/128, many queries: 20 queries: relative error 2.5e-1, allowed 2e-3",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
}

#[test]
fn what_was_not_checked_is_said_and_is_no_pass() {
    let text = document(&record(vec![idle(true)]));
    assert!(text.contains("NOT CHECKED"), "{text}");
    assert!(!cells(&text).contains(&"ok".to_owned()));
    let mut record = record(Vec::new());
    record.notes = vec!["NOT CHECKED: the backend MTL is built in".into()];
    assert!(document(&record).contains("**NOT CHECKED: the backend MTL"));
}

#[test]
fn an_unfinished_report_names_what_was_running() {
    let mut record = record(Vec::new());
    record.state = State::Unfinished("MTL0: attention turbo2/f16".into());
    let text = document(&record);
    assert!(
        text.contains("UNFINISHED") && text.contains("MTL0: attention turbo2/f16"),
        "{text}"
    );
}

#[test]
fn a_failed_check_and_a_failed_model_are_counted() {
    let mut record = record(Vec::new());
    record.checks = vec![Check {
        id: "a.b",
        title: "title",
        requirement: "at most 1".into(),
        measured: "2 | 3".into(),
        passed: Some(false),
        detail: "two is\ntoo much".into(),
    }];
    record.model = vec![ModelRow {
        device: "MTL0".into(),
        kv: "turbo4".into(),
        reference: Reference::Cpu,
        outcome: ModelOutcome::Failed("it did not start".into()),
    }];
    let text = document(&record);
    for words in [
        "FAILED: 2 of 2",
        "2 \\| 3",
        "too much",
        "could not run: it did not start",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
}

#[test]
fn folders_and_users_are_left_out() {
    let of = |text: &str| anonymous(text, Some("/Users/jane doe"));
    assert_eq!(
        of("cannot read \"/Users/jane doe/models/a.gguf\": no"),
        "cannot read \"a.gguf\": no"
    );
    assert_eq!(of("at /private/var/tmp/x.metal:12, and"), "at x.metal:12, and");
    assert_eq!(of("C:\\Users\\jane\\a.gguf is gone"), "a.gguf is gone");
    for kept in [
        "turbo4/turbo3, heads of 192/128, 1e-3 / 2e-3",
        "https://github.com/a/b",
        "| K / V | 128 |",
        "<x,x'>/\\|x\\|^2 = 1",
        "~ 3 s",
    ] {
        assert_eq!(of(kept), kept);
    }
}

#[test]
fn what_the_device_could_not_build_is_in_the_report() {
    let mut report = idle(false);
    report.device.faults = vec!["library turbo_vec_64: line 3\nerror: no such type".into()];
    let text = document(&record(vec![report]));
    assert!(
        text.contains("    library turbo_vec_64: line 3\n    error: no such type\n"),
        "{text}"
    );
}

//! The whole page from the fixtures in `tests/data/report`: invented numbers, marked as such.

use super::*;
use crate::commands::report::charts::{NARROW, WIDE};
use crate::commands::report::{page, read};
use std::path::PathBuf;

fn fixtures() -> Vec<Source> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/report");
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.iter().map(|file| read::read(file).unwrap()).collect()
}

#[test]
fn charts_are_xml_without_impossible_numbers_and_without_overlaps() {
    let sections = all(&fixtures());
    let mut names = Vec::new();
    for figure in sections.iter().flat_map(Section::figures) {
        for width in [WIDE, NARROW] {
            let canvas = figure.chart.draw(width);
            assert_eq!(canvas.collisions(), Vec::<String>::new(), "{} at {width}", figure.slug);
            assert_eq!(canvas.left_out, Vec::<String>::new(), "{} at {width}", figure.slug);
            for svg in [canvas.inline("wide"), canvas.file()] {
                let document =
                    roxmltree::Document::parse(&svg).unwrap_or_else(|e| panic!("{}: {e}\n{svg}", figure.slug));
                for attribute in document.descendants().flat_map(|node| node.attributes()) {
                    let value = attribute.value();
                    assert!(
                        !value.contains("NaN") && !value.contains("inf"),
                        "{}: {value}",
                        figure.slug
                    );
                }
            }
        }
        names.push(figure.slug.as_str());
    }
    for name in [
        "kld-by-bits",
        "speed-pp512",
        "speed-tg128",
        "ratio-tg128",
        "memory-by-context",
        "context-ceiling",
        "needle",
        "session-drift",
        "layer-sensitivity",
    ] {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
}

#[test]
fn the_page_refers_to_nothing_outside() {
    let sources = fixtures();
    let html = page::page("Fixtures", &sources, &all(&sources));
    for word in ["<script", "src=", "@import", "url(", "<link", "javascript:"] {
        assert!(!html.contains(word), "{word}");
    }
    let outside: Vec<&str> = html
        .split("href=\"")
        .skip(1)
        .filter(|rest| !rest.starts_with('#'))
        .collect();
    assert_eq!(outside, Vec::<&str>::new());
    assert!(html.len() < 600_000, "{}", html.len());
}

#[test]
fn hostile_records_stay_text() {
    let hostile = r#"</title><script>alert(1)</script><img src=x onerror=\"a\">"#;
    let dir = tempfile::tempdir().unwrap();
    let head = format!(
        r#""schema": "llama-turboquant/1", "command": "{hostile}", "warnings": ["{hostile}"], "model": {{"file": "{hostile}"}}"#
    );
    let mut sources = Vec::new();
    for (kind, results) in [
        (
            "gate",
            format!(r#"{{"candidate": "{hostile}", "criteria": [{{"what": "{hostile}", "verdict": "{hostile}"}}]}}"#),
        ),
        (
            "perplexity",
            format!(
                r#"{{"base": "{hostile}", "arms": [{{"cache": "{hostile}", "mode": "{hostile}", "bits_per_value": 4, "kl": 0.1}}]}}"#
            ),
        ),
        (
            "needle",
            format!(r#"{{"cells": [{{"cache": "{hostile}", "n_ctx": 5, "depth": 0.5, "trials": 1, "found": 1}}]}}"#),
        ),
        (
            "prompts",
            format!(
                r#"{{"prompts": [{{"id": "{hostile}", "answers": [{{"cache": "{hostile}", "answer": "{hostile}"}}]}}]}}"#
            ),
        ),
        (
            "session",
            format!(r#"{{"caches": [{{"cache": "{hostile}", "turns": [{{"turn": 1, "kl": 0.5}}]}}]}}"#),
        ),
        (
            "sensitivity",
            format!(r#"{{"probe": "{hostile}", "layers": [{{"layer": 0, "side": "k", "kl": 1}}]}}"#),
        ),
        (
            "ceiling",
            format!(r#"{{"caches": [{{"cache": "{hostile}", "bytes_per_token": 5, "planned_n_ctx": 9}}]}}"#),
        ),
    ] {
        let path = dir.path().join(format!("{kind}.json"));
        std::fs::write(&path, format!(r#"{{{head}, "kind": "{kind}", "results": {results}}}"#)).unwrap();
        sources.push(read::read(&path).unwrap());
    }
    let path = dir.path().join("bench.json");
    std::fs::write(
        &path,
        format!(r#"[{{"avg_ts": 5, "n_gen": 8, "model_filename": "{hostile}", "kv": "{hostile}"}}]"#),
    )
    .unwrap();
    sources.push(read::read(&path).unwrap());
    let sections = all(&sources);
    assert_eq!(sections.len(), 9);
    let html = page::page("<script>alert(2)</script>", &sources, &sections);
    for word in ["<script", "<img", "</title><script"] {
        assert!(!html.contains(word), "{word}");
    }
    assert!(html.contains("&lt;script&gt;alert(1)"));
    assert_eq!(
        html.matches("<title>&lt;script&gt;alert(2)&lt;/script&gt;</title>")
            .count(),
        1
    );
    for figure in sections.iter().flat_map(Section::figures) {
        for width in [WIDE, NARROW] {
            let canvas = figure.chart.draw(width);
            assert_eq!(canvas.collisions(), Vec::<String>::new(), "{}", figure.slug);
            roxmltree::Document::parse(&canvas.file()).unwrap();
        }
    }
}

#[test]
fn a_record_without_numbers_says_what_is_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    for (kind, part) in [
        ("perplexity", "no measured cache"),
        ("needle", "no cells"),
        ("prompts", "no prompts"),
        ("session", "divergence by turn"),
        ("sensitivity", "no layers"),
        ("ceiling", "no context lengths"),
        ("gate", "no criteria"),
    ] {
        let path = dir.path().join("empty.json");
        std::fs::write(
            &path,
            format!(r#"{{"schema": "llama-turboquant/1", "kind": "{kind}", "complete": false, "results": {{}}}}"#),
        )
        .unwrap();
        let sources = [read::read(&path).unwrap()];
        let html = page::page("t", &sources, &all(&sources));
        assert!(html.contains(part) && html.contains("Not shown"), "{kind}");
        assert!(html.contains("incomplete") && html.contains("stopped"), "{kind}");
    }
}

#[test]
fn a_ratio_near_one_is_not_rounded_to_one() {
    let html = {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("near.json");
        let arm = r#"{"cache": "q8_0", "mode": "batched", "kl": 0.1,
            "ppl_ratio": {"estimate": 1.00014, "low": 0.99993, "high": 1.00035}}"#;
        let text = format!(
            r#"{{"schema": "llama-turboquant/1", "kind": "perplexity", "results": {{"base": "f16", "arms": [{arm}]}}}}"#
        );
        std::fs::write(&path, text).unwrap();
        let sources = [read::read(&path).unwrap()];
        page::page("t", &sources, &all(&sources))
    };
    assert!(
        html.contains("<span>1.00014</span>") && html.contains("(0.99993 to 1.00035)"),
        "{html}"
    );
}

#[test]
fn recall_shows_the_turns_where_something_was_lost() {
    let dir = tempfile::tempdir().unwrap();
    let page_of = |second: f64| {
        let path = dir.path().join("session.json");
        let turns =
            format!(r#"[{{"turn": 3, "kl": 0.5, "recalled": 1.0}}, {{"turn": 17, "kl": 0.5, "recalled": {second}}}]"#);
        let text = format!(
            r#"{{"schema": "llama-turboquant/1", "kind": "session", "results": {{"caches": [{{"cache": "turbo4", "turns": {turns}}}]}}}}"#
        );
        std::fs::write(&path, text).unwrap();
        let sources = [read::read(&path).unwrap()];
        page::page("t", &sources, &all(&sources))
    };
    let lossy = page_of(0.5);
    assert!(
        lossy.contains("at 1 other turn every") && lossy.contains("50 %"),
        "{lossy}"
    );
    assert!(
        lossy.contains("<th scope=\"row\">17</th>") && !lossy.contains("<th scope=\"row\">3</th>"),
        "{lossy}"
    );
    assert!(page_of(1.0).contains("recalled everything, at all 2 turns"));
}

#[test]
fn the_same_measured_twice_becomes_two_lines() {
    let dir = tempfile::tempdir().unwrap();
    let row = |speed: u32, depth: u32| {
        format!(r#"{{"type_k": "f16", "type_v": "f16", "n_gen": 8, "n_depth": {depth}, "avg_ts": {speed}}}"#)
    };
    let mut sources = Vec::new();
    for name in ["monday.json", "tuesday.json"] {
        let path = dir.path().join(name);
        std::fs::write(&path, format!("[{}, {}]", row(5, 0), row(4, 64))).unwrap();
        sources.push(read::read(&path).unwrap());
    }
    let html = page::page("t", &sources, &all(&sources));
    assert!(
        html.contains("f16 (tuesday.json)") && !html.contains("f16 #2"),
        "{html}"
    );
}

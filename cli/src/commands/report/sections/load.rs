//! A server under many clients.

use super::{Block, Section, heading};
use crate::commands::report::charts::axis::{bytes, number};
use crate::commands::report::html::{Cell, Table, Tone};
use crate::commands::report::read::{Results, Source};
use serde::Deserialize;

/// The results of a record of kind `load`, as far as they are shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Load {
    seconds: Option<f64>,
    requests: Counts,
    throughput: Throughput,
    latency: Latency,
    problems: Vec<Problem>,
    fairness: Fairness,
    resident: Option<Resident>,
    slots: Option<Slots>,
    verify: Option<Verify>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Counts {
    sent: u64,
    answered: u64,
    refused: u64,
    failed: u64,
    left: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Throughput {
    requests: Option<f64>,
    prompt_tokens: Option<f64>,
    answer_tokens: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Latency {
    ttft_ms: Summary,
    gap_ms: Summary,
    total_ms: Summary,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Summary {
    n: u64,
    p50: Option<f64>,
    p90: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
    max: Option<f64>,
    uncertain: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    status: Option<u16>,
    code: String,
    count: u64,
    message: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Fairness {
    jain_tokens: Option<f64>,
    overtaken: Overtaken,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Overtaken {
    n: u64,
    any: u64,
    most: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Resident {
    growth: Option<Growth>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Growth {
    at_first: f64,
    growth: f64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Slots {
    total: u64,
    stuck: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Verify {
    compared: u64,
    identical: u64,
}

pub fn section(sources: &[Source]) -> Option<Section> {
    let mut blocks = Vec::new();
    for source in sources {
        if let Results::Load(load) = &source.results {
            blocks.push(heading(source));
            blocks.push(Block::Table(outcome(load)));
            blocks.push(Block::Table(latencies(&load.latency)));
            if !load.problems.is_empty() {
                blocks.push(Block::Table(problems(&load.problems)));
            }
        }
    }
    (!blocks.is_empty()).then_some(Section {
        id: "load",
        title: "Under load".into(),
        how: "Many clients asked one server at once. Latencies count from when a request was due, or sent by a client that waits for \
              its answers. ~: fewer than 10 values lie beyond, so another run may give quite another number.",
        blocks,
    })
}

fn outcome(load: &Load) -> Table {
    let n = &load.requests;
    let rate = |value: Option<f64>| Cell::number(value, number);
    let none_is_good = |count: u64, of: String| match count {
        0 => Cell::Badge(Tone::Good, of),
        _ => Cell::Badge(Tone::Bad, of),
    };
    let mut rows = vec![
        ("seconds", Cell::number(load.seconds, number)),
        ("requests", Cell::Number(n.sent.to_string())),
        ("answered", Cell::Number(n.answered.to_string())),
        ("refused (429, 503)", Cell::Number(n.refused.to_string())),
        ("failed", none_is_good(n.failed, n.failed.to_string())),
        ("whose client left", Cell::Number(n.left.to_string())),
        ("answers per second", rate(load.throughput.requests)),
        ("prompt tokens per second", rate(load.throughput.prompt_tokens)),
        ("tokens written per second", rate(load.throughput.answer_tokens)),
        (
            "Jain's index over the tokens of clients",
            rate(load.fairness.jain_tokens),
        ),
    ];
    let overtaken = &load.fairness.overtaken;
    let text = format!("{} of {}, one by {}", overtaken.any, overtaken.n, overtaken.most);
    rows.push(("overtaken by a later request", Cell::Text(text)));
    if let Some(slots) = &load.slots {
        let text = format!("{} of {}", slots.stuck, slots.total);
        rows.push(("slots busy afterwards", none_is_good(slots.stuck, text)));
    }
    if let Some(growth) = load.resident.as_ref().and_then(|resident| resident.growth.as_ref()) {
        let text = format!("{:+.1} % of {}", 100.0 * growth.growth, bytes(growth.at_first));
        rows.push(("resident memory after the first minute", Cell::Text(text)));
    }
    if let Some(verify) = &load.verify {
        let text = format!("{} of {}", verify.identical, verify.compared);
        rows.push(("answers that are the same alone", Cell::Text(text)));
    }
    let (names, values): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    Table::new("What became of the requests")
        .column("what", names.into_iter().map(Cell::text))
        .column("value", values)
}

fn latencies(latency: &Latency) -> Table {
    let rows = [
        ("to the first token", &latency.ttft_ms),
        ("between pieces of an answer", &latency.gap_ms),
        ("to the end", &latency.total_ms),
    ];
    let column = |name: &str, of: fn(&Summary) -> Option<f64>| -> Vec<Cell> {
        let mark = |summary: &Summary| match summary.uncertain.iter().any(|uncertain| uncertain == name) {
            true => "~",
            false => "",
        };
        let cell =
            |(_, summary): &(&str, &Summary)| Cell::number(of(summary), |ms| format!("{}{ms:.1}", mark(summary)));
        rows.iter().map(cell).collect()
    };
    Table::new("Latencies, ms")
        .column("from the request", rows.iter().map(|(name, _)| Cell::text(*name)))
        .column("n", rows.iter().map(|(_, summary)| Cell::Number(summary.n.to_string())))
        .column("p50", column("p50", |summary| summary.p50))
        .column("p90", column("p90", |summary| summary.p90))
        .column("p95", column("p95", |summary| summary.p95))
        .column("p99", column("p99", |summary| summary.p99))
        .column("max", column("max", |summary| summary.max))
}

fn problems(problems: &[Problem]) -> Table {
    let status = |problem: &Problem| {
        problem
            .status
            .map_or(Cell::Missing, |status| Cell::Number(status.to_string()))
    };
    Table::new("Refusals and failures")
        .column("code", problems.iter().map(|problem| Cell::text(&problem.code)))
        .column("status", problems.iter().map(status))
        .column(
            "requests",
            problems.iter().map(|problem| Cell::Number(problem.count.to_string())),
        )
        .column(
            "first message",
            problems.iter().map(|problem| Cell::text(&problem.message)),
        )
}

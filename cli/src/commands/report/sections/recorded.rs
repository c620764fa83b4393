//! What the numbers were measured on, and with what.

use super::{Block, Section, show, speed};
use crate::commands::report::charts::axis::bytes;
use crate::commands::report::html::{Cell, Table, Tone};
use crate::commands::report::read::{Results, Source};
use serde_json::Value;

/// Above this share of foreign work small differences in speed mean nothing.
const LOUD: f64 = llama_turboquant::measure::Noise::TOLERABLE;

/// A name and what it is.
type Fact = (String, String);

pub fn section(sources: &[Source]) -> Section {
    let mut blocks = vec![Block::Table(records(sources))];
    let mut machines: Vec<(Vec<Fact>, Vec<&str>)> = Vec::new();
    for source in sources {
        let facts = machine(source);
        if facts.is_empty() {
            blocks.push(Block::LeftOut(format!(
                "the machine of {}; it is not recorded.",
                source.file
            )));
            continue;
        }
        match machines.iter_mut().find(|(known, _)| *known == facts) {
            Some((_, files)) => files.push(&source.file),
            None => machines.push((facts, vec![&source.file])),
        }
    }
    for (facts, files) in machines {
        blocks.push(Block::Table(
            Table::new(format!("Machine and engine of {}", files.join(", ")))
                .column("what", facts.iter().map(|(name, _)| Cell::text(name)))
                .column("value", facts.iter().map(|(_, value)| Cell::text(value))),
        ));
    }
    for source in sources {
        if let Some(settings) = source
            .record
            .settings
            .as_ref()
            .filter(|s| s.as_object().is_some_and(|o| !o.is_empty()))
        {
            let text = serde_json::to_string_pretty(settings).unwrap_or_else(|_| settings.to_string());
            blocks.push(Block::Details(format!("Settings of {}", source.file), text));
        }
    }
    Section {
        id: "recorded",
        title: "What was measured, and on what".into(),
        how: "Every number above comes from one of these records. Foreign work is the share of processor time that other \
              programs took meanwhile; above 10 % differences in speed are not to be trusted.",
        blocks,
    }
}

fn records(sources: &[Source]) -> Table {
    let text = |value: Option<String>| value.map_or(Cell::Missing, Cell::Text);
    let program = |source: &Source| {
        if let Results::Bench(rows) = &source.results {
            return rows
                .iter()
                .find_map(|row| row.build_commit.as_ref())
                .map(|commit| format!("build {commit}"));
        }
        let program = source.record.program.as_ref()?;
        let get = |name: &str| program.get(name).and_then(Value::as_str);
        Some(format!(
            "{} ({})",
            get("version").unwrap_or("unknown"),
            get("commit").unwrap_or("commit unknown")
        ))
    };
    Table::new("Records")
        .column("file", sources.iter().map(|source| Cell::text(&source.file)))
        .column("kind", sources.iter().map(|source| text(source.record.kind.clone())))
        .column(
            "complete",
            sources.iter().map(|source| match source.record.complete {
                Some(true) => Cell::Badge(Tone::Good, "complete".into()),
                Some(false) => Cell::Badge(Tone::Warn, "incomplete".into()),
                None => Cell::Badge(Tone::None, "not recorded".into()),
            }),
        )
        .column(
            "date",
            sources
                .iter()
                .map(|source| text(source.record.date.clone().or_else(|| speed::date(source)))),
        )
        .column(
            "model",
            sources.iter().map(|source| {
                let names = speed::models(source);
                text(source.model().or_else(|| (!names.is_empty()).then(|| names.join(", "))))
            }),
        )
        .column("program", sources.iter().map(|source| text(program(source))))
        .column(
            "foreign work",
            sources.iter().map(|source| {
                let share = foreign_work(source);
                match share {
                    None => Cell::Missing,
                    Some(share) if share > LOUD => Cell::Badge(Tone::Warn, format!("{:.0} %, noisy", 100.0 * share)),
                    Some(share) => Cell::Number(format!("{:.1} %", 100.0 * share)),
                }
            }),
        )
        .notes(sources.iter().map(|source| source.record.command.clone()))
}

/// The share of processor time that others took; of a benchmark the worst row's.
fn foreign_work(source: &Source) -> Option<f64> {
    match &source.results {
        Results::Bench(rows) => rows.iter().filter_map(|row| row.foreign_cpu).reduce(f64::max),
        _ => source.record.noise.as_ref().and_then(|noise| noise.foreign_cpu),
    }
}

/// Facts about machine and engine; a benchmark has them in its rows.
fn machine(source: &Source) -> Vec<Fact> {
    let mut facts = Vec::new();
    if let Results::Bench(rows) = &source.results {
        for row in rows {
            for (name, value) in [
                ("cpu", &row.cpu_info),
                ("gpu", &row.gpu_info),
                ("backends", &row.backends),
            ] {
                let Some(value) = value.as_ref().filter(|value| !value.is_empty()) else {
                    continue;
                };
                let fact = (name.to_owned(), value.clone());
                if !facts.contains(&fact) {
                    facts.push(fact);
                }
            }
        }
    }
    if let Some(environment) = &source.record.environment {
        flatten("", environment, &mut facts);
        // it differs from record to record on the same machine
        facts.retain(|(name, _)| name != "load average" && !name.ends_with("memory free"));
    }
    facts
}

/// Nested objects become one fact per leaf: `engine codec`.
fn flatten(name: &str, value: &Value, facts: &mut Vec<Fact>) {
    let child = |part: &str| {
        let part = part.replace('_', " ");
        if name.is_empty() {
            part
        } else {
            format!("{name} {part}")
        }
    };
    match value {
        // the processor's features are one fact, not twenty
        Value::Object(fields) if name.ends_with("features") => {
            let on = |value: &Value| !matches!(value, Value::Bool(false) | Value::Null) && value.as_str() != Some("0");
            let names: Vec<&str> = fields
                .iter()
                .filter(|(_, v)| on(v))
                .map(|(name, _)| name.as_str())
                .collect();
            facts.push((name.into(), names.join(", ")));
        }
        Value::Object(fields) => {
            for (part, value) in fields {
                flatten(&child(part), value, facts);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (i, item) in items.iter().enumerate() {
                flatten(&child(&(i + 1).to_string()), item, facts);
            }
        }
        value => {
            let is_memory = ["ram", "memory"].iter().any(|word| name.contains(word));
            let text = match value.as_f64() {
                Some(size) if is_memory => Some(bytes(size)),
                _ => show(value).filter(|text| !text.is_empty()),
            };
            facts.extend(text.map(|text| (name.to_owned(), text)));
        }
    }
}

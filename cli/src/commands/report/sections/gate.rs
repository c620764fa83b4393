//! Ship or stop: the criteria of a candidate.

use super::{Block, Section, heading, show};
use crate::commands::report::html::{Cell, Table, Tone};
use crate::commands::report::read::{Results, Source};
use crate::commands::report::records::Gate;
use serde_json::Value;

pub fn section(sources: &[Source]) -> Option<Section> {
    let mut blocks = Vec::new();
    for source in sources {
        if let Results::Gate(gate) = &source.results {
            blocks.push(heading(source));
            add(gate, &mut blocks);
        }
    }
    (!blocks.is_empty()).then_some(Section {
        id: "gate",
        title: "Ship or stop".into(),
        how: "Each criterion compares a candidate cache with an f16 cache on the same model. Kept within “pass”, a candidate may \
              ship; beyond “kill”, it must not. A criterion that was not run says nothing either way.",
        blocks,
    })
}

fn tone(verdict: &str) -> Tone {
    match verdict {
        "pass" => Tone::Good,
        "fail" => Tone::Warn,
        "kill" => Tone::Bad,
        _ => Tone::None,
    }
}

fn add(gate: &Gate, blocks: &mut Vec<Block>) {
    let verdict = gate.verdict.clone().unwrap_or_else(|| "no verdict".into());
    let candidate = super::cache(gate.candidate.as_ref());
    blocks.push(Block::Heading(
        format!("Candidate {candidate}:"),
        vec![(tone(&verdict), verdict)],
    ));
    if gate.criteria.is_empty() {
        blocks.push(Block::LeftOut("the record has no criteria.".into()));
        return;
    }
    let rows = &gate.criteria;
    let value = |value: &Option<Value>| value.as_ref().and_then(show).map_or(Cell::Missing, Cell::Text);
    let text = |text: &Option<String>| text.clone().map_or(Cell::Missing, Cell::Text);
    let table = Table::new(format!("Criteria for {candidate}"))
        .column(
            "criterion",
            rows.iter()
                .map(|row| text(&row.what.clone().or_else(|| row.id.clone()))),
        )
        .column(
            "verdict",
            rows.iter().map(|row| {
                row.verdict
                    .as_ref()
                    .map_or(Cell::Missing, |verdict| Cell::Badge(tone(verdict), verdict.clone()))
            }),
        )
        .column("measured", rows.iter().map(|row| value(&row.measured)))
        .column("pass", rows.iter().map(|row| value(&row.pass)))
        .column("kill", rows.iter().map(|row| value(&row.kill)))
        .column("why", rows.iter().map(|row| text(&row.why)));
    blocks.push(Block::Table(table));
}

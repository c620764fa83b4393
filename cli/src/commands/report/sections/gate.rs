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
        how: "Each criterion compares a candidate cache with an f16 cache on the same model. A candidate ships if \
              it keeps every bound that was measured; where one stops, it must not ship at all. A criterion that was not run says \
              nothing either way. Below each criterion: how it was measured.",
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
        .column("ships if", rows.iter().map(|row| bound(&row.pass, kept)))
        .column("stops if", rows.iter().map(|row| bound(&row.kill, broken)))
        .notes(rows.iter().map(|row| row.why.clone().filter(|why| !why.is_empty())));
    blocks.push(Block::Table(table));
}

/// A bound in words; one of another form is shown as it is.
fn bound(bound: &Option<Value>, say: impl Fn(&str, &str) -> Option<String>) -> Cell {
    let Some(bound) = bound else { return Cell::Missing };
    let fields = bound.as_object().into_iter().flatten();
    let said = fields
        .filter_map(|(kind, limit)| say(kind, &show(limit)?))
        .collect::<Vec<_>>();
    let text = match said.as_slice() {
        [one] => Some(one.clone()),
        _ => show(bound),
    };
    text.map_or(Cell::Missing, Cell::Text)
}

fn kept(kind: &str, limit: &str) -> Option<String> {
    match kind {
        "at_most" => Some(format!("at most {limit}")),
        "at_least" => Some(format!("at least {limit}")),
        _ => None,
    }
}

/// The record has the bound; what stops a candidate lies beyond it.
fn broken(kind: &str, limit: &str) -> Option<String> {
    match kind {
        "at_most" => Some(format!("above {limit}")),
        "at_least" => Some(format!("below {limit}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bounds_are_said_as_the_condition_they_are() {
        let said = |value: Value, say: fn(&str, &str) -> Option<String>| match bound(&Some(value), say) {
            Cell::Text(text) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(said(json!({"at_least": 0.9}), kept), "at least 0.9");
        assert_eq!(said(json!({"at_most": 0.5}), kept), "at most 0.5");
        assert_eq!(said(json!({"at_least": 0.75}), broken), "below 0.75");
        assert_eq!(said(json!({"at_most": 1.0}), broken), "above 1");
        assert_eq!(said(json!("> 1.0"), broken), "> 1.0", "another program's words");
        assert_eq!(said(json!({"within": 3}), broken), "within 3");
        assert!(matches!(bound(&None, broken), Cell::Missing));
        assert!(matches!(bound(&Some(Value::Null), broken), Cell::Missing));
    }
}

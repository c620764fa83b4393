//! The parts of the page, one per kind of result.

pub mod gate;
pub mod load;
pub mod memory;
pub mod needle;
pub mod prompts;
pub mod quality;
pub mod recorded;
pub mod sensitivity;
pub mod session;
pub mod speed;

use super::charts::Chart;
use super::charts::axis::number;
use super::charts::style::Styles;
use super::html::{Cell, Table, Tone};
use super::read::Source;
use super::records::Interval;
use serde_json::Value;

/// A part of the page.
#[derive(Debug)]
pub struct Section {
    pub id: &'static str,
    pub title: String,
    /// How to read it.
    pub how: &'static str,
    pub blocks: Vec<Block>,
}

impl Section {
    /// Its charts.
    pub fn figures(&self) -> impl Iterator<Item = &Figure> {
        self.blocks.iter().filter_map(|block| match block {
            Block::Figure(figure) => Some(figure),
            _ => None,
        })
    }
}

/// What a section consists of.
#[derive(Debug)]
pub enum Block {
    Heading(String, Vec<(Tone, String)>),
    Text(String),
    /// What is not there, and why.
    LeftOut(String),
    Table(Table),
    Figure(Figure),
    /// A summary, and what it opens to.
    Details(String, String),
}

/// A chart with its title.
#[derive(Debug)]
pub struct Figure {
    /// Name of its file and anchor: letters, digits, hyphens; each once.
    pub slug: String,
    pub title: String,
    pub chart: Box<dyn Chart>,
}

/// What sections share while they are made.
#[derive(Debug, Default)]
pub struct Maker {
    pub styles: Styles,
    slugs: Vec<String>,
}

impl Maker {
    /// A chart whose name is like `name`.
    pub fn figure(&mut self, name: &str, title: impl Into<String>, chart: impl Chart + 'static) -> Block {
        let base: String = name
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_lowercase()
                } else {
                    '-'
                }
            })
            .collect();
        let mut slug = base.clone();
        let mut number = 2;
        while self.slugs.contains(&slug) {
            slug = format!("{base}-{number}");
            number += 1;
        }
        self.slugs.push(slug.clone());
        Block::Figure(Figure {
            slug,
            title: title.into(),
            chart: Box::new(chart),
        })
    }
}

/// All sections there is something for.
pub fn all(sources: &[Source]) -> Vec<Section> {
    let mut maker = Maker::default();
    let mut sections: Vec<Section> = [
        gate::section(sources),
        quality::section(sources, &mut maker),
        speed::section(sources, &mut maker),
        memory::section(sources, &mut maker),
        needle::section(sources, &mut maker),
        prompts::section(sources),
        session::section(sources, &mut maker),
        sensitivity::section(sources, &mut maker),
        load::section(sources),
    ]
    .into_iter()
    .flatten()
    .collect();
    sections.push(recorded::section(sources));
    sections
}

/// The heading of a record's part: model, file, whether it is complete.
pub fn heading(source: &Source) -> Block {
    let model = source.model().unwrap_or_else(|| "model not recorded".into());
    let mut badges = Vec::new();
    if source.is_incomplete() {
        badges.push((Tone::Warn, "incomplete".to_owned()));
    }
    Block::Heading(format!("{model} ({})", source.file), badges)
}

/// A cache's name, where a record has one.
pub fn cache(name: Option<&String>) -> String {
    name.map_or_else(|| "cache not recorded".into(), Clone::clone)
}

/// `0.012 (0.010 to 0.014)`.
pub fn interval(value: Option<Interval>, show: impl Fn(f64) -> String) -> Cell {
    value.map_or(Cell::Missing, |value| Cell::Number(interval_text(value, show)))
}

/// As [`interval`], as text.
pub fn interval_text(value: Interval, show: impl Fn(f64) -> String) -> String {
    let estimate = show(value.estimate);
    match value.bounds {
        Some((low, high)) => format!("{estimate} ({} to {})", show(low), show(high)),
        None => estimate,
    }
}

/// A share as percent.
pub fn percent(share: f64) -> String {
    number(100.0 * share) + " %"
}

/// Any value in one line; `None` for null.
pub fn show(value: &Value) -> Option<String> {
    Some(match value {
        Value::Null => return None,
        Value::String(text) => text.clone(),
        Value::Number(n) => n.as_f64().map_or_else(|| n.to_string(), number),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::Array(items) => items.iter().filter_map(show).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            let get = |name: &str| fields.get(name).and_then(Value::as_f64);
            if let Some(estimate) = get("estimate") {
                let bounds = get("low").zip(get("high"));
                return Some(interval_text(Interval { estimate, bounds }, number));
            }
            let parts = fields
                .iter()
                .filter_map(|(name, value)| Some(format!("{name} {}", show(value)?)));
            parts.collect::<Vec<_>>().join(", ")
        }
    })
}

/// `values` sorted, each once.
pub fn distinct(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    values
}

#[cfg(test)]
mod tests;

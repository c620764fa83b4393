//! Comma-separated values, all of them quoted.

use super::Exporter;
use crate::commands::bench::row::{EXTRA, FIELDS, Row};

pub struct Csv;

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

impl Exporter for Csv {
    fn header(&mut self) -> String {
        let names: Vec<&str> = FIELDS.iter().chain(&EXTRA).map(|(name, _)| *name).collect();
        names.join(",") + "\n"
    }

    fn row(&mut self, row: &Row) -> String {
        let values: Vec<String> = row
            .values()
            .iter()
            .chain(&row.extra())
            .map(|value| quoted(&value.plain()))
            .collect();
        values.join(",") + "\n"
    }
}

//! llama-bench's output formats: one exporter each.

mod csv;
mod json;
mod markdown;
mod sql;
#[cfg(test)]
mod tests;

use super::plan::Varies;
use super::row::{Build, Row};
use std::str::FromStr;

/// A format of `-o` and `-oe`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    None,
    Csv,
    Json,
    Jsonl,
    Md,
    Sql,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "none" => Self::None,
            "csv" => Self::Csv,
            "json" => Self::Json,
            "jsonl" => Self::Jsonl,
            "md" => Self::Md,
            "sql" => Self::Sql,
            _ => return Err("there are md, csv, json, jsonl, sql and none".into()),
        })
    }
}

/// Text for results: before the first, for each, after the last.
pub trait Exporter {
    fn header(&mut self) -> String {
        String::new()
    }

    fn row(&mut self, row: &Row) -> String;

    fn footer(&mut self) -> String {
        String::new()
    }
}

/// The exporter of a format; `None` if nothing is wanted. `extra` adds our columns to the table.
pub fn exporter(format: Format, build: &Build, varies: Varies, extra: bool) -> Option<Box<dyn Exporter>> {
    Some(match format {
        Format::None => return None,
        Format::Csv => Box::new(csv::Csv),
        Format::Json => Box::new(json::Json::default()),
        Format::Jsonl => Box::new(json::JsonLines),
        Format::Md => Box::new(markdown::Markdown::new(build.clone(), varies, extra)),
        Format::Sql => Box::new(sql::Sql),
    })
}

//! SQL: llama-bench's table exactly, so that rows go into a database that llama-bench made, and ours beside it.

use super::Exporter;
use crate::commands::bench::row::{EXTRA, FIELDS, Kind, Row, Value};

pub struct Sql;

/// Our columns of the row of `llama_bench` with the id `llama_bench_rowid`.
const OURS: &str = "llama_bench_turboquant";

fn columns(fields: &[(&str, Kind)]) -> String {
    let lines: Vec<String> = fields
        .iter()
        .map(|(name, kind)| {
            let kind = match kind {
                Kind::Text => "TEXT",
                Kind::Integer => "INTEGER",
                Kind::Real => "REAL",
            };
            format!("  {name} {kind}")
        })
        .collect();
    lines.join(",\n")
}

fn names(fields: &[(&str, Kind)]) -> String {
    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

fn literals(values: &[Value]) -> String {
    let literals: Vec<String> = values
        .iter()
        .map(|value| match value {
            Value::Nothing => "NULL".into(),
            value => format!("'{}'", value.plain().replace('\'', "''")),
        })
        .collect();
    literals.join(", ")
}

impl Exporter for Sql {
    fn header(&mut self) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS llama_bench (\n{}\n);\n\nCREATE TABLE IF NOT EXISTS {OURS} (\n  llama_bench_rowid \
             INTEGER,\n{}\n);\n\n",
            columns(&FIELDS),
            columns(&EXTRA)
        )
    }

    fn row(&mut self, row: &Row) -> String {
        format!(
            "INSERT INTO llama_bench ({}) VALUES ({});\nINSERT INTO {OURS} (llama_bench_rowid, {}) VALUES \
             (last_insert_rowid(), {});\n",
            names(&FIELDS),
            literals(&row.values()),
            names(&EXTRA),
            literals(&row.extra())
        )
    }
}

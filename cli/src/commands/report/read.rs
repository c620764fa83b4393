//! From files to records: what is no record is refused with what it is.

use super::records::{BenchRow, Ceiling, Gate, Needle, Perplexity, Prompts, Record, Sensitivity, Session};
use super::sections::load::Load;
use crate::measuring::record::SCHEMA;
use anyhow::{Context, Result, anyhow, bail};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::Path;

/// One file.
#[derive(Debug)]
pub struct Source {
    /// Its name, without directories.
    pub file: String,
    /// What all records have; of rows of a benchmark only the name of the kind.
    pub record: Record,
    pub results: Results,
}

/// The numbers.
#[derive(Debug)]
pub enum Results {
    Bench(Vec<BenchRow>),
    Perplexity(Perplexity),
    Needle(Needle),
    Prompts(Prompts),
    Session(Session),
    Sensitivity(Sensitivity),
    Ceiling(Ceiling),
    Gate(Gate),
    Load(Box<Load>),
}

impl Source {
    /// Whether all that was asked for is there; llama-bench does not say.
    pub fn is_incomplete(&self) -> bool {
        self.record.complete == Some(false)
    }

    /// The model in a word or two.
    pub fn model(&self) -> Option<String> {
        let model = self.record.model.as_ref()?;
        match (&model.file, &model.description) {
            (Some(file), Some(description)) => Some(format!("{file}, {description}")),
            (name, other) => name.clone().or_else(|| other.clone()),
        }
    }
}

const KINDS: &str = "perplexity, needle, prompts, session, sensitivity, ceiling, gate, load";

/// Reads one file.
///
/// # Errors
/// A file that cannot be read, is empty, or is something else: the message says what.
pub fn read(path: &Path) -> Result<Source> {
    let shown = path.display();
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {shown}"))?;
    let file = path
        .file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned();
    let value = json(&bytes).with_context(|| format!("{shown} is no record"))?;
    let (record, results) = record(value).with_context(|| format!("{shown} is no record that can be reported"))?;
    Ok(Source { file, record, results })
}

fn json(bytes: &[u8]) -> Result<Value> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        bail!("the file is empty");
    }
    if bytes.starts_with(b"GGUF") {
        bail!("it is a GGUF model; give what a measurement of it wrote");
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| anyhow!("it is not text: byte {} is not UTF-8", error.valid_up_to()))?;
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.starts_with('|') || text.starts_with("build_commit,") || text.starts_with("CREATE TABLE") {
        bail!("it is a table; run bench with `-o json` (or jsonl) and give that");
    }
    let whole = serde_json::from_str(text);
    if let Err(error) = &whole
        && text.starts_with('{')
        && text.lines().count() > 1
    {
        // rows, one per line, are no JSON as a whole
        let rows: Result<Vec<Value>, _> = text
            .lines()
            .filter(|l| !l.trim().is_empty())
            .map(serde_json::from_str)
            .collect();
        return rows.map(Value::Array).map_err(|_| broken(error));
    }
    whole.map_err(|error| broken(&error))
}

fn broken(error: &serde_json::Error) -> anyhow::Error {
    if error.is_eof() {
        anyhow!("it is JSON that ends too early, at line {}", error.line())
    } else {
        anyhow!("it is not JSON: {error}")
    }
}

fn record(value: Value) -> Result<(Record, Results)> {
    let object = match value {
        Value::Array(rows) => return bench(rows),
        Value::Object(object) => object,
        other => bail!("it is the JSON value {}, not an object or an array", short(&other)),
    };
    let schema = match object.get("schema") {
        Some(Value::String(schema)) => schema.clone(),
        Some(other) => bail!("its `schema` is {}, not \"{SCHEMA}\"", short(other)),
        None if object.contains_key("avg_ts") => return bench(vec![Value::Object(object)]),
        None => bail!("it is JSON, but has neither a `schema` (\"{SCHEMA}\") nor rows of bench"),
    };
    if schema != SCHEMA {
        bail!("it has the format \"{schema}\"; this program reads \"{SCHEMA}\"");
    }
    let record: Record =
        serde_json::from_value(Value::Object(object)).context("a field that all records share has another form")?;
    let kind = record
        .kind
        .clone()
        .context("it does not say what was measured: no `kind`")?;
    let results = record.results.clone().filter(|results| !results.is_null());
    let results = results.with_context(|| format!("the record of kind `{kind}` has no results"))?;
    let results = match kind.as_str() {
        "perplexity" => Results::Perplexity(typed(&kind, results)?),
        "needle" => Results::Needle(typed(&kind, results)?),
        "prompts" => Results::Prompts(typed(&kind, results)?),
        "session" => Results::Session(typed(&kind, results)?),
        "sensitivity" => Results::Sensitivity(typed(&kind, results)?),
        "ceiling" => Results::Ceiling(typed(&kind, results)?),
        "gate" => Results::Gate(typed(&kind, results)?),
        "load" => Results::Load(Box::new(typed(&kind, results)?)),
        other => bail!("its kind is `{other}`; kinds are {KINDS}"),
    };
    Ok((record, results))
}

fn typed<T: DeserializeOwned>(kind: &str, results: Value) -> Result<T> {
    if !results.is_object() {
        bail!("the results of kind `{kind}` are {}, not an object", short(&results));
    }
    serde_json::from_value(results).with_context(|| format!("the results of kind `{kind}` have another form"))
}

fn bench(rows: Vec<Value>) -> Result<(Record, Results)> {
    if rows.is_empty() {
        bail!("it is an array without rows");
    }
    let mut read = Vec::with_capacity(rows.len());
    for (number, row) in rows.into_iter().enumerate() {
        let number = number + 1;
        if row.get("avg_ts").is_none() {
            bail!("element {number} of the array is no row of bench: it has no `avg_ts`");
        }
        let row: BenchRow = serde_json::from_value(row).with_context(|| format!("row {number} has another form"))?;
        read.push(row);
    }
    let record = Record {
        kind: Some("bench".into()),
        ..Record::default()
    };
    Ok((record, Results::Bench(read)))
}

/// The beginning of a value.
fn short(value: &Value) -> String {
    let text = value.to_string();
    let mut chars = text.chars();
    let begin: String = chars.by_ref().take(40).collect();
    if chars.next().is_some() { begin + "…" } else { begin }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &[u8]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("some.json");
        std::fs::write(&path, text).unwrap();
        let message = format!("{:#}", read(&path).unwrap_err());
        assert!(message.contains("some.json"), "{message}");
        message
    }

    #[test]
    fn what_is_no_record_is_named() {
        let head = r#""schema": "llama-turboquant/1""#;
        for (text, part) in [
            ("", "empty"),
            (" \n", "empty"),
            ("GGUF\u{3}\0\0", "GGUF model"),
            ("| model | size |", "-o json"),
            ("{\"schema\": \"llama-turb", "ends too early"),
            ("hello", "not JSON"),
            ("42", "42"),
            ("[]", "without rows"),
            ("[{\"avg_ts\": 1.0}, {\"x\": 1}]", "element 2"),
            ("{\"a\": 1}", "schema"),
            ("{\"schema\": \"llama-turboquant/9\"}", "llama-turboquant/9"),
            (&format!("{{{head}}}"), "kind"),
            (&format!("{{{head}, \"kind\": \"tea\", \"results\": {{}}}}"), "`tea`"),
            (&format!("{{{head}, \"kind\": \"gate\"}}"), "no results"),
            (&format!("{{{head}, \"kind\": \"gate\", \"results\": 3}}"), "3"),
            (
                &format!("{{{head}, \"kind\": \"needle\", \"results\": {{\"cells\": [{{\"found\": \"x\"}}]}}}}"),
                "needle",
            ),
        ] {
            let message = error(text.as_bytes());
            assert!(message.contains(part), "{text}: {message}");
        }
        assert!(error(b"\xff\xfe\x00").contains("not text"));
    }

    #[test]
    fn rows_may_come_one_per_line_or_alone() {
        for text in [
            "{\"avg_ts\": 1.0, \"n_gen\": 1}\n{\"avg_ts\": 2.0, \"n_gen\": 1}\n",
            "{\"avg_ts\": 1.0}",
            "[{\"avg_ts\": 1.0}]",
        ] {
            let (_, results) = record(json(text.as_bytes()).unwrap()).unwrap();
            assert!(matches!(results, Results::Bench(rows) if rows[0].avg_ts == Some(1.0)));
        }
    }
}

//! Facts from a file (`--facts`): the JSON form of [`Machine`], read strictly. `docs/facts.md` describes every field.

use super::size::ABSURD;
use super::{Machine, parse_size};
use crate::{Error, Result};
use serde_json::{Map, Value, json};
use std::path::Path;

/// What a field holds.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    /// Bytes, or text with a unit.
    Size,
    /// A size, or `null`: none.
    Limit,
    /// Bytes per second, or text such as `400 GB/s`.
    Bandwidth,
    Cores,
    /// A name, or `null`: none.
    Device,
    /// `discrete` or `unified`.
    Sharing,
    Lines,
    Memory,
    Gpus,
}

/// What a missing field stands for.
#[derive(Clone, Copy)]
enum Missing {
    /// An error that names it.
    Error,
    /// A fact that is not known.
    Unknown,
    /// This value.
    Is(fn() -> Value),
}

type Field = (&'static str, Kind, Missing);

const NULL: Missing = Missing::Is(|| Value::Null);

const MACHINE: &[Field] = &[
    ("label", Kind::Text, Missing::Is(|| json!(""))),
    ("os", Kind::Text, Missing::Error),
    ("arch", Kind::Text, Missing::Error),
    ("chip", Kind::Text, Missing::Unknown),
    ("cores", Kind::Cores, Missing::Unknown),
    ("memory", Kind::Memory, Missing::Error),
    ("gpus", Kind::Gpus, Missing::Error),
    ("sources", Kind::Lines, Missing::Is(|| json!([]))),
];
const MEMORY: &[Field] = &[
    ("total", Kind::Size, Missing::Error),
    ("available", Kind::Size, Missing::Error),
    ("limit", Kind::Limit, NULL),
    ("limit_used", Kind::Size, Missing::Is(|| json!(0))),
    ("swap_total", Kind::Size, Missing::Unknown),
    ("swap_used", Kind::Size, Missing::Unknown),
    ("bandwidth", Kind::Bandwidth, Missing::Unknown),
];
const GPU: &[Field] = &[
    ("name", Kind::Text, Missing::Error),
    ("device", Kind::Device, NULL),
    ("kind", Kind::Sharing, Missing::Error),
    ("total", Kind::Size, Missing::Error),
    ("free", Kind::Size, Missing::Error),
    ("bandwidth", Kind::Bandwidth, Missing::Unknown),
    ("source", Kind::Text, Missing::Is(|| json!("file"))),
];

impl Machine {
    /// Reads facts from a file; what they are is described in `docs/facts.md`.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be read; [`Error::Invalid`], which names the file and the field, for anything in it
    /// that is no fact: a missing or unknown field, a negative or absurd number, more free than there is in all.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::Io(std::io::Error::new(
                error.kind(),
                format!("cannot read the facts in {}: {error}", path.display()),
            ))
        })?;
        let mut machine =
            Self::from_json(&text).map_err(|error| Error::Invalid(format!("{}: {error}", path.display())))?;
        machine.sources.push(format!("file {}", path.display()));
        Ok(machine)
    }

    /// Reads facts from JSON text.
    ///
    /// # Errors
    /// As [`read`](Self::read), without the file's name.
    pub fn from_json(text: &str) -> Result<Self> {
        let value: Value =
            serde_json::from_str(text).map_err(|error| Error::Invalid(format!("this is not JSON: {error}")))?;
        let settled = object(&value, MACHINE, "").map_err(Error::Invalid)?;
        let machine: Self = serde_json::from_value(Value::Object(settled))
            .map_err(|error| Error::Invalid(format!("these are not facts of a machine: {error}")))?;
        machine.check().map_err(Error::Invalid)?;
        Ok(machine)
    }

    /// Facts that contradict each other.
    fn check(&self) -> Result<(), String> {
        let at_most = |small: Option<u64>, what: &str, large: Option<u64>, of: &str| match (small, large) {
            (Some(small), Some(large)) if small > large => {
                Err(format!("{what} ({small} bytes) is more than {of} ({large} bytes)"))
            }
            _ => Ok(()),
        };
        let memory = &self.memory;
        let total = memory.total.get();
        if total == Some(0) {
            return Err("memory.total is 0; a machine has memory".into());
        }
        at_most(memory.available.get(), "memory.available", total, "memory.total")?;
        at_most(
            memory.swap_used.get(),
            "memory.swap_used",
            memory.swap_total.get(),
            "memory.swap_total",
        )?;
        let limit = memory.limit.get().flatten();
        at_most(memory.limit_used.get(), "memory.limit_used", limit, "memory.limit")?;
        for (number, gpu) in self.gpus.iter().enumerate() {
            at_most(
                gpu.free.get(),
                &format!("gpus[{number}].free"),
                gpu.total.get(),
                &format!("gpus[{number}].total"),
            )?;
        }
        Ok(())
    }
}

/// An object of these fields, in the form that serde reads: sizes as numbers, what is missing filled in.
fn object(value: &Value, fields: &[Field], at: &str) -> Result<Map<String, Value>, String> {
    let Value::Object(given) = value else {
        let what = if at.is_empty() {
            "the file"
        } else {
            at.trim_end_matches('.')
        };
        return Err(format!("{what} must be an object, not {value}"));
    };
    for key in given.keys() {
        if !fields.iter().any(|(name, ..)| name == key) {
            let nearest = fields.iter().map(|(name, ..)| *name);
            let nearest = nearest.max_by(|a, b| strsim::jaro_winkler(a, key).total_cmp(&strsim::jaro_winkler(b, key)));
            return Err(format!(
                "there is no field {at}{key}; did you mean {at}{}?",
                nearest.unwrap_or_default()
            ));
        }
    }
    let mut settled = Map::new();
    for &(name, kind, missing) in fields {
        let at = format!("{at}{name}");
        let value = match (given.get(name), missing) {
            (Some(given), _) => field(given, kind, &at)?,
            (None, Missing::Is(value)) => value(),
            (None, Missing::Unknown) => json!({ "unknown": "not stated in the facts file" }),
            (None, Missing::Error) => {
                return Err(format!(
                    "{at} is missing; state it, or {{\"unknown\": \"why\"}} where it is a fact that cannot be known"
                ));
            }
        };
        settled.insert(name.to_owned(), value);
    }
    Ok(settled)
}

/// One field's value in the form that serde reads.
fn field(value: &Value, kind: Kind, at: &str) -> Result<Value, String> {
    let refuse = |what: &str| Err(format!("{at} must be {what}, not {value}"));
    if let Some(unknown) = value.as_object().filter(|object| object.contains_key("unknown")) {
        if matches!(kind, Kind::Size | Kind::Limit | Kind::Bandwidth | Kind::Cores) || at == "chip" {
            return match unknown.get("unknown") {
                Some(Value::String(_)) if unknown.len() == 1 => Ok(value.clone()),
                _ => refuse("{\"unknown\": \"the reason\"}"),
            };
        }
        return refuse("stated");
    }
    match kind {
        Kind::Text if value.is_string() => Ok(value.clone()),
        Kind::Text => refuse("text"),
        Kind::Device if value.is_null() || value.as_str().is_some_and(|name| !name.is_empty()) => Ok(value.clone()),
        Kind::Device => refuse("the engine's name of the device, or null"),
        Kind::Sharing if matches!(value.as_str(), Some("discrete" | "unified")) => Ok(value.clone()),
        Kind::Sharing => refuse("\"discrete\" or \"unified\""),
        Kind::Limit if value.is_null() => Ok(Value::Null),
        Kind::Size | Kind::Limit => size(value, at, ""),
        Kind::Bandwidth => size(value, at, "/s"),
        Kind::Cores => match value.as_u64() {
            Some(1..=65_536) => Ok(value.clone()),
            _ => refuse("a number of physical cores from 1 to 65536"),
        },
        Kind::Lines => match value.as_array() {
            Some(lines) if lines.iter().all(Value::is_string) => Ok(value.clone()),
            _ => refuse("a list of lines of text"),
        },
        Kind::Memory => object(value, MEMORY, &format!("{at}.")).map(Value::Object),
        Kind::Gpus => {
            let Some(gpus) = value.as_array() else {
                return refuse("a list, empty where there is no graphics device");
            };
            if gpus.len() > 64 {
                return Err(format!("{at} lists {} devices; no machine has that many", gpus.len()));
            }
            let numbered = gpus.iter().enumerate();
            let gpus: Result<Vec<Value>, String> = numbered
                .map(|(number, gpu)| object(gpu, GPU, &format!("{at}[{number}].")).map(Value::Object))
                .collect();
            gpus.map(Value::Array)
        }
    }
}

fn size(value: &Value, at: &str, unit_end: &str) -> Result<Value, String> {
    let absurd = || format!("{at} is {value}; a size is at least 0 and below 1 PiB");
    let bytes = match value {
        Value::Number(number) => number.as_u64().filter(|bytes| *bytes < ABSURD).ok_or_else(absurd)?,
        Value::String(text) => {
            let text = text.trim();
            let text = text.strip_suffix(unit_end).unwrap_or(text);
            parse_size(text).map_err(|error| format!("{at}: {error}"))?
        }
        _ => {
            return Err(format!(
                "{at} must be bytes, or text such as \"36 GiB{unit_end}\", not {value}"
            ));
        }
    };
    Ok(json!(bytes))
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;

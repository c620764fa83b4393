//! `turboquant list`: the models that can be named.

use crate::args::store::ListArgs;
use crate::console;
use crate::report::table;
use crate::settings::human_bytes;
use crate::store::{Catalog as _, Entry};
use anyhow::Result;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Prints names, sizes, and where the models come from.
///
/// # Errors
/// A folder that cannot be read.
pub fn run(args: &ListArgs) -> Result<ExitCode> {
    let store = args.store.open()?;
    let entries = store.entries()?;
    if args.json {
        println!("{:#}", Value::Array(entries.iter().map(as_json).collect()));
        return Ok(ExitCode::SUCCESS);
    }
    let rows = entries.iter().map(|entry| {
        vec![
            entry.name.clone(),
            match (&entry.parent, &entry.file) {
                (Some(parent), _) => parent.clone(),
                (None, Some(_)) => String::new(),
                (None, None) => "in the program".into(),
            },
            human_bytes(entry.size),
            timestamp(entry),
        ]
    });
    println!("{}", table(&["name", "from", "size", "modified"], 2, rows));
    console::say!("models folder: {}", store.folder().display());
    Ok(ExitCode::SUCCESS)
}

fn timestamp(entry: &Entry) -> String {
    let time = jiff::Timestamp::try_from(entry.modified).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

fn as_json(entry: &Entry) -> Value {
    json!({
        "name": entry.name,
        "size": entry.size,
        "modified": jiff::Timestamp::try_from(entry.modified).ok().map(|time| time.to_string()),
        "file": entry.file,
        "sha256": entry.sha256,
        "from": entry.parent,
        "system": entry.system,
        "template": entry.template,
        "parameters": entry.parameters,
    })
}

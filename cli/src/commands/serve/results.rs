//! The folder of measurements that the server shows: records of this program and rows of `bench --output json`.

use std::fs::{File, FileType};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::measuring::record::SCHEMA;

/// Files that a list has at most; the newest are kept.
const MOST_FILES: usize = 200;

/// Largest file that is read. The records of long measurements have a few MiB.
const MOST_BYTES: u64 = 16 << 20;

/// A folder whose `.json` files are shown. Only plain files directly in it are read: no link leads out of it, and no name that
/// has anything but letters, digits, `-`, `_`, `+` and single dots is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultsFolder(PathBuf);

/// A file of the folder, as lists show it.
#[derive(Debug)]
struct Found {
    name: String,
    bytes: u64,
    modified: SystemTime,
}

/// The folder's files, the newest first.
#[derive(Debug)]
pub struct Listing {
    /// What is known of each: name, bytes, kind, date, completeness, model.
    pub files: Vec<Value>,
    /// Files beyond the number that is listed.
    pub left_out: usize,
}

/// What a list says of a record. Other fields are passed over.
#[derive(Deserialize)]
#[serde(untagged)]
enum Head {
    Record {
        schema: String,
        kind: String,
        date: Option<String>,
        complete: Option<bool>,
        model: Option<Model>,
    },
    Rows(Vec<Row>),
}

#[derive(Deserialize)]
struct Model {
    file: Option<String>,
    description: Option<String>,
}

#[derive(Deserialize)]
struct Row {
    test_time: String,
    model_type: Option<String>,
}

impl ResultsFolder {
    /// A folder that can be listed now.
    ///
    /// # Errors
    /// A path that is no folder, or that cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        let shown = path.display();
        let folder = path
            .canonicalize()
            .with_context(|| format!("cannot find the folder of results {shown} (--results)"))?;
        if !folder.is_dir() {
            bail!("{shown} is no folder (--results); name the one that holds the records");
        }
        std::fs::read_dir(&folder).with_context(|| format!("cannot read the folder {shown} (--results)"))?;
        Ok(Self(folder))
    }

    /// The records in it; files that are none are passed over. Blocks.
    ///
    /// # Errors
    /// A folder that cannot be read any more.
    pub fn list(&self) -> std::io::Result<Listing> {
        let mut found: Vec<Found> = std::fs::read_dir(&self.0)?
            .filter_map(|entry| found(&entry.ok()?))
            .collect();
        found.sort_by(|a, b| b.modified.cmp(&a.modified).then_with(|| a.name.cmp(&b.name)));
        let left_out = found.len().saturating_sub(MOST_FILES);
        found.truncate(MOST_FILES);
        let files = found.iter().filter_map(|file| self.describe(file)).collect();
        Ok(Listing { files, left_out })
    }

    /// The text of one of its files; None: there is no such record. Blocks.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(&self, name: &str) -> std::io::Result<Option<String>> {
        if !is_name(name) {
            return Ok(None);
        }
        let path = self.0.join(name);
        let plain = std::fs::symlink_metadata(&path).is_ok_and(|about| is_shown(about.file_type(), about.len()));
        if !plain {
            return Ok(None);
        }
        let mut text = String::new();
        // it may have grown since
        File::open(path)?.take(MOST_BYTES).read_to_string(&mut text)?;
        Ok(Some(text))
    }

    fn describe(&self, file: &Found) -> Option<Value> {
        let text = self.read(&file.name).ok().flatten()?;
        let (kind, date, complete, model) = match serde_json::from_str(&text).ok()? {
            Head::Record {
                schema,
                kind,
                date,
                complete,
                model,
            } if schema == SCHEMA => {
                let model = model.and_then(|model| model.file.or(model.description));
                (kind, date, complete, model)
            }
            Head::Record { .. } => return None,
            Head::Rows(rows) => {
                let first = rows.into_iter().next()?;
                ("bench".to_owned(), Some(first.test_time), None, first.model_type)
            }
        };
        Some(json!({
            "name": file.name, "bytes": file.bytes, "kind": kind, "date": date, "complete": complete, "model": model,
        }))
    }
}

fn found(entry: &std::fs::DirEntry) -> Option<Found> {
    let name = entry.file_name().into_string().ok().filter(|name| is_name(name))?;
    let about = entry.metadata().ok()?; // of a link, not of what it leads to
    is_shown(about.file_type(), about.len()).then_some(Found {
        name,
        bytes: about.len(),
        modified: about.modified().unwrap_or(SystemTime::UNIX_EPOCH),
    })
}

fn is_shown(kind: FileType, bytes: u64) -> bool {
    kind.is_file() && bytes <= MOST_BYTES
}

/// Whether it can be the name of a record. Names that some system reads as more than a name are none.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '+' | '.');
    name.len() <= 255
        && name.ends_with(".json")
        && !name.starts_with('.')
        && !name.contains("..")
        && name.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_or_none() {
        for name in ["gate.json", "2026-11-21_bench+changes.v2.json", "q8_0-turbo4.json"] {
            assert!(is_name(name), "{name}");
        }
        let bad = [
            "",
            ".json",
            "a.JSON",
            "a.txt",
            "../a.json",
            "a/b.json",
            "a\\b.json",
            "..json",
            "a..json",
            ".a.json",
            "a b.json",
            "a:b.json",
            "%2e.json",
            "a\0.json",
            "ä.json",
            "/etc/a.json",
        ];
        for name in bad {
            assert!(!is_name(name), "{name}");
        }
        assert!(!is_name(&format!("{}.json", "a".repeat(300))));
    }
}

//! `turboquant profile` writes what agents, clients and `serve --profile` read.

#[path = "../support/schema.rs"]
mod schema;
#[path = "../support/mod.rs"]
mod support;

mod agent;
mod reading;
mod writing;

use serde_json::Value;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Settings of `serve`, as `--print-config` shows them: value and where it comes from.
#[track_caller]
fn printed(profile: &Path, more: &[&str]) -> impl Fn(&str) -> (String, String) + use<> {
    let path = profile.to_str().unwrap();
    let (out, _) = support::succeeds(&[&["serve", "--profile", path, "--print-config"], more].concat());
    move |option| {
        let start = format!("{option} = ");
        let line = out.lines().find_map(|line| line.strip_prefix(start.as_str()));
        let line = line.unwrap_or_else(|| panic!("{option} is not in:\n{out}"));
        let (value, source) = line.split_once("  # ").unwrap();
        (value.trim_matches('"').to_owned(), source.to_owned())
    }
}

/// A profile in a folder of its own, as `turboquant profile` writes it.
#[track_caller]
fn written(options: &[&str]) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("profile");
    let output = ["--output", path.to_str().unwrap()];
    support::succeeds(&[&["profile"], options, &output].concat());
    (dir, path)
}

#[track_caller]
fn yaml(path: &Path) -> Value {
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

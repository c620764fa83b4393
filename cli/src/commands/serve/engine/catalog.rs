//! Models that are known from the start, when there is no folder of them.

use crate::embedded;
use crate::store::{Catalog, Entry, total_size};
use anyhow::Result;
use serde_json::Map;
use std::path::PathBuf;
use std::time::SystemTime;

/// Entries that are known from the start and stay; their files may change.
pub struct FixedCatalog(Vec<Entry>);

impl FixedCatalog {
    /// These.
    pub fn new(mut entries: Vec<Entry>) -> Self {
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Self(entries)
    }
}

impl Catalog for FixedCatalog {
    fn entries(&self) -> Result<Vec<Entry>> {
        Ok(self.0.iter().map(Entry::as_it_is).collect())
    }
}

/// One file under a name; None: the embedded model. A file that is not there is noticed when it is loaded, which says more.
pub fn named(name: &str, file: Option<PathBuf>) -> Entry {
    let Some(path) = &file else {
        return Entry {
            name: name.to_owned(),
            ..embedded::entry()
        };
    };
    let modified = path.metadata().and_then(|head| head.modified());
    Entry {
        name: name.to_owned(),
        size: total_size(path),
        modified: modified.unwrap_or(SystemTime::UNIX_EPOCH),
        file,
        sha256: None,
        parent: None,
        system: None,
        template: None,
        parameters: Map::new(),
        license: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_model_is_that_of_all_its_shards() {
        let dir = tempfile::tempdir().unwrap();
        for (n, bytes) in [(1, "1234"), (2, "12")] {
            std::fs::write(dir.path().join(format!("big-{n:05}-of-00002.gguf")), bytes).unwrap();
        }
        let first = dir.path().join("big-00001-of-00002.gguf");
        assert_eq!(named("big", Some(first)).size, 6);
        assert_eq!(named("gone", Some("/no/such/file.gguf".into())).size, 0);
        assert_eq!(named("own", None).size, embedded::entry().size);
    }
}

//! What the server offers when no store of models is given: named files, and the files of a folder.

use crate::embedded;
use crate::store::{Catalog, Entry};
use anyhow::{Context, Result};
use serde_json::Map;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// Entries that are known from the start and stay.
pub struct FixedCatalog(Vec<Entry>);

impl FixedCatalog {
    /// These.
    pub fn new(mut entries: Vec<Entry>) -> Self {
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Self(entries)
    }

    /// One file under a name; None: the embedded model. A file that is not there is noticed when it is loaded, which says
    /// more.
    pub fn of_file(name: &str, file: Option<PathBuf>) -> Self {
        Self(vec![entry(name.to_owned(), file)])
    }
}

impl Catalog for FixedCatalog {
    fn entries(&self) -> Result<Vec<Entry>> {
        Ok(self.0.clone())
    }
}

/// The models of a folder as llama-server's `--models-dir` has them: `NAME.gguf`, and in a folder `NAME` one model in one or
/// several files. Projectors (`mmproj*`) are no models.
pub struct FolderCatalog(PathBuf);

impl FolderCatalog {
    /// The models of `folder`.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn new(folder: PathBuf) -> Result<Self> {
        let catalog = Self(folder);
        catalog.entries()?;
        Ok(catalog)
    }
}

impl Catalog for FolderCatalog {
    fn entries(&self) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for path in listed(&self.0)? {
            if path.is_dir() {
                // a folder of somebody else's between the models must not hide them
                let inside = listed(&path).unwrap_or_default();
                let first = inside.into_iter().find(|path| is_first_file(path));
                entries.extend(first.map(|file| entry(file_name(&path), Some(file))));
            } else if is_first_file(&path) {
                entries.push(entry(stem(&path), Some(path)));
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }
}

/// Several catalogs as one; of equal names the first counts.
pub struct Catalogs(pub Vec<Arc<dyn Catalog>>);

impl Catalog for Catalogs {
    fn entries(&self) -> Result<Vec<Entry>> {
        let mut all: Vec<Entry> = Vec::new();
        for catalog in &self.0 {
            for entry in catalog.entries()? {
                if !all.iter().any(|known| known.name == entry.name) {
                    all.push(entry);
                }
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }
}

fn listed(folder: &Path) -> Result<Vec<PathBuf>> {
    let found = std::fs::read_dir(folder)
        .and_then(|files| files.map(|file| file.map(|file| file.path())).collect::<Result<_, _>>());
    let mut files: Vec<PathBuf> =
        found.with_context(|| format!("cannot read the folder of models {}", folder.display()))?;
    files.sort();
    Ok(files)
}

fn is_first_file(path: &Path) -> bool {
    let name = file_name(path);
    let shard = shard(&name);
    path.extension().is_some_and(|extension| extension == "gguf")
        && !name.starts_with("mmproj")
        && shard.is_none_or(|shard| shard.number == 1)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The name of a model in a file: without `.gguf`, and without the number of a shard.
fn stem(path: &Path) -> String {
    let name = file_name(path);
    match shard(&name) {
        Some(shard) => shard.model.to_owned(),
        None => name.trim_end_matches(".gguf").to_owned(),
    }
}

/// One of several files of a model: `MODEL-00001-of-00003.gguf`.
struct Shard<'a> {
    model: &'a str,
    number: u16,
    count: u16,
}

fn shard(name: &str) -> Option<Shard<'_>> {
    let (rest, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (model, number) = rest.rsplit_once('-')?;
    Some(Shard {
        model,
        number: number.parse().ok()?,
        count: count.parse().ok()?,
    })
}

fn entry(name: String, file: Option<PathBuf>) -> Entry {
    let path = file.clone().or_else(|| embedded::path().ok());
    let head = path.as_deref().and_then(|path| path.metadata().ok());
    Entry {
        name,
        size: path.as_deref().map_or(0, total_size),
        modified: head
            .and_then(|head| head.modified().ok())
            .unwrap_or(SystemTime::UNIX_EPOCH),
        file,
        sha256: None,
        parent: None,
        system: None,
        template: None,
        parameters: Map::new(),
    }
}

/// Bytes of a file and of the shards that go with it; 0 for a file that is not there.
fn total_size(first: &Path) -> u64 {
    let size = |path: &Path| path.metadata().map_or(0, |head| head.len());
    let name = file_name(first);
    let Some(shard) = shard(&name) else {
        return size(first);
    };
    let nth = |n| first.with_file_name(format!("{}-{n:05}-of-{:05}.gguf", shard.model, shard.count));
    (1..=shard.count).map(|n| size(&nth(n))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_offers_files_folders_and_shards_but_no_projectors() {
        let dir = tempfile::tempdir().unwrap();
        for file in [
            "one.gguf",
            "notes.txt",
            "mmproj-one.gguf",
            "big/big-00001-of-00002.gguf",
            "big/big-00002-of-00002.gguf",
            "eye/eye-Q8_0.gguf",
            "eye/mmproj-F16.gguf",
            "empty/readme.md",
            "flat-00001-of-00002.gguf",
            "flat-00002-of-00002.gguf",
        ] {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"1234").unwrap();
        }
        let catalog = FolderCatalog::new(dir.path().to_owned()).unwrap();
        let found: Vec<(String, u64)> = catalog
            .entries()
            .unwrap()
            .into_iter()
            .map(|entry| (entry.name, entry.size))
            .collect();
        let expected = [("big", 8), ("eye", 4), ("flat", 8), ("one", 4)];
        assert_eq!(found, expected.map(|(name, size)| (name.to_owned(), size)));
        assert!(catalog.find("one:latest").unwrap().is_some());
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error_that_names_it() {
        let error = FolderCatalog::new("/no/such/folder".into()).err().unwrap();
        assert!(format!("{error:#}").contains("/no/such/folder"));
    }

    #[test]
    fn of_equal_names_the_first_catalog_counts() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("same.gguf"), b"12").unwrap();
        std::fs::write(dir.path().join("other.gguf"), b"12").unwrap();
        let fixed = FixedCatalog::of_file("same", Some("elsewhere.gguf".into()));
        let folder = FolderCatalog::new(dir.path().to_owned()).unwrap();
        let both = Catalogs(vec![Arc::new(fixed), Arc::new(folder)]);
        let entries = both.entries().unwrap();
        let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["other", "same"]);
        assert_eq!(entries[1].file.as_deref(), Some(Path::new("elsewhere.gguf")));
    }
}

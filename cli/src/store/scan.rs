//! GGUF files that the user put into the folder. Looks at names and sizes only, so that it can be done for each request.

use super::error::cannot;
use super::{Error, HUB_FOLDER};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Folders within folders that are looked into.
const MAX_DEPTH: usize = 6;

/// A file, or all shards of one model.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    /// The path in the folder without `.gguf`, parts separated by `/`.
    pub name: String,
    /// The shards in order.
    pub files: Vec<PathBuf>,
    /// Bytes of all.
    pub size: u64,
    /// When the newest was written.
    pub modified: SystemTime,
}

/// Every model under `root`, and the reasons why some files are not offered.
pub(super) fn scan(root: &Path) -> Result<(Vec<Found>, Vec<String>), Error> {
    let mut scan = Scan::default();
    match scan.folder(root, "", 0) {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        outcome => outcome?,
    }
    Ok(scan.finish())
}

/// The files of one sharded model: by number, and how many there should be.
struct Shards {
    count: u32,
    files: BTreeMap<u32, (PathBuf, u64, SystemTime)>,
}

#[derive(Default)]
struct Scan {
    found: Vec<Found>,
    shards: BTreeMap<(String, u32), Shards>,
    skipped: Vec<String>,
}

impl Scan {
    fn folder(&mut self, dir: &Path, prefix: &str, depth: usize) -> Result<(), Error> {
        for entry in std::fs::read_dir(dir).map_err(cannot("list", dir))? {
            let entry = entry.map_err(cannot("list", dir))?;
            let path = entry.path();
            let kind = entry.file_type().map_err(cannot("look at", &path))?;
            let Ok(name) = entry.file_name().into_string() else {
                self.skip(&path, "its name is not valid UTF-8");
                continue;
            };
            if name.starts_with('.') || (depth == 0 && name == HUB_FOLDER) {
                continue;
            }
            let full = format!("{prefix}{name}");
            if kind.is_dir() {
                if depth >= MAX_DEPTH {
                    self.skip(&path, "it is too deep in the models folder");
                } else if let Err(error) = self.folder(&path, &format!("{full}/"), depth + 1) {
                    // one folder of somebody else's must not hide all models
                    self.skip(&path, &error.to_string());
                }
                continue;
            }
            let Some(stem) = full.strip_suffix(".gguf") else {
                continue;
            };
            // companions of models, not models
            if name.to_ascii_lowercase().starts_with("mmproj") {
                continue;
            }
            // follows links, so that a folder can be made of links to files elsewhere
            let (size, modified) = match path.metadata() {
                Ok(about) if about.is_file() => (about.len(), about.modified().unwrap_or(SystemTime::UNIX_EPOCH)),
                Ok(_) => continue,
                Err(error) => {
                    self.skip(&path, &error.to_string());
                    continue;
                }
            };
            match shard(stem) {
                Some((base, number, count)) => {
                    let shards = self.shards.entry((base.to_owned(), count)).or_insert(Shards {
                        count,
                        files: BTreeMap::new(),
                    });
                    shards.files.insert(number, (path, size, modified));
                }
                None => self.found.push(Found {
                    name: stem.to_owned(),
                    files: vec![path],
                    size,
                    modified,
                }),
            }
        }
        Ok(())
    }

    fn skip(&mut self, path: &Path, reason: &str) {
        self.skipped
            .push(format!("{} is not offered: {reason}", path.display()));
    }

    fn finish(mut self) -> (Vec<Found>, Vec<String>) {
        for ((name, _), shards) in std::mem::take(&mut self.shards) {
            let Shards { count, files } = shards;
            if let Some(missing) = (1..=count).find(|number| !files.contains_key(number)) {
                let reason = format!(
                    "{name} is not offered: {} of its {count} shards are there, number {missing} is missing",
                    files.len()
                );
                self.skipped.push(reason);
                continue;
            }
            let size = files.values().map(|(_, size, _)| size).sum();
            let newest = files.values().map(|(_, _, modified)| *modified).max();
            self.found.push(Found {
                name,
                size,
                modified: newest.unwrap_or(SystemTime::UNIX_EPOCH),
                files: files.into_values().map(|(path, _, _)| path).collect(),
            });
        }
        (self.found, self.skipped)
    }
}

/// Splits `NAME-00001-of-00003` into the name, the number and the count, as llama.cpp's gguf-split writes it.
pub(crate) fn shard(stem: &str) -> Option<(&str, u32, u32)> {
    let number = |digits: &str| -> Option<u32> {
        let all = digits.len() == 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
        all.then(|| digits.parse().ok()).flatten()
    };
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (base, index) = rest.rsplit_once('-')?;
    let (index, count) = (number(index)?, number(count)?);
    (1..=count).contains(&index).then_some((base, index, count))
}

/// Bytes of a file and of the shards that go with it; 0 for a file that is not there.
pub(crate) fn total_size(first: &Path) -> u64 {
    let size = |path: &Path| path.metadata().map_or(0, |head| head.len());
    let stem = first.file_stem().unwrap_or_default().to_string_lossy();
    let Some((model, _, count)) = shard(&stem) else {
        return size(first);
    };
    let nth = |n| first.with_file_name(format!("{model}-{n:05}-of-{count:05}.gguf"));
    (1..=count).map(|n| size(&nth(n))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_recognised_by_their_exact_form() {
        assert_eq!(shard("a-b-00002-of-00003"), Some(("a-b", 2, 3)));
        for stem in [
            "a",
            "a-00004-of-00003",
            "a-00000-of-00003",
            "a-2-of-3",
            "a-0000x-of-00003",
            "00001-of-00003",
        ] {
            assert_eq!(shard(stem), None, "{stem}");
        }
    }
}

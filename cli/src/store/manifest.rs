//! What the folder remembers about a name: one small JSON file each, written whole or not at all.

use super::error::cannot;
use super::sweep::sweep;
use super::{Error, Name};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

/// Largest manifest that is read.
const MAX_BYTES: u64 = 16 << 20;

/// A name that was downloaded, copied or created.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The name.
    pub name: String,
    /// The model it was made from; none for a download.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Its files, the first shard first; empty where the model is not in this folder, then `from` says which it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileRecord>,
    /// A system prompt for chats that bring none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// A chat template instead of the file's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Options for requests that leave them open.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub parameters: Map<String, Value>,
    /// Licence texts, kept for the reader.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub license: Vec<String>,
}

/// One file of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileRecord {
    /// From the models folder, parts separated by `/`.
    pub path: String,
    /// Its bytes. A file of another size is not the one that was meant.
    pub size: u64,
    /// SHA-256 in hexadecimal digits, where it was checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

impl FileRecord {
    /// The file, if the path stays inside `root`.
    pub(super) fn locate(&self, root: &Path) -> Option<PathBuf> {
        let path = Path::new(&self.path);
        let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
        (inside && !self.path.is_empty()).then(|| root.join(path))
    }
}

/// All manifests in `dir`; unreadable ones are left out with a word in the log.
pub(super) fn read_all(dir: &Path) -> Result<Vec<(Manifest, PathBuf)>, Error> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(cannot("list", dir)(error)),
    };
    let mut manifests = Vec::new();
    for entry in entries {
        let path = entry.map_err(cannot("list", dir))?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        match read(&path) {
            Ok(manifest) => manifests.push((manifest, path)),
            // deleted since it was listed
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(path = %path.display(), %error, "cannot read this description of a model"),
        }
    }
    manifests.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    Ok(manifests)
}

fn read(path: &Path) -> io::Result<Manifest> {
    if path.metadata()?.len() > MAX_BYTES {
        return Err(io::Error::other("larger than 16 MiB"));
    }
    let manifest: Manifest = serde_json::from_slice(&std::fs::read(path)?)?;
    match Name::new(&manifest.name) {
        Ok(name) if path.file_name().is_some_and(|file| *file == *name.file_name()) => Ok(manifest),
        _ => Err(io::Error::other(
            "the file does not have the name of the model it describes",
        )),
    }
}

/// Puts the manifest into `dir`, in place of an earlier one of the same name.
pub(super) fn write(dir: &Path, name: &Name, manifest: &Manifest) -> Result<(), Error> {
    let path = dir.join(name.file_name());
    let attempt = || -> io::Result<()> {
        std::fs::create_dir_all(dir)?;
        sweep(dir);
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.write_all(&serde_json::to_vec_pretty(manifest)?)?;
        file.as_file().sync_all()?;
        file.persist(&path)?;
        sync_dir(dir)
    };
    attempt().map_err(cannot("write", &path))
}

/// Makes renamed and removed names in `dir` last through a power failure, where the system can.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(dir)?.sync_all()
    } else {
        Ok(())
    }
}

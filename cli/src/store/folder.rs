//! A folder of models.

use super::manifest::{self, FileRecord, Manifest, sync_dir};
use super::meaning::Meaning;
use super::name::{Name, best, plain};
use super::scan::Found;
use super::{Catalog, Creation, Entry, Error, HUB_FOLDER, cannot};
use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// Tells how many bytes can still be written below a folder.
pub type FreeSpace = Arc<dyn Fn(&Path) -> std::io::Result<u64> + Send + Sync>;

/// The models in a folder, and the names made for them. Several processes may use one folder at once.
pub struct Store {
    pub(super) root: PathBuf,
    pub(super) given: Vec<Entry>,
    free_space: FreeSpace,
    said: Mutex<HashSet<String>>,
}

impl Store {
    /// The models in `folder`, which is made when something is first written there.
    ///
    /// # Errors
    /// `folder` is something else than a folder.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, Error> {
        let root: PathBuf = folder.into();
        if root.exists() && !root.is_dir() {
            let source = std::io::Error::from(std::io::ErrorKind::NotADirectory);
            return Err(cannot("use as models folder", &root)(source));
        }
        Ok(Self {
            root,
            given: Vec::new(),
            free_space: Arc::new(|path| fs4::available_space(path)),
            said: Mutex::default(),
        })
    }

    /// The folder for users who name none: in their data directory.
    pub fn default_folder() -> PathBuf {
        directories::ProjectDirs::from("", "", "llama-turboquant").map_or_else(
            || std::env::temp_dir().join("llama-turboquant").join("models"),
            |dirs| dirs.data_dir().join("models"),
        )
    }

    /// Offers one model more, which is not in the folder: the embedded one, one from the command line.
    #[must_use]
    pub fn with_model(mut self, entry: Entry) -> Self {
        self.given.push(entry);
        self
    }

    /// Asks `free_space` before large files are written, instead of the system.
    #[must_use]
    pub fn with_free_space(mut self, free_space: FreeSpace) -> Self {
        self.free_space = free_space;
        self
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.root
    }

    /// The model of that name; also by a hub's address (`hf.co/org/repo:QUANT`), the tag in any case, or without the tag.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn get(&self, name: &str) -> Result<Option<Entry>, Error> {
        let mut meanings = self.meanings()?;
        let found = best(meanings.keys().map(String::as_str), name).map(str::to_owned);
        Ok(found.and_then(|name| meanings.remove(&name)).map(|(_, entry)| entry))
    }

    /// Whether the name stands for a model that no hub has: created, copied, put there by the user, from the command line.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn is_own(&self, name: &str) -> Result<bool, Error> {
        Ok(match self.meaning(name)? {
            Some(Meaning::Written(manifest)) => manifest.from.is_some(),
            Some(Meaning::Given(_) | Meaning::Found(_)) => true,
            None => false,
        })
    }

    /// Makes the alias `destination` of `source`. Later changes to either do not change the other.
    ///
    /// # Errors
    /// A `source` that is not there, a `destination` that is no name or stands for a file.
    pub fn copy(&self, source: &str, destination: &str) -> Result<(), Error> {
        let destination = Name::new(destination)?;
        let _lock = self.lock()?;
        let manifest = self.derive(source)?;
        self.put(&destination, manifest)
    }

    /// Makes `name` from another model or an uploaded file, with a system prompt, a template, parameters of its own.
    ///
    /// # Errors
    /// As [`copy`](Self::copy), and what is wrong with `creation`.
    pub fn create(&self, name: &str, creation: &Creation) -> Result<(), Error> {
        let name = Name::new(name)?;
        let _lock = self.lock()?;
        let mut manifest = match creation.base()? {
            super::Base::Model(from) => self.derive(from)?,
            super::Base::Blob(digest) => Manifest {
                files: vec![self.model_blob(digest)?],
                from: Some(format!("sha256:{digest}")),
                ..Manifest::default()
            },
        };
        creation.apply(&mut manifest);
        self.put(&name, manifest)
    }

    /// Deletes a name, and its files if no other name needs them. An alias does not need the name it was made from.
    ///
    /// # Errors
    /// [`Error::NotOurs`] for files that the user put into the folder himself.
    pub fn delete(&self, name: &str) -> Result<(), Error> {
        let _lock = self.lock()?;
        let manifest = self.deletable(name)?;
        let path = self.names().join(Name::new(&manifest.name)?.file_name());
        std::fs::remove_file(&path).map_err(cannot("delete", &path))?;
        sync_dir(&self.names()).map_err(cannot("sync", &self.names()))?;
        self.release(&manifest.files)
    }

    /// What [`delete`](Self::delete) would delete.
    ///
    /// # Errors
    /// As [`delete`](Self::delete), before anything is deleted.
    pub fn deletable(&self, name: &str) -> Result<Manifest, Error> {
        match self.meaning(name)? {
            Some(Meaning::Written(manifest)) => Ok(manifest),
            Some(Meaning::Given(_)) => Err(Error::NotOurs(format!(
                "model '{name}' is not in the models folder, so it is not deleted; it is offered by the program's options"
            ))),
            Some(Meaning::Found(found)) => Err(Error::NotOurs(format!(
                "model '{name}' was not downloaded by this program, so it is not deleted; remove its file yourself: {}",
                found
                    .files
                    .first()
                    .map(|file| file.display().to_string())
                    .unwrap_or_default()
            ))),
            // also a manifest whose files are gone can be deleted
            None => self.manifest(name)?.ok_or_else(|| Error::NotFound(name.to_owned())),
        }
    }

    /// Writes what a download brought. Its files are in place already.
    ///
    /// # Errors
    /// A file that has vanished since, or a folder that cannot be written.
    pub(crate) fn record(&self, name: &Name, files: Vec<FileRecord>) -> Result<Entry, Error> {
        let _lock = self.lock()?;
        let manifest = Manifest {
            name: name.to_string(),
            files,
            ..Manifest::default()
        };
        let entry = self.resolve(&manifest, SystemTime::now()).map_err(|reason| {
            Error::Invalid(format!(
                "{name} was deleted while it was downloaded ({reason}); pull it again"
            ))
        })?;
        self.replace(name, manifest)?;
        Ok(entry)
    }

    /// Fails unless `need` bytes more fit below the folder.
    pub(crate) fn require_space(&self, need: u64) -> Result<(), Error> {
        std::fs::create_dir_all(&self.root).map_err(cannot("make the models folder", &self.root))?;
        match (self.free_space)(&self.root) {
            Ok(free) if free < need => Err(Error::DiskFull {
                path: self.root.clone(),
                need,
                free,
            }),
            Ok(_) => Ok(()),
            Err(error) => {
                // some network file systems do not tell; writing will
                tracing::debug!(%error, "cannot tell the free disk space");
                Ok(())
            }
        }
    }

    /// The folder for what users need not see.
    pub(super) fn own(&self, part: &str) -> PathBuf {
        self.root.join(".turboquant").join(part)
    }

    /// A file to lock, so that only one process at a time does what `key` names.
    pub(crate) fn lock_file(&self, key: &str) -> Result<File, Error> {
        let dir = self.own("locks");
        let path = dir.join(format!("{}.lock", &super::blob::sha256_hex(key.as_bytes())[..32]));
        std::fs::create_dir_all(&dir).map_err(cannot("make the folder", &dir))?;
        let mut options = File::options();
        // stays when the work is done: removing it would let two hold it
        options.create(true).truncate(false).write(true);
        options.open(&path).map_err(cannot("open the lock", &path))
    }

    fn names(&self) -> PathBuf {
        self.own("names")
    }

    /// Held while names change; released with the file.
    fn lock(&self) -> Result<File, Error> {
        let file = self.lock_file("names")?;
        file.lock().map_err(cannot("lock the names in", &self.root))?;
        Ok(file)
    }

    /// A manifest for a new name with all that `source` has.
    fn derive(&self, source: &str) -> Result<Manifest, Error> {
        let not_found = || Error::NotFound(source.to_owned());
        Ok(match self.meaning(source)?.ok_or_else(not_found)? {
            Meaning::Written(manifest) => Manifest {
                from: Some(manifest.from.unwrap_or(manifest.name)),
                name: String::new(),
                ..manifest
            },
            Meaning::Given(entry) => Manifest {
                from: Some(entry.name),
                ..Manifest::default()
            },
            Meaning::Found(found) => Manifest {
                files: self.file_records(&found)?,
                from: Some(found.name),
                ..Manifest::default()
            },
        })
    }

    fn file_records(&self, found: &Found) -> Result<Vec<FileRecord>, Error> {
        let record = |file: &PathBuf| {
            let inside = file.strip_prefix(&self.root).unwrap_or(file);
            let parts: Vec<_> = inside
                .components()
                .map(|part| part.as_os_str().to_string_lossy())
                .collect();
            Ok(FileRecord {
                path: parts.join("/"),
                size: file.metadata().map_err(cannot("look at", file))?.len(),
                sha256: None,
            })
        };
        found.files.iter().map(record).collect()
    }

    /// Gives `name` its meaning, unless it stands for a file already.
    fn put(&self, name: &Name, manifest: Manifest) -> Result<(), Error> {
        let taken = match self.meaning(name.as_str())? {
            Some(Meaning::Written(old)) => old.from.is_none() && old.name == name.as_str(),
            Some(Meaning::Given(entry)) => entry.name == name.as_str(),
            Some(Meaning::Found(found)) => found.name == name.as_str(),
            None => false,
        };
        if taken {
            return Err(Error::Invalid(format!(
                "the name '{name}' stands for a model file already; choose another name"
            )));
        }
        self.replace(name, manifest)
    }

    fn replace(&self, name: &Name, mut manifest: Manifest) -> Result<(), Error> {
        let old = self.manifests()?.into_iter().find(|(old, _)| old.name == name.as_str());
        manifest.name = name.to_string();
        manifest::write(&self.names(), name, &manifest)?;
        match old {
            Some((old, _)) => self.release(&old.files),
            None => Ok(()),
        }
    }

    /// Deletes those of `files` that this program put there and no manifest names.
    fn release(&self, files: &[FileRecord]) -> Result<(), Error> {
        let manifests = self.manifests()?;
        let needed: HashSet<&str> = manifests
            .iter()
            .flat_map(|(manifest, _)| manifest.files.iter().map(|file| file.path.as_str()))
            .collect();
        let (hub, blobs) = (self.root.join(HUB_FOLDER), self.own("blobs"));
        for file in files.iter().filter(|file| !needed.contains(file.path.as_str())) {
            let Some(path) = file.locate(&self.root) else { continue };
            if !path.starts_with(&hub) && !path.starts_with(&blobs) {
                continue;
            }
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(cannot("delete", &path)(error));
                }
                _ => {}
            }
            let mut dir = path.parent();
            // a folder that is not empty stays, and ends the walk
            while let Some(empty) = dir.filter(|dir| dir.starts_with(&hub) && std::fs::remove_dir(dir).is_ok()) {
                dir = empty.parent();
            }
        }
        Ok(())
    }

    pub(super) fn manifests(&self) -> Result<Vec<(Manifest, PathBuf)>, Error> {
        manifest::read_all(&self.names())
    }

    fn manifest(&self, name: &str) -> Result<Option<Manifest>, Error> {
        let name = plain(name);
        Ok(self
            .manifests()?
            .into_iter()
            .map(|(manifest, _)| manifest)
            .find(|known| known.name == name))
    }

    /// Into the log, once: the folder is read for every request.
    pub(super) fn say(&self, reason: String) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if !said.contains(&reason) {
            tracing::warn!("{reason}");
            said.insert(reason);
        }
    }
}

impl Catalog for Store {
    fn entries(&self) -> anyhow::Result<Vec<Entry>> {
        Ok(self.meanings()?.into_values().map(|(_, entry)| entry).collect())
    }

    fn find(&self, name: &str) -> anyhow::Result<Option<Entry>> {
        Ok(self.get(name)?)
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

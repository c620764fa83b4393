//! Models by name: which file a name stands for, and what was said about it.
//!
//! ```text
//! FOLDER/any/model.gguf            put there by the user: offered as any/model, never written, never deleted
//! FOLDER/hub/org/repo/VERSION/...  downloaded: a folder per version of the content, whole files only
//! FOLDER/.turboquant/names/*.json  what downloads, aliases and created models stand for
//! FOLDER/.turboquant/blobs/        uploaded for `create`
//! ```
//!
//! A name exists when its manifest does, and a manifest is written last and renamed into place, so whatever interrupts a
//! change, a model is whole or absent. Files go when the last manifest that names them goes.

mod blob;
mod create;
mod error;
mod folder;
mod manifest;
mod meaning;
mod modelfile;
mod name;
mod scan;
mod sweep;

pub use blob::{Digest, Upload};
pub use create::{Base, Creation};
pub use error::Error;
pub use folder::{FreeSpace, Store};
pub use manifest::{FileRecord, Manifest};
pub use name::Name;

pub(crate) use blob::{hex, is_sha256, sha256_hex};
pub(crate) use error::{cannot, cannot_write, is_full};
pub(crate) use manifest::sync_dir;
pub(crate) use name::{DEFAULT_TAGS, is_part, without_host};
pub(crate) use scan::{shard, total_size};
pub(crate) use sweep::sweep;

use serde_json::{Map, Value};
use std::path::PathBuf;
use std::time::SystemTime;

/// Where downloads are kept, in the models folder.
pub(crate) const HUB_FOLDER: &str = "hub";

/// A model that can be loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The name clients use.
    pub name: String,
    /// Its file, the first of several shards; `None`: the embedded model.
    pub file: Option<PathBuf>,
    /// Bytes of all its files.
    pub size: u64,
    /// When the file was last written.
    pub modified: SystemTime,
    /// SHA-256 of the file in hexadecimal digits, where it is known (it was downloaded under it).
    pub sha256: Option<String>,
    /// The name of the model that an alias was made from.
    pub parent: Option<String>,
    /// A system prompt for chats that bring none.
    pub system: Option<String>,
    /// A chat template instead of the file's.
    pub template: Option<String>,
    /// Options for requests that leave them open, by Ollama's names (`num_ctx`, `temperature`, ...).
    pub parameters: Map<String, Value>,
    /// Its licence, where one was given with it.
    pub license: Option<String>,
}

impl Entry {
    /// The same with the size and the time that the file has now. A file that is gone is the one that it was: whoever has loaded
    /// it can go on with it.
    #[must_use]
    pub fn as_it_is(&self) -> Self {
        let found = self
            .file
            .as_deref()
            .and_then(|path| Some((path, path.metadata().ok()?)));
        match found.and_then(|(path, about)| Some((total_size(path), about.modified().ok()?))) {
            Some((size, modified)) => Self {
                size,
                modified,
                ..self.clone()
            },
            None => self.clone(),
        }
    }
}

/// Names and what they stand for. Read anew for each request, so files may come and go while a server runs.
pub trait Catalog: Send + Sync + 'static {
    /// All models, sorted by name.
    ///
    /// # Errors
    /// A folder that cannot be read.
    fn entries(&self) -> anyhow::Result<Vec<Entry>>;

    /// The model of that name; `name` and `name:latest` are the same.
    ///
    /// # Errors
    /// As [`entries`](Self::entries).
    fn find(&self, name: &str) -> anyhow::Result<Option<Entry>> {
        let plain = |name: &str| name.strip_suffix(":latest").unwrap_or(name).to_owned();
        let wanted = plain(name);
        Ok(self.entries()?.into_iter().find(|entry| plain(&entry.name) == wanted))
    }
}

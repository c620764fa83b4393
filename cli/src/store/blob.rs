//! Files that clients upload before they create a model from them.

use super::error::cannot_write;
use super::manifest::{FileRecord, sync_dir};
use super::sweep::sweep;
use super::{Error, Store, cannot};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;

/// What every GGUF file begins with.
const MAGIC: &[u8; 4] = b"GGUF";

/// A SHA-256 in 64 small hexadecimal digits, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest(String);

impl Digest {
    /// Reads `sha256:<64 digits>`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for anything else.
    pub fn new(text: &str) -> Result<Self, Error> {
        let digits = text.strip_prefix("sha256:").or_else(|| text.strip_prefix("sha256-"));
        digits.filter(|digits| is_sha256(digits)).map_or_else(
            || {
                Err(Error::Invalid(
                    "invalid digest: it must be sha256: and 64 hexadecimal digits".into(),
                ))
            },
            |digits| Ok(Self(digits.to_ascii_lowercase())),
        )
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether `text` is a SHA-256 in hexadecimal digits.
pub(crate) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The digits of a finished hash.
pub(crate) fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The digits of the SHA-256 of `bytes`.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(Sha256::new_with_prefix(bytes))
}

/// An upload on its way to the disk. Dropped early, it leaves nothing.
#[derive(Debug)]
pub struct Upload {
    file: tempfile::NamedTempFile,
    hash: Sha256,
    digest: Digest,
    target: PathBuf,
}

impl Store {
    /// Whether that file was uploaded.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.blob(digest).is_file()
    }

    /// Begins to take in a file of `size` bytes, as far as that is known.
    ///
    /// # Errors
    /// Too little room, a folder that cannot be written.
    pub fn receive(&self, digest: &Digest, size: u64) -> Result<Upload, Error> {
        self.require_space(size)?;
        let dir = self.own("blobs");
        std::fs::create_dir_all(&dir).map_err(cannot("make the folder", &dir))?;
        sweep(&dir);
        let file = tempfile::NamedTempFile::new_in(&dir).map_err(cannot("write to", &dir))?;
        // for others who sweep; where files cannot be locked, they sweep nothing
        let _ = file.as_file().lock();
        Ok(Upload {
            file,
            hash: Sha256::new(),
            digest: digest.clone(),
            target: self.blob(digest),
        })
    }

    /// The uploaded model of that digest.
    pub(super) fn model_blob(&self, digest: &Digest) -> Result<FileRecord, Error> {
        let path = self.blob(digest);
        let mut file = File::open(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::Invalid(format!(
                "blob sha256:{digest} was not uploaded; send it to /api/blobs/sha256:{digest} first"
            )),
            _ => cannot("read", &path)(error),
        })?;
        let mut magic = [0; 4];
        if file.read_exact(&mut magic).is_err() || magic != *MAGIC {
            return Err(Error::Invalid(format!("blob sha256:{digest} is not a GGUF file")));
        }
        Ok(FileRecord {
            path: format!(".turboquant/blobs/sha256-{digest}"),
            size: file.metadata().map_err(cannot("look at", &path))?.len(),
            sha256: Some(digest.to_string()),
        })
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.own("blobs").join(format!("sha256-{digest}"))
    }
}

impl Upload {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// A full disk, for one.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.hash.update(bytes);
        let written = self.file.write_all(bytes);
        written.map_err(cannot_write(&self.target, bytes.len() as u64))
    }

    /// Checks the digest and puts the file in its place.
    ///
    /// # Errors
    /// [`Error::Digest`] if other bytes came than were announced.
    pub fn finish(self) -> Result<(), Error> {
        let got = hex(self.hash);
        if got != self.digest.0 {
            return Err(Error::Digest {
                expected: self.digest.0,
                got,
            });
        }
        let attempt = || -> std::io::Result<()> {
            self.file.as_file().sync_all()?;
            self.file.persist(&self.target)?;
            self.target.parent().map_or(Ok(()), sync_dir)
        };
        attempt().map_err(cannot("write", &self.target))
    }
}

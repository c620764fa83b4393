//! A whole model: its files, then its name.

use super::files::{self, Choice, RemoteFile};
use super::patience::check;
use super::transfer::{self, etag_path, part_path};
use super::{Error, Hub, Reference};
use crate::store::{Entry, FileRecord, HUB_FOLDER, Store, cannot, sha256_hex};
use llama_turboquant::CancelToken;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a pull looks whether another one, of the same files, has ended.
const TURN: Duration = Duration::from_millis(200);

/// How far a pull is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Status<'a> {
    /// The hub is asked what it has.
    Manifest,
    /// Another pull of the same files goes on; its progress is reported.
    Waiting,
    /// Bytes of one file come in.
    Transfer {
        /// Its path in the repository.
        file: &'a str,
        /// Its SHA-256.
        digest: &'a str,
        /// Its bytes.
        total: u64,
        /// Those that are there.
        completed: u64,
    },
    /// A transfer broke off and is taken up again.
    Retrying {
        /// Why it broke off.
        reason: &'a str,
    },
    /// The files' checksums were compared.
    Verifying,
    /// The name is written.
    Writing,
    /// The model can be used.
    Success,
}

/// The model from the folder, without asking the hub; downloaded where it is not there.
///
/// # Errors
/// As [`pull`].
pub fn obtain(
    store: &Store,
    hub: &Hub,
    reference: &Reference,
    cancel: &CancelToken,
    report: &mut dyn FnMut(Status<'_>),
) -> Result<Entry, Error> {
    match store.get(&reference.to_string())? {
        Some(entry) => Ok(entry),
        None => pull(store, hub, reference, cancel, report),
    }
}

/// Downloads what is new of a model. What came before an error or a cancellation is kept, and the next pull goes on from there.
///
/// # Errors
/// See [`Error`]. Nothing that was there before is lost then.
pub fn pull(
    store: &Store,
    hub: &Hub,
    reference: &Reference,
    cancel: &CancelToken,
    report: &mut dyn FnMut(Status<'_>),
) -> Result<Entry, Error> {
    report(Status::Manifest);
    let listed = files::list(hub, reference, cancel)?;
    let choice = files::choose(&listed, reference)?;
    let place = Place::of(store, reference, &choice)?;
    let _lock = wait_for_turn(store, reference, &place, cancel, report)?;
    place.remove_other_parts()?;
    let missing: u64 = place
        .files
        .iter()
        .map(|(remote, target)| remote.size - present(target, remote.size))
        .sum();
    store.require_space(missing)?;
    for (remote, target) in &place.files {
        check(cancel)?;
        if is_whole(target, remote.size) {
            report(Status::Transfer {
                file: &remote.path,
                digest: remote.sha256.as_deref().unwrap_or_default(),
                total: remote.size,
                completed: remote.size,
            });
            continue;
        }
        if let Some(dir) = target.parent() {
            std::fs::create_dir_all(dir).map_err(cannot("make the folder", dir))?;
        }
        transfer::fetch(hub, reference, remote, target, cancel, report)?;
    }
    report(Status::Verifying);
    report(Status::Writing);
    let record = |(remote, target): &(RemoteFile, PathBuf)| FileRecord {
        path: place.record_path(store.folder(), target),
        size: remote.size,
        sha256: remote.sha256.clone(),
    };
    let entry = store.record(&choice.name, place.files.iter().map(record).collect())?;
    report(Status::Success);
    Ok(entry)
}

/// Where the files of one version of a model go. Versions have folders of their own: a file is never replaced under a model
/// that runs, shards of two versions never mix, and a file that has its name has been checked.
struct Place {
    repository: PathBuf,
    version: String,
    files: Vec<(RemoteFile, PathBuf)>,
}

impl Place {
    fn of(store: &Store, reference: &Reference, choice: &Choice) -> Result<Self, Error> {
        let mut digests = String::new();
        for file in &choice.files {
            let digest = file.sha256.as_deref().ok_or_else(|| Error::Answer {
                url: format!("{}/{}", reference.repository(), file.path),
                reason: "the hub gives no SHA-256 for this file, so it cannot be checked and is not downloaded".into(),
            })?;
            digests.push_str(digest);
        }
        let version = match choice.files.as_slice() {
            [_] => digests[..12].to_owned(),
            _ => sha256_hex(digests.as_bytes())[..12].to_owned(),
        };
        let repository = store
            .folder()
            .join(HUB_FOLDER)
            .join(&reference.org)
            .join(&reference.repo);
        let target = |file: &RemoteFile| {
            file.path
                .split('/')
                .fold(repository.join(&version), |dir, part| dir.join(part))
        };
        Ok(Self {
            files: choice.files.iter().map(|file| (file.clone(), target(file))).collect(),
            repository,
            version,
        })
    }

    fn record_path(&self, root: &Path, target: &Path) -> String {
        let inside = target.strip_prefix(root).unwrap_or(target);
        let parts: Vec<_> = inside
            .components()
            .map(|part| part.as_os_str().to_string_lossy())
            .collect();
        parts.join("/")
    }

    /// Parts of an older version of these files, which nobody will ever complete.
    fn remove_other_parts(&self) -> Result<(), Error> {
        let Ok(versions) = std::fs::read_dir(&self.repository) else {
            return Ok(());
        };
        for version in versions
            .flatten()
            .filter(|version| *version.file_name() != *self.version)
        {
            for (remote, _) in &self.files {
                let other = remote.path.split('/').fold(version.path(), |dir, part| dir.join(part));
                transfer::remove(&part_path(&other))?;
                transfer::remove(&etag_path(&other))?;
                let mut dir = other.parent();
                // fails on the first folder that still holds something
                while let Some(empty) = dir.filter(|dir| *dir != self.repository && std::fs::remove_dir(dir).is_ok()) {
                    dir = empty.parent();
                }
            }
        }
        Ok(())
    }
}

fn is_whole(target: &Path, size: u64) -> bool {
    target.metadata().is_ok_and(|about| about.len() == size)
}

/// Bytes of the file that need not be fetched.
fn present(target: &Path, size: u64) -> u64 {
    let whole = target.metadata().map(|about| about.len());
    let part = || part_path(target).metadata().map(|about| about.len());
    whole.or_else(|_| part()).unwrap_or(0).min(size)
}

/// One pull of a file at a time, also among processes. The others see how far it is, and find it done.
fn wait_for_turn(
    store: &Store,
    reference: &Reference,
    place: &Place,
    cancel: &CancelToken,
    report: &mut dyn FnMut(Status<'_>),
) -> Result<File, Error> {
    let first = place
        .files
        .first()
        .map(|(remote, _)| remote.path.as_str())
        .unwrap_or_default();
    let lock = store.lock_file(&format!("pull {} {first}", reference.repository()))?;
    let mut waiting = false;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(cannot("lock", store.folder())(error).into()),
        }
        check(cancel)?;
        if !std::mem::replace(&mut waiting, true) {
            report(Status::Waiting);
        }
        if let Some((remote, target)) = place
            .files
            .iter()
            .find(|(remote, target)| !is_whole(target, remote.size))
        {
            report(Status::Transfer {
                file: &remote.path,
                digest: remote.sha256.as_deref().unwrap_or_default(),
                total: remote.size,
                completed: present(target, remote.size),
            });
        }
        std::thread::sleep(TURN);
    }
}

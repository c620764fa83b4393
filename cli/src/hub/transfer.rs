//! One file: what is missing of it is fetched, and it gets its name when its SHA-256 is right.

use super::address::escaped;
use super::http::Hub;
use super::patience::{Trouble, check};
use super::reply::refused;
use super::{Error, Reference, RemoteFile, Status};
use crate::store::{cannot, cannot_write, hex, sync_dir};
use llama_turboquant::CancelToken;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use ureq::http::header;

/// Between two words about the progress.
const PACE: Duration = Duration::from_millis(100);

/// Where the file is kept until it is whole.
pub(super) fn part_path(target: &Path) -> PathBuf {
    with_suffix(target, ".part")
}

/// Beside it: the hub's tag of the version it is a part of.
pub(super) fn etag_path(target: &Path) -> PathBuf {
    with_suffix(target, ".etag")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Fetches `remote` to `target`.
pub(super) fn fetch(
    hub: &Hub,
    reference: &Reference,
    remote: &RemoteFile,
    target: &Path,
    cancel: &CancelToken,
    report: &mut dyn FnMut(Status<'_>),
) -> Result<(), Error> {
    let expected = remote.sha256.as_deref().unwrap_or_default();
    let url = format!(
        "{}/{}/resolve/main/{}",
        hub.url(),
        reference.repository(),
        escaped(&remote.path)
    );
    let mut part = Part::open(target, remote.size, cancel)?;
    let mut resumed = part.done > 0;
    let mut failures = 0;
    loop {
        if part.done == remote.size {
            let got = part.digest();
            if got == expected {
                return part.finish(target);
            }
            if !resumed {
                part.discard()?;
                return Err(Error::Checksum {
                    file: remote.path.clone(),
                    expected: expected.to_owned(),
                    got,
                });
            }
            // the older bytes may be the wrong ones
            tracing::warn!(
                "{}: the resumed download has a wrong SHA-256; starting anew",
                remote.path
            );
            part.restart()?;
            resumed = false;
        }
        let before = part.done;
        let mut attempt = Attempt {
            hub,
            url: &url,
            remote,
            cancel,
            report: &mut *report,
        };
        let (reason, after) = match attempt.run(&mut part) {
            Ok(()) if part.done == remote.size => continue,
            Ok(()) => (
                format!("the transfer ended after {} of {} bytes", part.done, remote.size),
                None,
            ),
            Err(Trouble::Passing { reason, after }) => (reason, after),
            Err(Trouble::Final(error)) => {
                part.keep()?;
                return Err(error);
            }
        };
        failures = if part.done > before { 1 } else { failures + 1 };
        if failures >= hub.patience().attempts {
            part.keep()?;
            return Err(Error::Connection {
                url,
                reason,
                attempts: failures,
            });
        }
        report(Status::Retrying { reason: &reason });
        hub.patience().wait(failures, after, cancel)?;
    }
}

struct Attempt<'a> {
    hub: &'a Hub,
    url: &'a str,
    remote: &'a RemoteFile,
    cancel: &'a CancelToken,
    report: &'a mut dyn FnMut(Status<'_>),
}

impl Attempt<'_> {
    /// One request for what is missing.
    fn run(&mut self, part: &mut Part) -> Result<(), Trouble> {
        // a compressed answer would have other offsets
        let mut headers = vec![(header::ACCEPT_ENCODING, "identity".to_owned())];
        if part.done > 0 {
            headers.push((header::RANGE, format!("bytes={}-", part.done)));
            // a weak tag says "much the same", which is not enough to continue
            if let Some(etag) = part.etag.clone().filter(|etag| !etag.starts_with("W/")) {
                headers.push((header::IF_RANGE, etag));
            }
        }
        let mut reply = self.hub.get(self.url, headers, self.cancel)?;
        let etag = reply.header(header::ETAG).map(str::to_owned);
        match reply.status {
            200 => {
                part.restart()?;
                part.set_etag(etag)?;
                let length = reply.header(header::CONTENT_LENGTH).and_then(|text| text.parse().ok());
                if length.is_some_and(|length: u64| length != self.remote.size) {
                    return Err(self
                        .answer("the file has another size than the hub's listing says; pull again")
                        .into());
                }
            }
            206 if part.done > 0 => {
                let range = reply.header(header::CONTENT_RANGE).unwrap_or_default();
                let expected = format!("bytes {}-{}/{}", part.done, self.remote.size - 1, self.remote.size);
                if range != expected || (etag.is_some() && part.etag.is_some() && etag != part.etag) {
                    part.restart()?;
                    return Err(changed());
                }
            }
            416 => {
                part.restart()?;
                return Err(changed());
            }
            _ => return Err(refused(self.url, &reply)),
        }
        self.say(part);
        let mut said = Instant::now();
        while let Some(bytes) = reply.next(self.cancel)? {
            if part.done + bytes.len() as u64 > self.remote.size {
                part.restart()?;
                return Err(self
                    .answer("more bytes come than the hub's listing says; pull again")
                    .into());
            }
            part.append(&bytes, self.remote.size)?;
            if said.elapsed() >= PACE {
                self.say(part);
                said = Instant::now();
            }
        }
        self.say(part);
        Ok(())
    }

    fn say(&mut self, part: &Part) {
        (self.report)(Status::Transfer {
            file: &self.remote.path,
            digest: self.remote.sha256.as_deref().unwrap_or_default(),
            total: self.remote.size,
            completed: part.done,
        });
    }

    fn answer(&self, reason: &str) -> Error {
        Error::Answer {
            url: self.url.to_owned(),
            reason: reason.to_owned(),
        }
    }
}

fn changed() -> Trouble {
    Trouble::Passing {
        reason: "the file on the hub is not the one that was begun; starting anew".into(),
        after: None,
    }
}

/// The beginning of a file, on disk and as a hash.
struct Part {
    file: File,
    path: PathBuf,
    etag_path: PathBuf,
    etag: Option<String>,
    done: u64,
    hash: Sha256,
}

impl Part {
    /// What an earlier download left, read once for its hash.
    fn open(target: &Path, size: u64, cancel: &CancelToken) -> Result<Self, Error> {
        let (path, etag_path) = (part_path(target), etag_path(target));
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(cannot("write", &path))?;
        let mut hash = Sha256::new();
        let mut done = 0;
        let mut piece = vec![0; 1 << 20];
        loop {
            check(cancel)?;
            let count = file.read(&mut piece).map_err(cannot("read", &path))?;
            if count == 0 {
                break;
            }
            hash.update(&piece[..count]);
            done += count as u64;
        }
        let etag = std::fs::read_to_string(&etag_path).ok();
        let mut part = Self {
            file,
            path,
            etag_path,
            // what a torn write left must not break the request
            etag: etag.filter(|etag| etag.bytes().all(|byte| (0x20..0x7f).contains(&byte))),
            done,
            hash,
        };
        if part.done > size {
            part.restart()?;
        }
        Ok(part)
    }

    fn append(&mut self, bytes: &[u8], size: u64) -> Result<(), Error> {
        if let Err(error) = self.file.write_all(bytes) {
            // what was written of these bytes is no part of the hash
            let _ = self.file.set_len(self.done); // if not, the next attempt finds out by the SHA-256
            return Err(cannot_write(&self.path, size - self.done)(error).into());
        }
        self.hash.update(bytes);
        self.done += bytes.len() as u64;
        Ok(())
    }

    fn restart(&mut self) -> Result<(), Error> {
        use std::io::Seek;
        self.file
            .set_len(0)
            .and_then(|()| self.file.rewind())
            .map_err(cannot("empty", &self.path))?;
        self.hash = Sha256::new();
        self.done = 0;
        self.set_etag(None)
    }

    fn set_etag(&mut self, etag: Option<String>) -> Result<(), Error> {
        self.etag = etag;
        match &self.etag {
            Some(etag) => std::fs::write(&self.etag_path, etag).map_err(cannot("write", &self.etag_path))?,
            None => remove(&self.etag_path)?,
        }
        Ok(())
    }

    fn digest(&self) -> String {
        hex(self.hash.clone())
    }

    /// For the next attempt, in this process or another.
    fn keep(&self) -> Result<(), Error> {
        Ok(self.file.sync_all().map_err(cannot("write", &self.path))?)
    }

    fn discard(self) -> Result<(), Error> {
        remove(&self.path)?;
        remove(&self.etag_path)
    }

    fn finish(self, target: &Path) -> Result<(), Error> {
        self.file.sync_all().map_err(cannot("write", &self.path))?;
        std::fs::rename(&self.path, target).map_err(cannot("rename", &self.path))?;
        remove(&self.etag_path)?;
        if let Some(dir) = target.parent() {
            sync_dir(dir).map_err(cannot("write", dir))?;
        }
        Ok(())
    }
}

/// Removes a file that may be gone already.
pub(super) fn remove(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(cannot("delete", path)(error).into()),
        _ => Ok(()),
    }
}

//! A slot in a file: its tokens, its checkpoints, and the state of its sequence with the header that says what it is.
//!
//! ```text
//! "TQSLOT\r\n"  version u32  tokens u32  checksum u64  token i32 ...
//! checkpoints u32  (tokens u32  bytes u64) ...  what Context::save_checkpoint writes ...
//! what Context::save_seq writes
//! ```
//! Numbers are little-endian. The checksum is of all that follows it. Version 1 has no line of checkpoints.

use super::checkpoints::{Checkpoint, Checkpoints};
use crate::{Error, Result, Token};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const MAGIC: &[u8; 8] = b"TQSLOT\r\n";
const VERSION: u32 = 2;
/// The version before checkpoints, which is read as well.
const WITHOUT_CHECKPOINTS: u32 = 1;
const HEADER: usize = 24;

/// What a slot holds, outside of it.
#[derive(Debug)]
pub(super) struct SavedSlot {
    /// By position.
    pub(super) tokens: Vec<Token>,
    /// Places within them.
    pub(super) checkpoints: Checkpoints,
    /// As [`Context::save_seq`](crate::Context::save_seq) wrote it.
    pub(super) state: Vec<u8>,
}

/// What a file may hold at most, so that a false one costs no memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) n_ctx: usize,
    pub(super) n_vocab: u32,
    /// Bytes of a state.
    pub(super) state: u64,
    /// Checkpoints, each no larger than a state.
    pub(super) checkpoints: usize,
}

impl SavedSlot {
    /// Writes a file, whole or not at all; returns its bytes.
    pub(super) fn write(&self, path: &Path) -> Result<u64> {
        let tokens: Vec<u8> = self.tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
        let mut table = (self.checkpoints.len() as u32).to_le_bytes().to_vec();
        for checkpoint in self.checkpoints.iter() {
            table.extend((checkpoint.n as u32).to_le_bytes());
            table.extend((checkpoint.state.len() as u64).to_le_bytes());
        }
        let mut rest = vec![&table[..]];
        rest.extend(self.checkpoints.iter().map(|checkpoint| &checkpoint.state[..]));
        rest.push(&self.state);

        let mut header = Vec::with_capacity(HEADER);
        header.extend(MAGIC);
        header.extend(VERSION.to_le_bytes());
        header.extend((self.tokens.len() as u32).to_le_bytes());
        header.extend(checksum(&tokens, &rest).to_le_bytes());

        let parts: Vec<&[u8]> = [&header[..], &tokens].into_iter().chain(rest).collect();
        let bytes = parts.iter().map(|part| part.len() as u64).sum();
        let write = || -> std::io::Result<()> {
            let (mut file, unfinished) = Unfinished::create(path)?;
            for part in &parts {
                file.write_all(part)?;
            }
            file.sync_all()?;
            drop(file);
            unfinished.rename_to(path)
        };
        write().map_err(|error| match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => Error::DiskFull {
                path: path.to_owned(),
                need: bytes,
                source: error,
            },
            _ => failed("write", path, error),
        })?;
        Ok(bytes)
    }

    /// Reads a file; returns its bytes as well.
    pub(super) fn read(path: &Path, limits: Limits) -> Result<(Self, u64)> {
        let named = |error| failed("read", path, error);
        // not opened before it is known to be a file: a pipe would wait, a link may lead anywhere
        let found = std::fs::symlink_metadata(path).map_err(named)?;
        if !found.is_file() {
            return Err(Error::Invalid("the saved slot is no regular file".into()));
        }
        let states = limits.state.saturating_mul(1 + limits.checkpoints as u64);
        let most = (HEADER as u64 + 4 * limits.n_ctx as u64).saturating_add(states);
        if found.len() > most {
            return Err(Error::Invalid(format!(
                "the saved slot has {} bytes, a slot of this context has at most {most}",
                found.len()
            )));
        }
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(named)?;
        file.take(most).read_to_end(&mut bytes).map_err(named)?;
        let saved = Self::parse(&bytes, limits)
            .map_err(|reason| Error::Invalid(format!("the saved slot cannot be restored: {reason}")))?;
        Ok((saved, bytes.len() as u64))
    }

    fn parse(bytes: &[u8], limits: Limits) -> Result<Self, String> {
        let Some((header, rest)) = bytes.split_at_checked(HEADER) else {
            return Err("it is cut short inside its header".into());
        };
        let (magic, numbers) = header.split_at(8);
        if magic != MAGIC {
            return Err("it is no saved slot, its signature is missing".into());
        }
        let word = |at: usize| u32::from_le_bytes([numbers[at], numbers[at + 1], numbers[at + 2], numbers[at + 3]]);
        let (version, n_tokens) = (word(0), word(4) as usize);
        let expected = u64::from(word(8)) | u64::from(word(12)) << 32;
        if ![WITHOUT_CHECKPOINTS, VERSION].contains(&version) {
            return Err(format!(
                "it has version {version}, this program reads {WITHOUT_CHECKPOINTS} and {VERSION}"
            ));
        }
        if n_tokens > limits.n_ctx {
            return Err(format!(
                "it has {n_tokens} tokens, a slot here takes {}; use a larger context",
                limits.n_ctx
            ));
        }
        let Some((tokens, rest)) = rest.split_at_checked(4 * n_tokens) else {
            return Err(format!("it is cut short inside its {n_tokens} tokens"));
        };
        if checksum(tokens, &[rest]) != expected {
            return Err("it is damaged or cut short, its checksum does not fit".into());
        }
        let tokens: Vec<Token> = tokens
            .chunks_exact(4)
            .map(|b| Token::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        if let Some(token) = tokens.iter().find(|&&t| t < 0 || t.unsigned_abs() >= limits.n_vocab) {
            return Err(format!(
                "it has token {token}, the vocabulary ends at {}",
                limits.n_vocab
            ));
        }
        let (checkpoints, state) = match version {
            WITHOUT_CHECKPOINTS => (Checkpoints::default(), rest),
            _ => parse_checkpoints(rest, n_tokens)?,
        };
        Ok(Self {
            tokens,
            checkpoints,
            state: state.to_vec(),
        })
    }
}

/// The checkpoints that `rest` begins with, of `n_tokens` tokens, and what follows them.
fn parse_checkpoints(rest: &[u8], n_tokens: usize) -> Result<(Checkpoints, &[u8]), String> {
    let cut = || "it is cut short inside its checkpoints".to_owned();
    let (count, rest) = rest.split_first_chunk().ok_or_else(cut)?;
    let count = u32::from_le_bytes(*count) as usize;
    let (table, mut rest) = count
        .checked_mul(12)
        .and_then(|len| rest.split_at_checked(len))
        .ok_or_else(cut)?;
    let mut checkpoints: Vec<Checkpoint> = Vec::new();
    for row in table.chunks_exact(12) {
        let (n, len) = row.split_first_chunk().ok_or_else(cut)?;
        let n = u32::from_le_bytes(*n) as usize;
        let len = len.first_chunk().map(|len| u64::from_le_bytes(*len)).ok_or_else(cut)?;
        let before = checkpoints.last().map_or(0, |checkpoint| checkpoint.n);
        if n <= before || n > n_tokens {
            return Err(format!(
                "it has a checkpoint at token {n} of {n_tokens}, behind one at {before}"
            ));
        }
        let (state, behind) = usize::try_from(len)
            .ok()
            .and_then(|len| rest.split_at_checked(len))
            .ok_or_else(cut)?;
        checkpoints.push(Checkpoint { n, state: state.into() });
        rest = behind;
    }
    Ok((checkpoints.into_iter().collect(), rest))
}

fn failed(what: &str, path: &Path, error: std::io::Error) -> Error {
    let kind = error.kind();
    Error::Io(std::io::Error::new(
        kind,
        format!("cannot {what} {}: {error}", path.display()),
    ))
}

/// FNV-1a over words of 8 bytes: finds damage, not intent, at the speed of memory. The parts of `rest` count as one.
fn checksum(tokens: &[u8], rest: &[&[u8]]) -> u64 {
    let mut sum = Checksum::default();
    sum.add(tokens);
    sum.end_part();
    for part in rest {
        sum.add(part);
    }
    sum.end_part();
    sum.value
}

struct Checksum {
    value: u64,
    /// The last bytes, fewer than a word of them.
    pending: [u8; 8],
    len: usize,
}

impl Default for Checksum {
    fn default() -> Self {
        Self {
            value: 0xcbf2_9ce4_8422_2325,
            pending: [0; 8],
            len: 0,
        }
    }
}

impl Checksum {
    fn word(&mut self, word: u64) {
        self.value = (self.value ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    fn add(&mut self, mut bytes: &[u8]) {
        let filled = self.len % 8;
        if filled > 0 {
            let (head, rest) = bytes.split_at(bytes.len().min(8 - filled));
            self.pending[filled..filled + head.len()].copy_from_slice(head);
            self.len += head.len();
            bytes = rest;
            if !self.len.is_multiple_of(8) {
                return;
            }
            self.word(u64::from_le_bytes(self.pending));
        }
        let (words, last) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        self.pending = [0; 8];
        self.pending[..last.len()].copy_from_slice(last);
        self.len += bytes.len();
    }

    /// The last word is filled up with zeros; the length tells it from one that has them.
    fn end_part(&mut self) {
        self.word(u64::from_le_bytes(self.pending));
        self.word(self.len as u64);
        (self.pending, self.len) = ([0; 8], 0);
    }
}

/// A file beside the one that it will be. Dropped before it is renamed, it is removed.
struct Unfinished(PathBuf);

impl Unfinished {
    fn create(path: &Path) -> std::io::Result<(File, Self)> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{}-{number}.tmp", std::process::id()));
        let temporary = path.with_file_name(name);
        path.parent().into_iter().for_each(sweep);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600); // what people wrote is in it
        let file = options.open(&temporary)?;
        // for others who sweep; where files cannot be locked, they sweep nothing
        let _ = file.lock();
        Ok((file, Self(temporary)))
    }

    fn rename_to(self, path: &Path) -> std::io::Result<()> {
        std::fs::rename(&self.0, path)?;
        // the name is on disk when its folder is; not every system lets a folder be opened
        if let Some(folder) = path.parent()
            && let Ok(folder) = File::open(folder)
        {
            let _ = folder.sync_all();
        }
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0); // it has been renamed, or is of no use
    }
}

/// Files that were written to a shorter time ago may be about to be locked by whoever writes them.
const SETTLED: Duration = Duration::from_secs(60);

/// Removes unfinished files that a killed process left: old enough, and locked by no process.
fn sweep(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') && name.ends_with(".tmp") && is_abandoned(&entry.path()) {
            let _ = std::fs::remove_file(entry.path()); // it is in nobody's way
        }
    }
}

fn is_abandoned(path: &Path) -> bool {
    let is_file = path.symlink_metadata().is_ok_and(|about| about.is_file());
    let Some(file) = is_file.then(|| File::open(path).ok()).flatten() else {
        return false;
    };
    let modified = file.metadata().and_then(|about| about.modified()).ok();
    let age = modified.and_then(|modified| modified.elapsed().ok());
    age.is_some_and(|age| age >= SETTLED) && file.try_lock().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_goes_with_the_next_save_and_what_another_writes_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let old = std::time::SystemTime::now() - 2 * SETTLED;
        let left = [".a.bin.1-0.tmp", ".b.bin.1-0.tmp"].map(|name| {
            let file = File::create(folder.path().join(name)).expect("a file");
            file.set_modified(old).expect("its time");
            file
        });
        left[1].lock().expect("a lock");
        let slot = SavedSlot {
            tokens: vec![1, 2, 3],
            checkpoints: Checkpoints::default(),
            state: vec![7; 100],
        };
        slot.write(&folder.path().join("a.bin")).expect("written");
        let mut names: Vec<_> = std::fs::read_dir(folder.path())
            .expect("the folder")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        names.sort();
        assert_eq!(names, [".b.bin.1-0.tmp", "a.bin"]);
    }
}

//! The model inside the program, for whoever has none yet.

use crate::store::{Entry, sweep};
use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

const MODEL: &[u8] = include_bytes!("../../models/tiny-q8_0.gguf");

/// Name under which clients see it.
pub const NAME: &str = "turbotiny";

/// What it is, and what to do instead.
pub const GREETING: &str = "\
Using the embedded model TurboTiny (7.7M parameters, trained for this project). It answers questions about this program,
makes simple tool calls and finds facts in its context; it is not a general assistant.
To load a real one: -m MODEL.gguf (any GGUF file that llama.cpp reads; huggingface.co has thousands).";

/// The embedded model among models with names.
pub fn entry() -> Entry {
    Entry {
        name: NAME.into(),
        file: None,
        size: MODEL.len() as u64,
        // of the program, near enough: clients want a date
        modified: std::env::current_exe()
            .and_then(|path| path.metadata()?.modified())
            .unwrap_or(std::time::SystemTime::UNIX_EPOCH),
        sha256: None,
        parent: None,
        system: None,
        template: None,
        parameters: serde_json::Map::new(),
        license: None,
    }
}

/// Where it is unpacked: the user's cache directory.
pub fn folder() -> PathBuf {
    directories::ProjectDirs::from("", "", "llama-turboquant").map_or_else(
        || std::env::temp_dir().join("llama-turboquant"),
        |dirs| dirs.cache_dir().to_owned(),
    )
}

/// The embedded model as a file: the engine maps files. Checked each time.
///
/// # Errors
/// If no directory can be written.
pub fn path() -> Result<PathBuf> {
    let dir = folder();
    let path = dir.join(concat!("turbotiny-", env!("CARGO_PKG_VERSION"), ".gguf"));
    if holds_the_model(&path).unwrap_or(false) {
        return Ok(path);
    }
    let attempt = || -> std::io::Result<()> {
        std::fs::create_dir_all(&dir)?;
        sweep(&dir);
        // Renamed when whole: nobody, in this process or another, ever maps half a model.
        let mut file = tempfile::NamedTempFile::new_in(&dir)?;
        let _ = file.as_file().lock(); // for others who sweep
        file.write_all(MODEL)?;
        file.as_file().sync_all()?;
        file.persist(&path)?;
        Ok(())
    };
    attempt().with_context(|| {
        format!(
            "cannot unpack the embedded model to {}; name a model with -m",
            path.display()
        )
    })?;
    Ok(path)
}

/// Piece by piece: a block as large as the file would stay with the C library and count as occupied memory.
fn holds_the_model(path: &Path) -> std::io::Result<bool> {
    let mut file = std::fs::File::open(path)?;
    if file.metadata()?.len() != MODEL.len() as u64 {
        return Ok(false);
    }
    let mut piece = vec![0; 64 << 10];
    for expected in MODEL.chunks(piece.len()) {
        let present = &mut piece[..expected.len()];
        file.read_exact(present)?;
        if present != expected {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_unchanged_model_counts_as_present() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.gguf");
        let holds = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            holds_the_model(&path).unwrap()
        };
        assert!(holds(MODEL));
        assert!(!holds(&MODEL[..MODEL.len() - 1]));
        let mut changed = MODEL.to_vec();
        *changed.last_mut().unwrap() ^= 1;
        assert!(!holds(&changed));
        assert!(holds_the_model(&dir.path().join("none")).is_err());
    }
}

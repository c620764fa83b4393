//! The model inside the program, for whoever has none yet.

use anyhow::{Context, Result};
use std::io::Write;
use std::path::PathBuf;

const MODEL: &[u8] = include_bytes!("../../models/tiny-q8_0.gguf");

/// Name under which clients see it.
pub const NAME: &str = "turbotiny";

/// What it is, and what to do instead.
pub const GREETING: &str = "\
Using the embedded model TurboTiny (7.7M parameters, trained for this project). It answers questions about this program,
makes simple tool calls and finds facts in its context; it is not a general assistant.
To load a real one: -m MODEL.gguf (any GGUF file that llama.cpp reads; huggingface.co has thousands).";

/// The embedded model as a file: the engine maps files. Kept in the user's cache directory and checked each time.
///
/// # Errors
/// If no directory can be written.
pub fn path() -> Result<PathBuf> {
    let dir = directories::ProjectDirs::from("", "", "llama-turboquant").map_or_else(
        || std::env::temp_dir().join("llama-turboquant"),
        |dirs| dirs.cache_dir().to_owned(),
    );
    let path = dir.join(concat!("turbotiny-", env!("CARGO_PKG_VERSION"), ".gguf"));
    if std::fs::read(&path).is_ok_and(|present| present == MODEL) {
        return Ok(path);
    }
    let attempt = || -> std::io::Result<()> {
        std::fs::create_dir_all(&dir)?;
        // Renamed when whole: nobody, in this process or another, ever maps half a model.
        let mut file = tempfile::NamedTempFile::new_in(&dir)?;
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

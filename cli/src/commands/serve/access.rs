//! Options about who may call, validated.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::args::serve::AccessArgs;
use crate::commands::serve::guard::{ApiKeys, Origins};

/// The keys of the command line and of the key file.
///
/// # Errors
/// A file that cannot be read or holds no key.
pub fn api_keys(args: &AccessArgs) -> Result<ApiKeys> {
    let mut keys = args.api_key.clone();
    if let Some(file) = &args.api_key_file {
        keys.extend(key_file(file)?);
    }
    if !args.api_key.is_empty() && keys.iter().all(|key| key.trim().is_empty()) {
        // an empty variable in a script must not open the server
        bail!("--api-key is empty; leave it out to serve without a key");
    }
    Ok(ApiKeys::new(keys))
}

fn key_file(path: &Path) -> Result<Vec<String>> {
    let name = path.display();
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read the keys in {name} (--api-key-file)"))?;
    let keys: Vec<String> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect();
    if keys.is_empty() {
        bail!("{name} holds no key (--api-key-file): one in a line, lines that begin with # are comments");
    }
    if readable_by_all(path) {
        tracing::warn!("everybody on this machine can read the keys in {name}; `chmod 600 {name}` changes that");
    }
    Ok(keys)
}

#[cfg(unix)]
fn readable_by_all(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn readable_by_all(_path: &Path) -> bool {
    false // who may read it is in lists that the standard library does not show
}

/// The web pages that may call.
///
/// # Errors
/// What is no origin.
pub fn origins(args: &AccessArgs) -> Result<Origins> {
    let mut origins = Origins::default();
    for origin in args
        .cors_origins
        .iter()
        .map(|origin| origin.trim())
        .filter(|origin| !origin.is_empty())
    {
        if origin == "*" {
            origins.any = true;
        } else if origin == "localhost" || origin.starts_with("localhost:") {
            // llama-server's word for pages on this machine, which may call anyway
        } else if origin.matches('*').count() > 1 {
            bail!("--cors-origins {origin}: one * in each at most");
        } else if origin.contains("://") {
            origins.extra.push(origin.to_owned());
        } else {
            // Ollama takes names without a scheme too
            origins
                .extra
                .extend(["http", "https"].map(|scheme| format!("{scheme}://{origin}")));
        }
    }
    Ok(origins)
}

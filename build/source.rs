//! Finds the pristine llama.cpp: a checkout the user names, or the crate that `vendor/` pins.

use super::{Result, config::Config};
use std::path::PathBuf;
use std::process::Command;

/// The package in `vendor/Cargo.toml` that carries the sources.
const CARRIER: &str = "llama-cpp-sys-4";

pub struct Source {
    pub dir: PathBuf,
    /// What the engine was made from, for the stamp and for `turboquant --version`.
    pub label: String,
}

pub fn locate(config: &Config) -> Result<Source> {
    if let Some(dir) = &config.llama_cpp_dir {
        if !dir.join("src/llama.cpp").is_file() {
            return Err(format!(
                "LLAMA_CPP_DIR={}: not a llama.cpp source tree (no src/llama.cpp)",
                dir.display()
            ));
        }
        return Ok(Source {
            dir: dir.clone(),
            label: format!("checkout {}", dir.display()),
        });
    }
    // `cargo metadata --locked` downloads what is missing and checks its SHA-256; it builds nothing.
    let manifest = config.path("vendor/Cargo.toml");
    let mut command = Command::new(&config.cargo);
    command
        .args(["metadata", "--locked", "--format-version", "1", "--manifest-path"])
        .arg(&manifest);
    let output = command.output().map_err(|e| format!("running {command:?}: {e}"))?;
    if !output.status.success() {
        return Err(format!(
            "{command:?} failed ({}):\n{}\nThe llama.cpp sources come from crates.io on the first build. Offline? Run \
             `cargo fetch --manifest-path vendor/Cargo.toml` once while online, or set LLAMA_CPP_DIR to a checkout.",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        ));
    }
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).map_err(|e| format!("output of {command:?}: {e}"))?;
    let carrier = metadata["packages"]
        .as_array()
        .and_then(|packages| packages.iter().find(|p| p["name"] == CARRIER))
        .ok_or_else(|| format!("{}: does not depend on {CARRIER}", manifest.display()))?;
    let manifest_path = PathBuf::from(carrier["manifest_path"].as_str().unwrap_or_default());
    let dir = manifest_path.with_file_name("llama.cpp");
    if !dir.join("src/llama.cpp").is_file() {
        return Err(format!("{}: the crate carries no llama.cpp sources", dir.display()));
    }
    let version = carrier["version"].as_str().unwrap_or("?");
    Ok(Source {
        dir,
        label: format!("{CARRIER} {version}"),
    })
}

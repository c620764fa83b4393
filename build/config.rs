//! All facts the build depends on, read once. No other file reads the environment.

use super::{Result, sanitize::Sanitizer};
use std::env;
use std::path::{Path, PathBuf};

pub struct Config {
    /// The package root (where `build.rs` lies).
    pub root: PathBuf,
    pub out_dir: PathBuf,
    /// `aarch64-apple-darwin`, `x86_64-unknown-linux-gnu`, ...
    pub target: String,
    pub target_os: String,
    pub target_arch: String,
    pub target_vendor: String,
    pub cross: bool,
    pub jobs: String,
    pub cargo: PathBuf,
    /// Features of the package that are switched on, by name.
    pub features: Vec<&'static str>,
    /// `LLAMA_CPP_DIR`: a llama.cpp checkout to use instead of the pinned crate.
    pub llama_cpp_dir: Option<PathBuf>,
    /// `TURBOQUANT_ENGINE_DIR`: an engine built earlier; nothing is compiled.
    pub prebuilt_engine: Option<PathBuf>,
    /// `TURBOQUANT_SANITIZE`: an instrumented engine, for scripts/sanitize.sh.
    pub sanitizer: Option<Sanitizer>,
    /// `MACOSX_DEPLOYMENT_TARGET`, for a Mac: the oldest macOS that the engine must start on. In a checkout
    /// `.cargo/config.toml` sets it, for rustc's linking as well; unset, compilers build for the machine at hand.
    pub deployment_target: Option<String>,
    pub docs_rs: bool,
    /// Compiled for Miri, which interprets Rust and links nothing.
    pub interpreted: bool,
}

/// The features of `Cargo.toml`; each changes how the engine is compiled.
const FEATURES: [(&str, &str); 4] = [
    ("native", "CARGO_FEATURE_NATIVE"),
    ("cuda", "CARGO_FEATURE_CUDA"),
    ("vulkan", "CARGO_FEATURE_VULKAN"),
    ("rpc", "CARGO_FEATURE_RPC"),
];

impl Config {
    pub fn read() -> Result<Self> {
        let root = PathBuf::from(required("CARGO_MANIFEST_DIR")?);
        for input in ["build", "build.rs", "ffi", "kernels", "patches", "vendor/Cargo.lock"] {
            println!("cargo::rerun-if-changed={}", root.join(input).display());
        }
        let mut config = Self {
            out_dir: PathBuf::from(required("OUT_DIR")?),
            target: required("TARGET")?,
            target_os: required("CARGO_CFG_TARGET_OS")?,
            target_arch: required("CARGO_CFG_TARGET_ARCH")?,
            target_vendor: env::var("CARGO_CFG_TARGET_VENDOR").unwrap_or_default(),
            cross: required("TARGET")? != required("HOST")?,
            jobs: env::var("NUM_JOBS").unwrap_or_else(|_| "2".into()),
            cargo: PathBuf::from(env::var_os("CARGO").unwrap_or_else(|| "cargo".into())),
            features: FEATURES
                .iter()
                .filter(|(_, variable)| env::var_os(variable).is_some())
                .map(|(name, _)| *name)
                .collect(),
            llama_cpp_dir: optional_dir("LLAMA_CPP_DIR")?,
            prebuilt_engine: optional_dir("TURBOQUANT_ENGINE_DIR")?,
            sanitizer: user_variable("TURBOQUANT_SANITIZE")
                .map(|value| Sanitizer::parse(&value))
                .transpose()?,
            deployment_target: None,
            docs_rs: user_variable("DOCS_RS").is_some(),
            interpreted: env::var_os("CARGO_CFG_MIRI").is_some(),
            root,
        };
        if config.target_os == "macos" {
            config.deployment_target = deployment_target()?;
        }
        if config.has("native") && config.cross {
            return Err(format!(
                "feature `native` asks for the building CPU's instructions, but the target is {}.\n\
                 Build without `--features native` for another machine.",
                config.target
            ));
        }
        Ok(config)
    }

    pub fn has(&self, feature: &str) -> bool {
        self.features.contains(&feature)
    }

    pub fn is_apple(&self) -> bool {
        self.target_vendor == "apple"
    }

    /// Where engines are kept: beside Cargo's profiles, so that debug, release, clippy and
    /// documentation builds of one checkout share one engine. Cargo marks its target directory
    /// with CACHEDIR.TAG; a layout without it keeps the engine in OUT_DIR.
    pub fn engines_dir(&self) -> PathBuf {
        self.out_dir
            .ancestors()
            .find(|dir| dir.join("CACHEDIR.TAG").is_file())
            .unwrap_or(&self.out_dir)
            .join("turboquant-engine")
    }

    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }
}

fn required(name: &str) -> Result<String> {
    env::var(name).map_err(|_| format!("{name} is not set: this script is meant to be run by Cargo"))
}

/// Reads a variable that belongs to the user, and tells Cargo that the build depends on it.
fn user_variable(name: &str) -> Option<String> {
    println!("cargo::rerun-if-env-changed={name}");
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn deployment_target() -> Result<Option<String>> {
    const NAME: &str = "MACOSX_DEPLOYMENT_TARGET";
    let Some(version) = user_variable(NAME) else {
        return Ok(None);
    };
    if version.split('.').all(|part| part.parse::<u32>().is_ok()) {
        Ok(Some(version))
    } else {
        Err(format!(
            "{NAME}={version}: no macOS version; expected for example 13.3."
        ))
    }
}

fn optional_dir(name: &str) -> Result<Option<PathBuf>> {
    let Some(value) = user_variable(name) else {
        return Ok(None);
    };
    let dir = PathBuf::from(&value);
    match dir.canonicalize() {
        Ok(dir) if dir.is_dir() => Ok(Some(dir)),
        _ => Err(format!(
            "{name}={value}: no such directory. Unset it, or name a directory that exists."
        )),
    }
}

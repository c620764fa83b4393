//! Compiles the engine with CMake, once per (target, features), shared by all Cargo profiles.

use super::{Result, backends, config::Config, sanitize::Sanitizer, source, tree};
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

/// A compiled engine: static libraries in `lib/`, and `engine.stamp` that says of what.
pub struct Engine {
    pub lib_dir: PathBuf,
    /// Library names without `lib` and `.a`, users before what they use.
    pub libraries: Vec<String>,
}

impl Engine {
    pub fn build(config: &Config) -> Result<Self> {
        let source = source::locate(config)?;
        let dir = config.engines_dir().join(key(config));
        std::fs::create_dir_all(&dir).map_err(|e| format!("creating {}: {e}", dir.display()))?;
        // Two Cargo invocations (an editor's and a person's) may arrive here together.
        let lock_path = dir.join("lock");
        let lock = std::fs::File::create(&lock_path).map_err(|e| format!("creating {}: {e}", lock_path.display()))?;
        lock.lock()
            .map_err(|e| format!("locking {}: {e}", lock_path.display()))?;

        let stamp = format!(
            "{} {} {:016x}\n",
            source.label,
            key(config),
            inputs_hash(config, &source)?
        );
        let stamp_path = dir.join("engine.stamp");
        let engine = Self::describe(config, &dir);
        if std::fs::read_to_string(&stamp_path).is_ok_and(|present| present == stamp) && engine.is_complete() {
            return Ok(engine);
        }
        tree::lay_out(config, &source, &dir.join("src"))?;
        compile(config, &dir);
        if !engine.is_complete() {
            return Err(format!(
                "CMake succeeded, but {} lacks a library of {:?}",
                dir.display(),
                engine.libraries
            ));
        }
        std::fs::write(&stamp_path, stamp).map_err(|e| format!("writing {}: {e}", stamp_path.display()))?;
        Ok(engine)
    }

    /// `TURBOQUANT_ENGINE_DIR`: trusts the directory, but not that it holds what is needed.
    pub fn open_prebuilt(config: &Config, dir: &Path) -> Result<Self> {
        let engine = Self::describe(config, dir);
        let stamp = std::fs::read_to_string(dir.join("engine.stamp")).unwrap_or_default();
        if !engine.is_complete() {
            return Err(format!(
                "TURBOQUANT_ENGINE_DIR={}: no complete engine there (expected lib/ with {}).",
                dir.display(),
                engine.libraries.join(", ")
            ));
        }
        if !stamp.contains(&format!(" {} ", key(config))) {
            return Err(format!(
                "TURBOQUANT_ENGINE_DIR={}: that engine was built as `{}`, this build needs `{}`. Use the same target and \
                 features, or unset the variable.",
                dir.display(),
                stamp.trim(),
                key(config)
            ));
        }
        println!("cargo::rerun-if-changed={}", dir.join("engine.stamp").display());
        Ok(engine)
    }

    fn describe(config: &Config, dir: &Path) -> Self {
        let mut libraries: Vec<String> = ["tq_ffi", "mtmd", "llama-common", "llama-common-base", "llama", "ggml"]
            .map(String::from)
            .into();
        libraries.extend(backends::enabled(config).map(|backend| format!("ggml-{}", backend.name)));
        libraries.extend(["ggml-cpu", "ggml-base", "cpp-httplib"].map(String::from));
        Self {
            lib_dir: dir.join("lib"),
            libraries,
        }
    }

    fn is_complete(&self) -> bool {
        self.libraries
            .iter()
            .all(|name| self.lib_dir.join(format!("lib{name}.a")).is_file())
    }
}

/// Names an engine by what makes its machine code different: target, features and instrumentation.
fn key(config: &Config) -> String {
    let mut parts = vec![config.target.as_str()];
    parts.extend(&config.features);
    parts.extend(config.sanitizer.map(Sanitizer::name));
    parts.join("+")
}

/// Everything the engine is made of, as one number: our files by content, upstream by label.
fn inputs_hash(config: &Config, source: &source::Source) -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    config.deployment_target.hash(&mut hasher);
    for part in ["build", "ffi", "kernels", "patches", "vendor/Cargo.lock"] {
        for file in tree::files_below(&config.root, Path::new(part))? {
            let path = config.path(&file);
            let content = std::fs::read(&path).map_err(|e| format!("reading {}: {e}", path.display()))?;
            (file, content).hash(&mut hasher);
        }
    }
    if config.llama_cpp_dir.is_some() {
        // A checkout can change under the same label.
        for part in ["common", "ggml", "include", "src", "tools/mtmd"] {
            for file in tree::files_below(&source.dir, Path::new(part))? {
                let meta = std::fs::metadata(source.dir.join(&file)).and_then(|m| m.modified());
                (file, meta.ok()).hash(&mut hasher);
            }
        }
    }
    Ok(hasher.finish())
}

fn compile(config: &Config, dir: &Path) {
    let mut cmake = cmake::Config::new(dir.join("src"));
    cmake
        .out_dir(dir)
        .profile("Release") // a debug engine is useless: 30 times slower, and nobody debugs it from Rust
        .build_target("tq_engine")
        .define("BUILD_SHARED_LIBS", "OFF")
        .define("CMAKE_ARCHIVE_OUTPUT_DIRECTORY", dir.join("lib"))
        .define("CMAKE_POSITION_INDEPENDENT_CODE", "ON")
        .define("LLAMA_BUILD_COMMON", "ON")
        // images; its video part would start ffmpeg
        .define("LLAMA_BUILD_MTMD", "ON")
        .define("MTMD_VIDEO", "OFF")
        .define("LLAMA_OPENSSL", "OFF")
        // ggml's own thread pool: OpenMP would add a run-time dependency for every user of the crate.
        .define("GGML_OPENMP", "OFF")
        .define("GGML_CCACHE", "OFF")
        .env("CMAKE_BUILD_PARALLEL_LEVEL", &config.jobs);
    if let Some(version) = &config.deployment_target {
        // CMake asks for the version of the SDK otherwise, and a program linked for an older macOS would not start there
        cmake.define("CMAKE_OSX_DEPLOYMENT_TARGET", version);
    }
    for off in ["APP", "EXAMPLES", "SERVER", "TESTS", "TOOLS"] {
        cmake.define(format!("LLAMA_BUILD_{off}"), "OFF");
    }
    for (option, value) in cpu_options(config) {
        cmake.define(option, value);
    }
    for backend in backends::BACKENDS {
        let on = (backend.enabled)(config);
        for (option, value) in backend.cmake {
            cmake.define(option, if on { value } else { "OFF" });
        }
    }
    if let Some(sanitizer) = config.sanitizer {
        for language in ["C", "CXX"] {
            cmake.define(format!("CMAKE_{language}_FLAGS_RELEASE"), sanitizer.flags());
        }
    }
    if which("ninja") {
        cmake.generator("Ninja");
    }
    cmake.build(); // prints the command and its output, and fails the build script by itself
}

/// The default build must run on any machine of the last ten years: x86-64-v3 (AVX2, FMA, F16C,
/// BMI2) or armv8-a. Our kernels carry newer instructions behind run-time dispatch either way;
/// upstream's matrix products use them only with `native`.
fn cpu_options(config: &Config) -> Vec<(&'static str, &'static str)> {
    if config.has("native") {
        return vec![("GGML_NATIVE", "ON")];
    }
    let mut options = vec![("GGML_NATIVE", "OFF")];
    if config.target_arch == "x86_64" {
        options.extend(
            [
                "GGML_SSE42",
                "GGML_AVX",
                "GGML_AVX2",
                "GGML_FMA",
                "GGML_F16C",
                "GGML_BMI2",
            ]
            .map(|o| (o, "ON")),
        );
    }
    options
}

fn which(program: &str) -> bool {
    std::process::Command::new(program)
        .arg("--version")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

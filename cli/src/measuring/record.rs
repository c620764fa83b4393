//! The record of a measurement: what was measured, on what, with which settings, and whether it is complete. One JSON
//! object; docs/results-format.md describes the results of each kind.

use crate::args::measure::OutputArgs;
use crate::console;
use crate::settings::EngineSettings;
use anyhow::{Context, Result, bail};
use llama_turboquant::Model;
use llama_turboquant::measure::{AttentionMeter, Environment, Noise};
use serde::{Deserialize, Serialize, Serializer};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The format's name and version.
pub const SCHEMA: &str = "llama-turboquant/1";

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Record<R, M = ModelFacts> {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The subcommand.
    pub kind: &'static str,
    /// When it began, RFC 3339, UTC.
    pub date: String,
    /// Version and commit of the program.
    pub program: Program,
    /// What was typed; files by their names.
    pub command: String,
    /// The machine and the engine.
    pub environment: Environment,
    /// The model: [`ModelFacts`], or what is known of one elsewhere.
    pub model: M,
    /// What the subcommand was told to do.
    pub settings: serde_json::Value,
    /// Everything that was asked for is there. False while it runs, and after Ctrl-C.
    pub complete: bool,
    /// How busy others kept the machine.
    pub noise: Option<Noise>,
    /// Attention over compressed caches on the CPU since it began; counted anew whenever the record is written.
    #[serde(serialize_with = "counts")]
    pub attention: AttentionMeter,
    /// What to know before trusting the numbers.
    pub warnings: Vec<String>,
    /// The numbers.
    pub results: R,
}

/// What was run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Of the package.
    pub version: String,
    /// Of the sources; `+changes` behind it: they were not all committed.
    pub commit: String,
}

/// What it was run on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFacts {
    /// Name of the file.
    pub file: String,
    /// One line: architecture, size class, weight type.
    pub description: String,
    /// Bytes of the weights.
    pub size: u64,
    /// Parameters.
    pub n_params: u64,
    /// Layers with a KV cache.
    pub n_kv_layers: usize,
    /// Tokens it was trained with.
    pub n_ctx_train: u32,
}

impl ModelFacts {
    /// Of a loaded model.
    pub fn of(model: &Model, engine: &EngineSettings) -> Self {
        let meta = model.meta();
        Self {
            file: engine.file.as_deref().map_or_else(
                || "turbotiny (embedded)".into(),
                |path| {
                    path.file_name()
                        .unwrap_or(path.as_os_str())
                        .to_string_lossy()
                        .into_owned()
                },
            ),
            description: meta.description.clone(),
            size: meta.size,
            n_params: meta.n_params,
            n_kv_layers: meta.kv_layers().count(),
            n_ctx_train: meta.n_ctx_train,
        }
    }
}

impl Program {
    /// This one.
    pub fn this() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            commit: env!("TURBOQUANT_COMMIT").into(),
        }
    }
}

impl<R: Serialize, M: Serialize> Record<R, M> {
    /// A record of `kind` that begins now.
    ///
    /// # Errors
    /// If the engine cannot tell what it is.
    pub fn new(kind: &'static str, model: M, settings: impl Serialize, results: R) -> Result<Self> {
        Ok(Self {
            schema: SCHEMA,
            kind,
            date: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            program: Program::this(),
            command: command_line(std::env::args()),
            environment: Environment::detect()?,
            model,
            settings: serde_json::to_value(settings)?,
            complete: false,
            noise: None,
            attention: AttentionMeter::start()?,
            warnings: Vec::new(),
            results,
        })
    }

    /// Adds what a noise meter saw, with a warning if it was loud.
    pub fn heard(&mut self, noise: Option<Noise>) {
        self.noise = noise;
        if let Some(noise) = noise.filter(Noise::is_loud) {
            self.warnings.push(format!(
                "other processes took {:.0} % of the processor time during this measurement; do not trust differences in \
                 speed. Close what runs beside it and measure again.",
                100.0 * noise.foreign_cpu
            ));
        }
    }
}

fn counts<S: Serializer>(meter: &AttentionMeter, serializer: S) -> Result<S::Ok, S::Error> {
    meter.counts().map_err(serde::ser::Error::custom)?.serialize(serializer)
}

/// Arguments that name files are shortened to the files' names.
fn command_line(args: impl Iterator<Item = String>) -> String {
    let short = |arg: String| match Path::new(&arg).file_name() {
        Some(name) if Path::new(&arg).is_absolute() || Path::new(&arg).exists() => name.to_string_lossy().into_owned(),
        _ => arg,
    };
    args.map(short).collect::<Vec<_>>().join(" ")
}

/// Where a record goes: opened before the first run, so that a mistake in the path costs nothing.
#[derive(Debug)]
pub struct Sink {
    json: bool,
    file: Option<PathBuf>,
}

impl Sink {
    /// Checks that the file can be written; what it held stays until there is something new.
    ///
    /// # Errors
    /// A directory that does not exist or may not be written.
    pub fn open(args: &OutputArgs) -> Result<Self> {
        if let Some(path) = &args.out {
            if path.is_dir() {
                bail!("cannot write {}: it is a directory", path.display());
            }
            drop(temporary_beside(path).with_context(|| format!("cannot write {}", path.display()))?);
        }
        Ok(Self {
            json: args.json,
            file: args.out.clone(),
        })
    }

    /// Whether standard output is for JSON.
    pub fn json(&self) -> bool {
        self.json
    }

    /// Keeps what has been measured so far.
    ///
    /// # Errors
    /// If the file cannot be written any more.
    pub fn keep<R: Serialize, M: Serialize>(&self, record: &Record<R, M>) -> Result<()> {
        let Some(path) = &self.file else { return Ok(()) };
        write_whole(path, &(text(record, &warnings(record)?)? + "\n"))
    }

    /// Keeps the record, and prints it if JSON was asked for.
    ///
    /// # Errors
    /// As [`keep`](Self::keep), and if standard output is closed.
    pub fn finish<R: Serialize, M: Serialize>(&self, record: &Record<R, M>) -> Result<()> {
        self.keep(record)?;
        let warnings = warnings(record)?;
        for warning in &warnings {
            console::say!("warning: {warning}");
        }
        if self.json {
            writeln!(std::io::stdout(), "{}", text(record, &warnings)?).context("cannot write the record")?;
        }
        Ok(())
    }
}

/// The record's warnings, and that of attention kernels that did not compute what they should have.
fn warnings<R, M>(record: &Record<R, M>) -> Result<Vec<String>> {
    let mut warnings = record.warnings.clone();
    warnings.extend(record.attention.counts()?.warning());
    Ok(warnings)
}

fn text<R: Serialize, M: Serialize>(record: &Record<R, M>, warnings: &[String]) -> Result<String> {
    let mut record = serde_json::to_value(record)?;
    record["warnings"] = serde_json::to_value(warnings)?;
    Ok(serde_json::to_string_pretty(&record)?)
}

/// Writes a file whole or not at all.
///
/// # Errors
/// If its directory cannot be written.
pub fn write_whole(path: &Path, text: &str) -> Result<()> {
    let attempt = || -> std::io::Result<()> {
        let mut file = temporary_beside(path)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    attempt().with_context(|| format!("cannot write {}", path.display()))
}

/// A file that will be renamed to `path`, with the permissions that a new file has there (temporary files are private by
/// default, and results are for others too).
fn temporary_beside(path: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666)); // less what the user's mask takes away
    }
    builder.tempfile_in(directory(path))
}

fn directory(path: &Path) -> &Path {
    path.parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_cannot_be_written_is_found_before_anything_runs() {
        let dir = tempfile::tempdir().unwrap();
        let open = |path: PathBuf| {
            Sink::open(&OutputArgs {
                json: false,
                out: Some(path),
            })
            .map(|_| ())
            .map_err(|e| format!("{e:#}"))
        };
        assert!(open(dir.path().to_owned()).unwrap_err().contains("is a directory"));
        assert!(
            open(dir.path().join("no/such/file.json"))
                .unwrap_err()
                .contains("no/such/file.json")
        );
        open(dir.path().join("file.json")).unwrap();
        assert!(
            !dir.path().join("file.json").exists(),
            "nothing is left behind by the check"
        );
    }

    #[test]
    fn files_are_named_without_their_directories() {
        let args = [
            "turboquant",
            "bench",
            "-m",
            "/home/somebody/model.gguf",
            "-p",
            "512,1024",
        ]
        .map(String::from);
        assert_eq!(
            command_line(args.into_iter()),
            "turboquant bench -m model.gguf -p 512,1024"
        );
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.json");
        write_whole(&path, "a longer text").unwrap();
        write_whole(&path, "short").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "short");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let plain = dir.path().join("plain");
            std::fs::write(&plain, "x").unwrap();
            let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode(&path), mode(&plain), "as readable as any file");
        }
    }
}

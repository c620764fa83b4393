//! Profiles: what a client has to know of a server, and what the server has to be started with, in one file.
//!
//! ```text
//! Decision -> Profile -> hermes.rs | openai.rs | modelfile.rs -> text      `turboquant profile`
//! text -> Form::of -> the same three -> Settings                          `turboquant serve --profile`
//! ```
//!
//! Every form holds the command that starts the server. Reading takes the settings from that command and holds the fields
//! that clients read against it, so that a file whose parts disagree is refused instead of half obeyed.

mod command;
mod endpoint;
mod hermes;
mod modelfile;
mod openai;
mod output;
mod section;
mod settings;

pub use command::Server;
pub use endpoint::Endpoint;
pub use output::{Outcome, write};
pub use settings::Settings;

use anyhow::{Context as _, Result, bail};
use clap::{Command, ValueEnum};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The newest form of our own fields. A newer one is refused: it may mean what this program does not know.
pub const VERSION: u32 = 1;

/// A profile has some twenty lines; what is larger is something else.
const MAX_BYTES: u64 = 1 << 20;

/// Tokens of context below which an agent cannot hold its tools, its task and its history.
pub const AGENT_CONTEXT: u32 = 8192;

/// Whose profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// Hermes agents: YAML.
    Hermes,
    /// Any client of the OpenAI API: JSON, with the environment variables that its SDKs read.
    Openai,
    /// Clients of Ollama: a Modelfile for /api/create.
    Ollama,
}

impl Form {
    /// Where it is written unless somebody says otherwise.
    pub fn default_path(self) -> &'static Path {
        Path::new(match self {
            Self::Hermes => "profiles/hermes-profile-gemma4-turboquant.yaml",
            Self::Openai => "profiles/openai-profile-turboquant.json",
            Self::Ollama => "profiles/turboquant.Modelfile",
        })
    }

    /// Where its clients look for a server.
    pub fn default_endpoint(self) -> &'static str {
        match self {
            Self::Hermes | Self::Openai => "http://127.0.0.1:8080",
            Self::Ollama => "http://127.0.0.1:11434",
        }
    }

    /// The form of a text, by its content.
    fn of(text: &str) -> Result<Self> {
        if modelfile::looks_like(text) {
            return Ok(Self::Ollama);
        }
        let has = |key: &str| {
            text.lines().any(|line| {
                let line = line.trim_start_matches([' ', '\t', '{', '"']);
                line.strip_prefix(key)
                    .is_some_and(|rest| rest.trim_start_matches(['"', ' ']).starts_with(':'))
            })
        };
        match (has("providers"), has("base_url")) {
            (true, _) => Ok(Self::Hermes),
            (false, true) => Ok(Self::Openai),
            (false, false) => bail!(
                "this is no profile: it has neither `providers` (Hermes) nor `base_url` (OpenAI), and it does not begin with FROM \
                 (Modelfile); `turboquant profile` writes all three"
            ),
        }
    }
}

/// What a profile says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Where clients find the server.
    pub endpoint: Endpoint,
    /// The model's name for clients.
    pub model: String,
    /// How the server is started.
    pub server: Server,
}

impl Profile {
    /// The file's text in this form.
    ///
    /// # Errors
    /// What the form cannot say: an agent's profile without a turbo type or with too short a context.
    pub fn text(&self, form: Form) -> Result<String> {
        match form {
            Form::Hermes => hermes::text(self),
            Form::Openai => openai::text(self),
            Form::Ollama => modelfile::text(self),
        }
    }
}

/// Reads the profile at `path` as options of `serve`.
///
/// # Errors
/// A file that cannot be read, is none of the forms, is damaged, contradicts itself or is newer than this program.
pub fn read(path: &Path, serve: &Command) -> Result<Settings> {
    let attempt = || -> Result<Settings> {
        let file = std::fs::File::open(path)?;
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_BYTES {
            bail!("it is larger than {MAX_BYTES} bytes, so it is no profile");
        }
        let text = String::from_utf8(bytes).context("it is no text")?;
        parse(&text, serve)
    };
    attempt().with_context(|| format!("--profile {}", path.display()))
}

/// As [`read`], of a text.
///
/// # Errors
/// As [`read`].
pub fn parse(text: &str, serve: &Command) -> Result<Settings> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        bail!("the file is empty");
    }
    match Form::of(text)? {
        Form::Hermes => hermes::settings(text, serve),
        Form::Openai => openai::settings(text, serve),
        Form::Ollama => modelfile::settings(text, serve),
    }
}

/// `path` as it is found from any folder.
///
/// # Errors
/// A current folder that is gone.
pub fn from_anywhere(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("cannot tell where {} is", path.display()))
}

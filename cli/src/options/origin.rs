//! Where options come from.

use super::model_overrides::ModelOverrides;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Where the value of an option comes from, below the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An environment variable.
    Variable(String),
    /// A line of the configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// The profile that was named.
    Profile(PathBuf),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => f.write_str(name),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Profile(path) => write!(f, "profile {}", path.display()),
        }
    }
}

/// Where all options come from, and what was said besides.
#[derive(Debug, Default)]
pub struct Origin {
    /// By option, those that were not typed.
    pub sources: BTreeMap<String, Source>,
    /// Flags of llama-server that ask for what is so anyway, and why it is.
    pub settled: Vec<(String, &'static str)>,
    /// Variables that are set and mean nothing here.
    pub unused: Vec<String>,
    /// What a profile says and does not get, and what its reader has to say.
    pub notes: Vec<String>,
    /// The configuration file that was read.
    pub file: Option<PathBuf>,
    /// What it says of single models.
    pub models: Vec<ModelOverrides>,
    /// All options as a configuration file.
    pub shown: Vec<String>,
}

impl Origin {
    /// Where the options come from that `text` names, as a note behind it; empty if all of them were typed.
    pub fn sources_of(&self, text: &str) -> String {
        let named = |option: &str| {
            let places = text.match_indices("--").map(|(at, dashes)| &text[at + dashes.len()..]);
            let mut rests = places.filter_map(|rest| rest.strip_prefix(option));
            rests.any(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '-'))
        };
        let given = self.sources.iter().filter(|(option, _)| named(option));
        given
            .map(|(option, source)| format!(" (--{option} is set by {source})"))
            .collect()
    }

    /// Tells the log what the user may not know.
    pub fn log(&self) {
        if let Some(file) = &self.file {
            tracing::info!("configuration file: {}", file.display());
        }
        for (option, source) in &self.sources {
            tracing::info!("--{option} is set by {source}");
        }
        for note in &self.notes {
            tracing::info!("{note}");
        }
        for (flag, so) in &self.settled {
            tracing::info!("{flag} changes nothing: {so}");
        }
        for name in &self.unused {
            tracing::warn!("{name} is set and means nothing here");
        }
    }
}

//! What is wrong here, what it means, and what to do: findings as a pure function of facts.
//!
//! [`look`] asks the machine, [`examine`] judges, `commands::doctor` prints. Each finding has a test over facts that are
//! made up.

mod checks;
pub mod facts;
pub mod look;

pub use facts::Facts;

use serde::Serialize;
use std::fmt;

/// The form of the JSON report (docs/schema/doctor.schema.json).
pub const VERSION: u32 = 1;

/// How bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing; nothing has to be done.
    Note,
    /// Something will be slower or smaller than it could be, or fail in some cases.
    Warning,
    /// Something does not work.
    Problem,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Problem => "PROBLEM",
        })
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about, stable: `build.backends`, `memory.swap`, ...
    pub id: &'static str,
    /// How bad.
    pub level: Level,
    /// What was found, numbers included.
    pub what: String,
    /// What that means for who uses this program; empty where all is well.
    pub means: String,
    /// What to do, one sentence each; none where nothing has to be done.
    #[serde(rename = "do")]
    pub remedy: Vec<String>,
}

impl Finding {
    fn ok(id: &'static str, what: impl Into<String>) -> Self {
        Self {
            id,
            level: Level::Ok,
            what: what.into(),
            means: String::new(),
            remedy: Vec::new(),
        }
    }

    fn new(id: &'static str, level: Level, what: impl Into<String>, means: impl Into<String>) -> Self {
        Self {
            level,
            means: means.into(),
            ..Self::ok(id, what)
        }
    }

    fn remedy(mut self, sentence: impl Into<String>) -> Self {
        self.remedy.push(sentence.into());
        self
    }
}

/// All findings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// [`VERSION`].
    pub version: u32,
    /// The program's version.
    pub program: String,
    /// The worst level.
    pub worst: Level,
    /// The findings, by subject.
    pub findings: Vec<Finding>,
}

impl Report {
    /// How many findings are of that level.
    pub fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }
}

/// Judges facts.
pub fn examine(facts: &Facts) -> Report {
    let findings = checks::all(facts);
    Report {
        version: VERSION,
        program: facts.build.program.clone(),
        worst: findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok),
        findings,
    }
}

//! The levels of the selector's contract.

use crate::{Error, KvType, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A level of compression, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // the names are the types'
pub enum Level {
    Turbo4,
    Turbo3,
    Turbo2,
    #[serde(rename = "q4_0")]
    Q4_0,
}

impl Level {
    /// All, best first.
    pub const ALL: [Self; 4] = [Self::Turbo4, Self::Turbo3, Self::Turbo2, Self::Q4_0];

    /// As a user types it.
    pub const fn name(self) -> &'static str {
        self.ty().name()
    }

    /// Its type.
    pub const fn ty(self) -> KvType {
        match self {
            Self::Turbo4 => KvType::Turbo4,
            Self::Turbo3 => KvType::Turbo3,
            Self::Turbo2 => KvType::Turbo2,
            Self::Q4_0 => KvType::Q4_0,
        }
    }

    /// What its quality is called.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Turbo4 => "best",
            Self::Turbo3 => "high",
            Self::Turbo2 => "balanced",
            Self::Q4_0 => "fast",
        }
    }

    /// Memory that has to stay free for it to be chosen, GB.
    pub const fn minimum_headroom_gb(self) -> f64 {
        match self {
            Self::Turbo4 => 4.0,
            Self::Turbo3 => 3.0,
            Self::Turbo2 => 2.0,
            Self::Q4_0 => 1.5,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Level {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let named = |level: &Self| level.name().eq_ignore_ascii_case(name.trim());
        Self::ALL.into_iter().find(named).ok_or_else(|| {
            let near = |level: &Self| strsim::jaro_winkler(level.name(), &name.to_lowercase());
            let nearest = Self::ALL.into_iter().max_by(|a, b| near(a).total_cmp(&near(b)));
            let hint = nearest.filter(|level| near(level) > 0.7);
            Error::Invalid(format!(
                "there is no level `{name}`{}; levels are {}",
                hint.map_or(String::new(), |level| format!(", did you mean {level}?")),
                Self::ALL.map(Self::name).join(", ")
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_the_labels_and_headrooms_of_the_contract() {
        let table = Level::ALL.map(|level| (level.name(), level.label(), level.minimum_headroom_gb()));
        assert_eq!(
            table,
            [
                ("turbo4", "best", 4.0),
                ("turbo3", "high", 3.0),
                ("turbo2", "balanced", 2.0),
                ("q4_0", "fast", 1.5)
            ]
        );
    }

    #[test]
    fn an_unknown_level_names_the_nearest_and_all() {
        let message = "turbo5".parse::<Level>().unwrap_err().to_string();
        assert!(
            message.contains("did you mean turbo") && message.contains("q4_0"),
            "{message}"
        );
        let message = "excellent".parse::<Level>().unwrap_err().to_string();
        assert!(
            !message.contains("did you mean") && message.contains("turbo4, turbo3"),
            "{message}"
        );
        assert_eq!("Turbo3".parse::<Level>().unwrap(), Level::Turbo3);
    }
}

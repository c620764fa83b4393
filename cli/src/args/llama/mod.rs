//! The flags and environment variables of llama.cpp's `llama-server`, and what they come to here.
//!
//! Each falls into one of three classes: it does what it does there (`honoured`), what it asks for is so anyway
//! (`settled`), or it cannot be served and the error says what to do instead (`refused`). A test holds the tables
//! against the list of all flags of the pinned llama.cpp.

mod honoured;
mod refused;
mod rewrite;
mod settled;

use std::sync::LazyLock;

pub use rewrite::{Rewritten, expand, unknown_option};

/// Why flags about draft models are refused.
const SPECULATIVE: &str = "speculative decoding is not served yet";

/// One flag of llama-server.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// Its names, short ones first.
    pub on: &'static [&'static str],
    /// Names that say the opposite.
    pub off: &'static [&'static str],
    /// Values it takes: 0 for a switch.
    pub values: usize,
    /// The variable that stands for it; empty: none.
    pub env: &'static str,
    /// What it comes to here.
    pub meaning: Meaning,
}

const fn flag(
    on: &'static [&'static str],
    off: &'static [&'static str],
    values: usize,
    env: &'static str,
    meaning: Meaning,
) -> Flag {
    Flag {
        on,
        off,
        values,
        env,
        meaning,
    }
}

/// What a flag comes to. Option names are ours, without dashes.
#[derive(Debug, Clone, Copy)]
pub enum Meaning {
    /// This option, with the same value.
    Ours(&'static str),
    /// This option, true or false.
    Switch(&'static str),
    /// This option, false or true.
    Inverse(&'static str),
    /// Other options, by value.
    Choice {
        /// Values and what they come to.
        ours: &'static [(&'static str, &'static str)],
        /// What to do about other values.
        instead: &'static str,
    },
    /// A switch that asks for what is so anyway.
    Already(&'static str),
    /// A switch with a negation.
    Pair {
        /// The switch.
        on: Side,
        /// Its negation.
        off: Side,
    },
    /// These values (`*`: all) ask for what is so anyway.
    Always {
        /// The values.
        values: &'static [&'static str],
        /// What is so.
        so: &'static str,
        /// What to do about other values.
        instead: &'static str,
    },
    /// Cannot be served; what to do instead.
    Never(&'static str),
}

/// One side of a switch with a negation.
#[derive(Debug, Clone, Copy)]
pub enum Side {
    /// It is so.
    So(&'static str),
    /// It cannot be.
    No(&'static str),
}

/// A flag, applied.
#[derive(Debug, PartialEq, Eq)]
pub enum Applied {
    /// Our options, each with its value if it has one.
    Options(Vec<(String, Option<String>)>),
    /// Nothing to do, because of this.
    Settled(&'static str),
}

/// All flags.
pub fn flags() -> &'static [Flag] {
    static FLAGS: LazyLock<Vec<Flag>> = LazyLock::new(|| {
        let refused = refused::REFUSED.iter().flat_map(|(why, flags)| {
            flags
                .iter()
                .map(|(on, values, env)| flag(on, &[], *values, env, Meaning::Never(why)))
        });
        honoured::HONOURED
            .iter()
            .chain(settled::SETTLED)
            .copied()
            .chain(refused)
            .collect()
    });
    &FLAGS
}

/// The flag of that name, and whether the name says the opposite.
pub fn find(name: &str) -> Option<(&'static Flag, bool)> {
    flags().iter().find_map(|flag| {
        let on = flag.on.contains(&name).then_some((flag, false));
        on.or_else(|| flag.off.contains(&name).then_some((flag, true)))
    })
}

/// The variable that stands for our option; llama.cpp's name for it.
pub fn variable(option: &str) -> Option<&'static str> {
    let flag = flags().iter().find(|flag| match flag.meaning {
        Meaning::Ours(name) | Meaning::Switch(name) | Meaning::Inverse(name) => name == option,
        _ => false,
    })?;
    Some(flag.env).filter(|env| !env.is_empty())
}

/// A yes or no as llama.cpp writes it.
pub fn truth(value: &str) -> Option<bool> {
    match value {
        "on" | "enabled" | "true" | "1" => Some(true),
        "off" | "disabled" | "false" | "0" => Some(false),
        _ => None,
    }
}

impl Flag {
    /// What the flag (or, with `negated`, its opposite) comes to.
    ///
    /// # Errors
    /// What to do instead.
    pub fn apply(&self, negated: bool, value: Option<&str>) -> Result<Applied, String> {
        let one = |name: &str, value: Option<String>| Ok(Applied::Options(vec![(name.to_owned(), value)]));
        match self.meaning {
            Meaning::Ours(name) => one(name, value.map(str::to_owned)),
            Meaning::Switch(name) => one(name, Some((!negated).to_string())),
            Meaning::Inverse(name) => one(name, Some(negated.to_string())),
            Meaning::Choice { ours, instead } => {
                let chosen = ours.iter().find(|(choice, _)| Some(*choice) == value);
                let (_, options) = chosen.ok_or(instead)?;
                let options = options.split_whitespace();
                Ok(Applied::Options(
                    options
                        .map(|name| (name.trim_start_matches('-').to_owned(), None))
                        .collect(),
                ))
            }
            Meaning::Already(so) => Ok(Applied::Settled(so)),
            Meaning::Pair { on, off } => match if negated { off } else { on } {
                Side::So(so) => Ok(Applied::Settled(so)),
                Side::No(instead) => Err(instead.to_owned()),
            },
            Meaning::Always { values, so, instead } => {
                if values.iter().any(|known| *known == "*" || Some(*known) == value) {
                    Ok(Applied::Settled(so))
                } else {
                    Err(instead.to_owned())
                }
            }
            Meaning::Never(instead) => Err(instead.to_owned()),
        }
    }

    /// As [`apply`](Self::apply), of the value of its variable or of a key in the configuration file. A switch that is
    /// turned off and has no opposite asks for nothing.
    ///
    /// # Errors
    /// What to do instead, or that the value is neither yes nor no.
    pub fn apply_value(&self, value: &str) -> Result<Option<Applied>, String> {
        if self.values > 0 {
            return self.apply(false, Some(value)).map(Some);
        }
        match truth(value) {
            Some(true) => self.apply(false, None).map(Some),
            Some(false) if self.off.is_empty() => Ok(None),
            Some(false) => self.apply(true, None).map(Some),
            None => Err(format!("`{value}` is neither true nor false")),
        }
    }
}

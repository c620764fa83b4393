//! The choice of cache, context and slots for a model on a machine: the one place where profiles and `doctor` ask for it.

use crate::embedded;
use anyhow::{Context as _, Result};
use llama_turboquant::Backend;
use llama_turboquant::choose::{self, Decision, Support, Wishes};
use llama_turboquant::machine::Machine;
use llama_turboquant::plan::Footprint;
use std::path::{Path, PathBuf};

/// A machine, and whether it is this one.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its facts.
    pub machine: Machine,
    /// Its devices can be asked what they run.
    here: bool,
}

impl Place {
    /// The machine of a facts file, or this one.
    ///
    /// # Errors
    /// A file that cannot be read or is wrong, an engine that does not start.
    pub fn new(facts: Option<&Path>) -> Result<Self> {
        Ok(match facts {
            Some(path) => Self {
                machine: Machine::read(path).context("--facts")?,
                here: false,
            },
            None => Self {
                machine: Machine::detect()?,
                here: true,
            },
        })
    }

    /// Chooses for a model here.
    ///
    /// # Errors
    /// Wishes that cannot be fulfilled, and a model that does not fit, with what would.
    pub fn decide(&self, footprint: &Footprint, wishes: &Wishes) -> Result<Decision> {
        let support = if self.here {
            Support::of(Backend::init()?, &footprint.meta)?
        } else {
            Support::unknown() // and decisions say so
        };
        Ok(choose::choose(footprint, &self.machine, &support, wishes)?)
    }
}

/// What planning has to know of the model in `file`; `None`: the embedded one.
///
/// # Errors
/// A file that is no model, an embedded model that cannot be unpacked.
pub fn footprint(file: Option<&Path>) -> Result<Footprint> {
    let path: PathBuf = file.map_or_else(embedded::path, |file| Ok(file.to_owned()))?;
    Ok(Footprint::read(path)?)
}

//! Asking this machine.

mod cpu;
mod folders;
mod gguf;
mod limits;
mod model;
mod ports;
mod power;

use super::facts::{Build, Facts, Here};
use crate::decide::Place;
use anyhow::Result;
use llama_turboquant::engine::attention::Implementation;
use llama_turboquant::machine::Machine;
use llama_turboquant::{Backend, DeviceKind, KvType};
use std::path::{Path, PathBuf};

/// What is to be looked at.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Facts about another machine.
    pub facts: Option<PathBuf>,
    /// A model file.
    pub model: Option<PathBuf>,
    /// The folder with models.
    pub models: PathBuf,
    /// The folder with saved slots.
    pub slots: Option<PathBuf>,
}

/// Looks at everything.
///
/// # Errors
/// A facts file that is wrong, an engine that does not start. What cannot be read besides is a fact of its own.
pub fn facts(request: &Request) -> Result<Facts> {
    let place = Place::new(request.facts.as_deref())?;
    let here = match request.facts {
        Some(_) => None,
        None => Some(here(request)),
    };
    let model = request.model.as_deref().map(|path| model::look(path, &place));
    Ok(Facts {
        build: build(&place.machine)?,
        machine: place.machine,
        here,
        model,
    })
}

fn build(machine: &Machine) -> Result<Build> {
    let backend = Backend::init()?;
    let attention = Implementation::all()?;
    let mut turbo = Vec::new();
    for (number, device) in backend.devices()?.into_iter().enumerate() {
        if matches!(device.kind, DeviceKind::Gpu | DeviceKind::Igpu) {
            let ty = KvType::Turbo4;
            turbo.push((device.name, backend.runs_attention(number, ty, ty, (128, 128))?));
        }
    }
    // what a device of another machine runs, this engine cannot tell
    turbo.retain(|(name, _)| machine.gpus.iter().any(|gpu| gpu.device.as_ref() == Some(name)));
    Ok(Build {
        program: env!("CARGO_PKG_VERSION").into(),
        engine: backend.describe()?,
        attention: attention.active.name().to_owned(),
        cpu_has: cpu::has(),
        turbo,
    })
}

fn here(request: &Request) -> Here {
    let mut wanted = vec![
        ("models", request.models.clone()),
        ("embedded model", folders::embedded()),
    ];
    wanted.extend(request.slots.clone().map(|path| ("slots", path)));
    Here {
        ports: vec![ports::look(8080, "OpenAI, llama-server"), ports::look(11434, "Ollama")],
        folders: wanted
            .into_iter()
            .map(|(purpose, path)| folders::look(purpose, &path))
            .collect(),
        limits: limits::look(),
        power: power::look(Path::new("/")),
    }
}

//! The LoRA adapters of a loaded model, and their scales where a request says nothing.

use super::{backend_error, saturate};
use crate::commands::serve::backend::{BackendError, LoraScale, LoraStatus};
use crate::loras::LoraFiles;
use llama_turboquant::engine::MemoryUse;
use llama_turboquant::{Error, LoraAdapter, LoraSet, Model};
use std::sync::{PoisonError, RwLock};

/// Adapters by number. They stay loaded as long as the model.
pub(super) struct Adapters {
    all: Vec<LoraAdapter>,
    /// The scale of each.
    scales: RwLock<Vec<f32>>,
}

impl Adapters {
    /// Loads adapters. Blocks.
    pub(super) fn load(files: &LoraFiles, model: &Model) -> Result<Self, Error> {
        let (all, scales) = files.load(model)?.into_iter().unzip();
        Ok(Self {
            all,
            scales: RwLock::new(scales),
        })
    }

    pub(super) fn count(&self) -> u32 {
        saturate(self.all.len())
    }

    /// Bytes they occupy, and how many of these on a GPU.
    pub(super) fn memory(&self) -> (u64, u64) {
        let infos = || self.all.iter().map(LoraAdapter::info);
        let on_cards = infos().map(|info| MemoryUse::on_cards(&info.buffers)).sum();
        (infos().map(|info| info.bytes()).sum(), on_cards)
    }

    pub(super) fn status(&self) -> Vec<LoraStatus> {
        let scales = self.scales();
        let one = |(id, (adapter, scale)): (usize, (&LoraAdapter, f32))| {
            let info = adapter.info();
            LoraStatus {
                id: saturate(id),
                path: adapter.path().to_owned(),
                name: info.name.clone(),
                task_name: info.task_name.clone(),
                prompt_prefix: info.prompt_prefix.clone(),
                scale,
            }
        };
        self.all.iter().zip(scales).enumerate().map(one).collect()
    }

    /// Sets the scales for requests from now on; adapters that are not named get 0.
    pub(super) fn scale(&self, asked: &[LoraScale]) -> Result<(), BackendError> {
        let scales = self.spread(asked)?;
        *self.scales.write().unwrap_or_else(PoisonError::into_inner) = scales;
        Ok(())
    }

    /// What a request is computed with: what it asks for, or else as the scales are now.
    pub(super) fn wanted(&self, asked: Option<&[LoraScale]>) -> Result<LoraSet, BackendError> {
        let scales = asked.map_or_else(|| Ok(self.scales()), |asked| self.spread(asked))?;
        let set: Vec<(LoraAdapter, f32)> = self.all.iter().cloned().zip(scales).collect();
        LoraSet::new(&set).map_err(backend_error)
    }

    fn scales(&self) -> Vec<f32> {
        self.scales.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The scale of every adapter. Numbers were checked against the card; the model may have been loaded again since.
    fn spread(&self, asked: &[LoraScale]) -> Result<Vec<f32>, BackendError> {
        let mut scales = vec![0.0; self.all.len()];
        for LoraScale { id, scale } in asked {
            let slot = scales
                .get_mut(*id as usize)
                .ok_or_else(|| BackendError::InvalidRequest {
                    message: format!("'lora' names the adapter {id}; the model has {}", self.all.len()),
                    param: Some("lora".into()),
                })?;
            *slot = *scale;
        }
        Ok(scales)
    }
}

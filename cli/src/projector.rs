//! The projector of a model: which one, what it takes, and loading it.

use crate::args::ProjectorArgs;
use anyhow::{Result, bail};
use llama_turboquant::vision::{Projector, ProjectorConfig, ProjectorPlan};
use llama_turboquant::{ContextConfig, Model};
use std::path::PathBuf;

/// A projector, as settings name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectorSettings {
    /// The mmproj file.
    pub file: PathBuf,
    /// How it is loaded.
    pub config: ProjectorConfig,
}

impl ProjectorSettings {
    /// What was typed; `None`: no projector.
    ///
    /// # Errors
    /// Numbers of tokens that contradict each other.
    pub fn new(args: &ProjectorArgs, threads: u32) -> Result<Option<Self>> {
        if let (Some(least), Some(most)) = (args.image_min_tokens, args.image_max_tokens)
            && least > most
        {
            bail!("--image-min-tokens {least} is more than --image-max-tokens {most}");
        }
        let file = args.mmproj.clone().filter(|_| !args.no_mmproj);
        Ok(file.map(|file| Self {
            file,
            config: ProjectorConfig {
                offload: args.mmproj_offload,
                n_threads: threads,
                image_min_tokens: args.image_min_tokens,
                image_max_tokens: args.image_max_tokens,
                ..ProjectorConfig::default()
            },
        }))
    }

    /// What it will take, and room in `context` for its largest image where that is computed in one piece.
    ///
    /// # Errors
    /// As [`ProjectorPlan::of`].
    pub fn plan(&self, context: &mut ContextConfig) -> Result<ProjectorPlan, llama_turboquant::Error> {
        let plan = ProjectorPlan::of(&self.file, &self.config)?;
        if let Some(most) = plan.image_max_tokens.filter(|_| plan.non_causal) {
            context.n_ubatch = context.n_ubatch.max(most);
            context.n_batch = context.n_batch.max(most);
        }
        Ok(plan)
    }

    /// Loads it for `model`.
    ///
    /// # Errors
    /// As [`Projector::load`].
    pub fn load(&self, model: &Model) -> Result<Projector, llama_turboquant::Error> {
        Projector::load(model, &self.file, &self.config)
    }
}

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

#[cfg(test)]
mod tests {
    use crate::args::{Args, Command};
    use crate::settings::ModelSettings;
    use clap::Parser;

    fn settings(options: &[&str]) -> anyhow::Result<ModelSettings> {
        let args = Args::parse_from([&["turboquant", "serve"], options].concat());
        match args.command {
            Command::Serve(serve) => ModelSettings::new(&serve.model, 1),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_was_typed_is_how_the_projector_is_loaded() {
        let options = [
            "--mmproj",
            "p.gguf",
            "-t",
            "3",
            "--mmproj-offload=false",
            "--image-max-tokens",
            "64",
        ];
        let projector = settings(&options).unwrap().projector.unwrap();
        assert_eq!(projector.file.to_str(), Some("p.gguf"));
        let config = projector.config;
        assert_eq!((config.n_threads, config.offload), (3, false));
        assert_eq!((config.image_min_tokens, config.image_max_tokens), (None, Some(64)));
    }

    #[test]
    fn there_is_none_unless_it_is_named_and_wanted() {
        assert_eq!(settings(&[]).unwrap().projector, None);
        assert_eq!(
            settings(&["--mmproj", "p.gguf", "--no-mmproj"]).unwrap().projector,
            None
        );
    }

    #[test]
    fn limits_that_contradict_each_other_are_refused() {
        let error = settings(&["--image-min-tokens", "9", "--image-max-tokens", "8"]).unwrap_err();
        assert!(error.to_string().contains("--image-min-tokens 9"), "{error}");
    }
}

//! `/v1/completions`: the request.

use serde_json::{Map, Value};

use super::generation::{self, Delivery, MAX_LOGPROBS};
use super::prompts::prompts;
use crate::commands::serve::backend::{CompletionJob, Infill, ModelCard, Prompt};
use crate::commands::serve::body::Fields;
use crate::commands::serve::choices::Job;
use crate::commands::serve::error::ApiError;
use crate::commands::serve::state::AppState;

/// A valid completion request.
#[derive(Clone, Debug)]
pub struct CompletionRequest {
    /// The model that answers.
    pub model: String,
    /// Answers to give: those to the first prompt, then those to the second, and so on.
    pub choices: usize,
    /// Answers per prompt.
    pub n: usize,
    /// How to answer.
    pub delivery: Delivery,
}

impl CompletionRequest {
    /// Checks a body; returns the job of each choice with it.
    pub fn parse(body: &Map<String, Value>, card: &ModelCard, state: &AppState) -> Result<(Self, Vec<Job>), ApiError> {
        let fields = Fields(body);
        let prompts = match fields.str("suffix")?.filter(|suffix| !suffix.is_empty()) {
            None => prompts(fields, "prompt", card)?,
            Some(suffix) => infills(fields, suffix, card)?,
        };
        Self::with_prompts(fields, prompts, card, state)
    }

    /// The same for prompts that were read from other fields.
    pub fn with_prompts(
        fields: Fields<'_>,
        prompts: Vec<Prompt>,
        card: &ModelCard,
        state: &AppState,
    ) -> Result<(Self, Vec<Job>), ApiError> {
        let n = generation::n(fields, card)?;
        if fields
            .int("best_of", 1..=i64::from(i32::MAX))?
            .is_some_and(|best_of: usize| best_of != n)
        {
            return Err(ApiError::param(
                "best_of",
                "is not supported, except when it equals 'n'",
            ));
        }
        let mut generation = generation::generation(fields, card)?;
        generation.logprobs = fields.int("logprobs", 0..=MAX_LOGPROBS)?;
        let echo = fields.bool("echo")?.unwrap_or(false);

        let limit = state.settings.max_choices;
        if prompts.len().saturating_mul(n) > limit {
            return Err(ApiError::param(
                "prompt",
                format_args!("times 'n' may be at most {limit}"),
            ));
        }
        let job = |prompt: &Prompt, index| {
            let generation = generation::nth(&generation, index);
            Job::Completion(Box::new(CompletionJob {
                prompt: prompt.clone(),
                echo,
                generation,
            }))
        };
        let jobs = prompts
            .iter()
            .flat_map(|prompt| (0..n).map(move |index| (prompt, index)));
        let jobs: Vec<Job> = jobs.map(|(prompt, index)| job(prompt, index)).collect();
        let delivery = generation::delivery(fields)?;
        Ok((
            Self {
                model: card.id.clone(),
                choices: jobs.len(),
                n,
                delivery,
            },
            jobs,
        ))
    }
}

/// `suffix` makes the end of the prompt a place to fill.
fn infills(fields: Fields<'_>, suffix: &str, card: &ModelCard) -> Result<Vec<Prompt>, ApiError> {
    let wrong = |message: &str| ApiError::param("suffix", message);
    if !card.abilities.insert {
        return Err(wrong(
            "is not supported: this model has no tokens for fill-in-the-middle prompts",
        ));
    }
    if fields.bool("echo")?.unwrap_or(false) {
        return Err(wrong("cannot be combined with 'echo'"));
    }
    let infill = |prompt| match prompt {
        Prompt::Text(prefix) => Ok(Prompt::Infill(Box::new(Infill {
            prefix,
            suffix: suffix.to_owned(),
            ..Infill::default()
        }))),
        _ => Err(wrong("needs a prompt of text, not of tokens")),
    };
    prompts(fields, "prompt", card)?.into_iter().map(infill).collect()
}

//! `/v1/completions`: the request.

use serde_json::{Map, Value};

use super::generation::{self, Delivery, MAX_LOGPROBS};
use crate::commands::serve::backend::{CompletionJob, ModelCard, Prompt};
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
        if fields.str("suffix")?.is_some_and(|suffix| !suffix.is_empty()) {
            return Err(ApiError::param("suffix", "is not supported"));
        }
        let mut generation = generation::generation(fields, card)?;
        generation.logprobs = fields.int("logprobs", 0..=MAX_LOGPROBS)?;
        let echo = fields.bool("echo")?.unwrap_or(false);

        let prompts = prompts(fields, card)?;
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

/// A string, strings, tokens, or lists of tokens.
fn prompts(fields: Fields<'_>, card: &ModelCard) -> Result<Vec<Prompt>, ApiError> {
    let wrong = |message: &str| ApiError::param("prompt", message);
    let value = fields.get("prompt").ok_or_else(|| wrong("is required"))?;
    let token = |value: &Value| {
        card.token(value)
            .ok_or_else(|| wrong("has a token that is not in the vocabulary"))
    };
    let tokens = |values: &[Value]| {
        values
            .iter()
            .map(token)
            .collect::<Result<Vec<_>, _>>()
            .map(Prompt::Tokens)
    };
    let prompt = |value: &Value| match value {
        Value::String(text) => Ok(Prompt::Text(text.clone())),
        Value::Array(items) if items.is_empty() => Err(wrong("has an empty list of tokens")),
        Value::Array(items) => tokens(items),
        _ => Err(wrong("must be a string, or a list of strings, tokens or token lists")),
    };
    match value.as_array().map(Vec::as_slice) {
        Some([]) => Err(wrong("must not be empty")),
        // A flat list of numbers is one prompt.
        None | Some([Value::Number(_), ..]) => Ok(vec![prompt(value)?]),
        Some(items) => items.iter().map(prompt).collect(),
    }
}

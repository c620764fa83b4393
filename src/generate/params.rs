//! What is asked of one answer.

use crate::CancelToken;
use crate::engine::chat::ChatPrompt;
use crate::engine::grammar::Grammar;
use crate::engine::sampler::{Constraint, SamplingParams};

/// How to generate one answer.
///
/// ```
/// use llama_turboquant::generate::GenParams;
/// let params = GenParams::greedy().max_tokens(64).stop("\n\n");
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct GenParams {
    /// Ends the answer after this many tokens; `None`: only the context ends it.
    pub max_tokens: Option<usize>,
    /// Texts that end the answer and are not part of it.
    pub stop: Vec<String>,
    /// How tokens are chosen.
    pub sampling: SamplingParams,
    /// What the answer must look like.
    pub constraint: Option<Constraint>,
    /// Log-probabilities of this many most probable tokens with every token.
    pub logprobs: Option<usize>,
    /// Stops the work from any thread.
    pub cancel: Option<CancelToken>,
}

impl GenParams {
    /// The engine's default sampling.
    pub fn new() -> Self {
        Self::default()
    }

    /// Always the most probable token.
    pub fn greedy() -> Self {
        Self {
            sampling: SamplingParams::greedy(),
            ..Self::default()
        }
    }

    /// Ends the answer after `n` tokens.
    #[must_use]
    pub fn max_tokens(mut self, n: usize) -> Self {
        self.max_tokens = Some(n);
        self
    }

    /// Ends the answer before this text; may be called several times.
    #[must_use]
    pub fn stop(mut self, text: impl Into<String>) -> Self {
        self.stop.push(text.into());
        self
    }

    /// How tokens are chosen.
    #[must_use]
    pub fn sampling(mut self, sampling: SamplingParams) -> Self {
        self.sampling = sampling;
        self
    }

    /// Equal seeds give equal answers.
    #[must_use]
    pub fn seed(mut self, seed: u32) -> Self {
        self.sampling.seed = Some(i64::from(seed));
        self
    }

    /// Lets only text through that follows the grammar.
    #[must_use]
    pub fn grammar(mut self, grammar: &Grammar) -> Self {
        self.constraint = Some(grammar.into());
        self
    }

    /// Takes what the rendered prompt demands of its answer: constraint and stop strings.
    #[must_use]
    pub fn answering(mut self, prompt: &ChatPrompt) -> Self {
        self.constraint = Some(prompt.constraint());
        self.stop.extend_from_slice(prompt.stops());
        self
    }

    /// Reports the log-probabilities of the `n` most probable tokens with every token.
    #[must_use]
    pub fn logprobs(mut self, n: usize) -> Self {
        self.logprobs = Some(n);
        self
    }

    /// Stops when `token` is cancelled.
    #[must_use]
    pub fn cancel(mut self, token: CancelToken) -> Self {
        self.cancel = Some(token);
        self
    }
}

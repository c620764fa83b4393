//! Choosing the next token: the chain of samplers, and log-probabilities.

mod params;

pub use params::{Constraint, SamplerBuilder, SamplerKind, SamplingParams};

use super::call;
use super::context::Context;
use super::model::{Model, Token};
use crate::error::Failure;
use crate::{Error, Result, sys};
use serde::Serialize;
use std::ptr::NonNull;

/// A chain of samplers with its history, random numbers and grammar. Belongs to one sequence.
#[derive(Debug)]
pub struct Sampler {
    raw: NonNull<sys::tq_sampler>,
    /// The engine's sampler reads the vocabulary of this model.
    model: Model,
}

// SAFETY: a sampler has no thread-local state, so it may move; it is not `Sync`, and what changes it takes `&mut self`.
unsafe impl Send for Sampler {}

impl Drop for Sampler {
    fn drop(&mut self) {
        // SAFETY: `raw` came from `tq_sampler_new` and is freed only here, before `model`.
        unsafe { sys::tq_sampler_free(self.raw.as_ptr()) }
    }
}

impl Sampler {
    /// An empty chain to add samplers to.
    pub fn chain() -> SamplerBuilder {
        SamplerBuilder::default()
    }

    /// Always the most probable token.
    ///
    /// # Errors
    /// The engine's, which has none in practice.
    pub fn greedy(model: &Model) -> Result<Self> {
        Self::new(model, &SamplingParams::greedy(), None)
    }

    /// A sampler with `params`; what they leave out is llama.cpp's default (penalties, dry, top_n_sigma, top_k,
    /// typical_p, top_p, min_p, xtc, temperature, in this order).
    ///
    /// # Errors
    /// [`Error::Invalid`] names the parameter that is out of range; [`Error::Grammar`] what is wrong with the grammar.
    pub fn new(model: &Model, params: &SamplingParams, constraint: Option<&Constraint>) -> Result<Self> {
        let text = params::to_json(params, constraint)?;
        let text = call::c_string("sampling parameters", &text)?;
        let mut raw = std::ptr::null_mut();
        // SAFETY: the model is live, the text NUL-terminated and only read during the call; both slots are valid.
        call::check(|error| unsafe { sys::tq_sampler_new(model.raw(), text.as_ptr(), &raw mut raw, error) }).map_err(
            |failure: Failure| match failure.text.strip_prefix("grammar: ") {
                Some(reason) => Error::Grammar(reason.to_owned()),
                None => failure.into(),
            },
        )?;
        let raw = NonNull::new(raw).ok_or_else(|| Error::Engine("the engine returned no sampler".into()))?;
        Ok(Self {
            raw,
            model: model.clone(),
        })
    }

    /// Chooses a token by the logits of batch entry `i` of the last decode. Follow it with [`accept`](Self::accept).
    ///
    /// # Errors
    /// [`Error::Invalid`] if the entry has no logits or the context is of another model; [`Error::Engine`] if no token
    /// can follow (the grammar has no continuation in the vocabulary, everything is banned).
    pub fn sample(&mut self, context: &mut Context, i: usize) -> Result<Token> {
        let i = i32::try_from(i).map_err(|_| Error::Invalid(format!("batch entry {i} does not exist")))?;
        let mut token = 0;
        // SAFETY: both handles are live and borrowed mutably; the shim checks that they share a model and that the
        // entry has logits; both slots are valid.
        call::check(|error| unsafe {
            sys::tq_sampler_sample(self.raw.as_ptr(), context.raw(), i, &raw mut token, error)
        })?;
        Ok(token)
    }

    /// Takes a generated token into the history and moves the grammar on.
    ///
    /// # Errors
    /// A token that is not in the vocabulary, or that the grammar does not allow.
    pub fn accept(&mut self, token: Token) -> Result<()> {
        self.take(token, true)
    }

    /// Takes a token of the prompt into the history, for the penalties; the grammar stays where it is.
    ///
    /// # Errors
    /// A token that is not in the vocabulary.
    pub fn accept_prompt(&mut self, token: Token) -> Result<()> {
        self.take(token, false)
    }

    fn take(&mut self, token: Token, generated: bool) -> Result<()> {
        // SAFETY: the sampler is live and borrowed mutably; the shim checks the token; `error` is valid.
        call::check(|error| unsafe { sys::tq_sampler_accept(self.raw.as_ptr(), token, generated, error) })?;
        Ok(())
    }

    /// Back to the beginning: history, grammar and random numbers.
    ///
    /// # Errors
    /// The engine's, which has none in practice.
    pub fn reset(&mut self) -> Result<()> {
        // SAFETY: the sampler is live and borrowed mutably; `error` is valid.
        call::check(|error| unsafe { sys::tq_sampler_reset(self.raw.as_ptr(), error) })?;
        Ok(())
    }

    /// The seed in use: the one given, or the one drawn.
    pub fn seed(&self) -> u32 {
        // SAFETY: the sampler is live.
        unsafe { sys::tq_sampler_seed(self.raw.as_ptr()) }
    }

    /// Whether the text of this control token belongs to the answer, because the chat parser reads it.
    pub fn preserves(&self, token: Token) -> bool {
        // SAFETY: the sampler is live; any number may be asked for.
        unsafe { sys::tq_sampler_preserves(self.raw.as_ptr(), token) }
    }

    /// The model it samples for.
    pub fn model(&self) -> &Model {
        &self.model
    }
}

/// Natural-log probabilities at one position, from the raw logits (before any sampler).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Logprobs {
    /// That of the chosen token.
    pub token: f32,
    /// The most probable tokens, best first.
    pub top: Vec<(Token, f32)>,
}

impl Logprobs {
    /// Reads them from batch entry `i` of the last decode: the `n` best tokens, and `token`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the entry has no logits or the token does not exist.
    pub fn read(context: &mut Context, i: usize, n: usize, token: Token) -> Result<Self> {
        let i = i32::try_from(i).map_err(|_| Error::Invalid(format!("batch entry {i} does not exist")))?;
        let n = n.min(context.model().meta().n_vocab as usize);
        let (mut tokens, mut values) = (vec![0; n], vec![0.0; n]);
        let (mut count, mut own) = (0, 0.0);
        // SAFETY: the context is live and borrowed mutably; both arrays have `n` slots; the others are valid. The shim
        // checks the entry and the token.
        call::check(|error| unsafe {
            let (tokens, values) = (tokens.as_mut_ptr(), values.as_mut_ptr());
            sys::tq_logits_top(
                context.raw(),
                i,
                n,
                tokens,
                values,
                &raw mut count,
                token,
                &raw mut own,
                error,
            )
        })?;
        Ok(Self {
            token: own,
            top: tokens.into_iter().zip(values).take(count).collect(),
        })
    }
}

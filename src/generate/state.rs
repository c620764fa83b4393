//! The state of one answer, without the decoding.

use super::params::GenParams;
use super::stop::StopMatcher;
use super::utf8::Utf8Decoder;
use crate::engine::sampler::{Logprobs, Sampler};
use crate::{CancelToken, Context, Model, Result, Token};

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FinishReason {
    /// The model ended it, or this stop string did.
    Stop(Option<String>),
    /// The token limit, or the end of the context.
    Length,
    /// The caller stopped it.
    Cancelled,
}

/// One generated token and the text that became certain with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// The token.
    pub token: Token,
    /// Whole characters; empty while they may be part of a stop string or are incomplete, and then more with a later token.
    pub text: String,
    /// If they were asked for.
    pub logprobs: Option<Logprobs>,
}

/// One answer being generated: sampler, text, limits. The caller decodes.
///
/// ```text
/// loop { decode the token at its position -> generation.step(context, entry) -> hand out the piece }  until finished()
/// ```
#[derive(Debug)]
pub struct Generation {
    sampler: Sampler,
    model: Model,
    utf8: Utf8Decoder,
    stops: StopMatcher,
    logprobs: Option<usize>,
    max_tokens: usize,
    cancel: Option<CancelToken>,
    n_tokens: usize,
    last: Option<Token>,
    finished: Option<FinishReason>,
}

impl Generation {
    /// Prepares an answer to `prompt`, whose tokens the penalties look back at.
    ///
    /// # Errors
    /// As [`Sampler::new`].
    pub fn new(model: &Model, params: &GenParams, prompt: &[Token]) -> Result<Self> {
        let mut sampler = Sampler::new(model, &params.sampling, params.constraint.as_ref())?;
        // penalties are about what was written
        for token in crate::vision::without_images(prompt) {
            sampler.accept_prompt(token)?;
        }
        let max_tokens = params.max_tokens.unwrap_or(usize::MAX);
        Ok(Self {
            sampler,
            model: model.clone(),
            utf8: Utf8Decoder::new(),
            stops: StopMatcher::new(params.stop.iter().cloned()),
            logprobs: params.logprobs,
            max_tokens,
            cancel: params.cancel.clone(),
            n_tokens: 0,
            last: None,
            finished: (max_tokens == 0).then_some(FinishReason::Length),
        })
    }

    /// Chooses the next token by the logits of batch entry `entry` of the last decode. If the answer goes on
    /// ([`finished`](Self::finished) is `None`), the token is to be decoded next.
    ///
    /// `None`: the answer has ended without more text.
    ///
    /// # Errors
    /// As [`Sampler::sample`].
    pub fn step(&mut self, context: &mut Context, entry: usize) -> Result<Option<Piece>> {
        if self.finished.is_some() {
            return Ok(None);
        }
        if self.cancel.as_ref().is_some_and(CancelToken::is_cancelled) {
            return Ok(self.end(FinishReason::Cancelled));
        }
        let token = self.sampler.sample(context, entry)?;
        let logprobs = self
            .logprobs
            .map(|n| Logprobs::read(context, entry, n, token))
            .transpose()?;
        self.sampler.accept(token)?;
        self.n_tokens += 1;
        self.last = Some(token);

        // Control tokens are no text, except those that the chat parser reads.
        let bytes = self.model.piece(token, self.sampler.preserves(token))?;
        let decoded = self.utf8.push(&bytes);
        let mut found = self.stops.push(&decoded);
        let is_end = self.model.is_eog(token);
        let mut text = found.text;
        if found.stop.is_some() {
            self.finished = Some(FinishReason::Stop(found.stop.take()));
        } else if is_end || self.n_tokens >= self.max_tokens {
            text += &self.flush(if is_end {
                FinishReason::Stop(None)
            } else {
                FinishReason::Length
            });
        }
        Ok((!is_end || !text.is_empty()).then_some(Piece { token, text, logprobs }))
    }

    /// Ends the answer from outside (`Length`: the context is full; `Cancelled`). The text held back so far, if any, comes
    /// as a last piece, with the last token once more. An answer that has ended stays as it is.
    pub fn end(&mut self, reason: FinishReason) -> Option<Piece> {
        if self.finished.is_some() {
            return None;
        }
        let text = self.flush(reason);
        let token = self.last.filter(|_| !text.is_empty())?;
        Some(Piece {
            token,
            text,
            logprobs: None,
        })
    }

    /// Ends the answer and returns the text held back. A character cut short may still complete a stop string.
    fn flush(&mut self, reason: FinishReason) -> String {
        let rest = self.utf8.finish();
        let mut found = self.stops.push(&rest);
        match found.stop.take() {
            Some(stop) => self.finished = Some(FinishReason::Stop(Some(stop))),
            None => {
                found.text += &self.stops.finish();
                self.finished = Some(reason);
            }
        }
        found.text
    }

    /// Why the answer ended; `None`: it has not.
    pub fn finished(&self) -> Option<&FinishReason> {
        self.finished.as_ref()
    }

    /// Tokens chosen so far, the end token included.
    pub fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    /// The seed in use.
    pub fn seed(&self) -> u32 {
        self.sampler.seed()
    }
}

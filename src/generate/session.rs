//! One conversation over one context.

use super::cache::keep_prefix;
use super::params::GenParams;
use super::state::{FinishReason, Generation, Piece};
use crate::engine::chat::ChatPrompt;
use crate::vision::{self, MediaPrompt, Next, PlacedImage};
use crate::{Batch, CancelToken, Context, Error, Model, Result, Token};
use std::time::{Duration, Instant};

/// The sequence of the context that a session uses.
const SEQ: i32 = 0;

/// What a session is to answer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Prompt {
    /// Text, with BOS where the model wants it; control tokens spelled out in it count.
    Text(String),
    /// Tokens as they are.
    Tokens(Vec<Token>),
    /// A rendered conversation.
    Chat(ChatPrompt),
    /// Text and images.
    Media(MediaPrompt),
}

impl From<&str> for Prompt {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Prompt {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<Token>> for Prompt {
    fn from(tokens: Vec<Token>) -> Self {
        Self::Tokens(tokens)
    }
}

impl From<&ChatPrompt> for Prompt {
    fn from(prompt: &ChatPrompt) -> Self {
        Self::Chat(prompt.clone())
    }
}

impl From<MediaPrompt> for Prompt {
    fn from(prompt: MediaPrompt) -> Self {
        Self::Media(prompt)
    }
}

impl Prompt {
    /// The prompt as tokens of `model`; placeholders (negative) stand for images.
    ///
    /// # Errors
    /// As [`Model::tokenize`].
    pub fn tokenize(self, model: &Model) -> Result<Vec<Token>> {
        Ok(self.into_media(model)?.into_parts().0)
    }

    fn into_media(self, model: &Model) -> Result<MediaPrompt> {
        Ok(MediaPrompt::of_tokens(match self {
            Self::Text(text) => model.tokenize(&text, true, true)?,
            Self::Tokens(tokens) => tokens,
            Self::Chat(prompt) => prompt.tokenize(model)?,
            Self::Media(prompt) => return Ok(prompt),
        }))
    }
}

/// What a prefill did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrefillStats {
    /// Tokens of the prompt.
    pub n_prompt: usize,
    /// Of these, tokens that were in the cache already.
    pub n_reused: usize,
    /// Time for the rest.
    pub elapsed: Duration,
}

impl PrefillStats {
    /// Computed tokens per second.
    pub fn tokens_per_second(&self) -> f64 {
        (self.n_prompt - self.n_reused) as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// What a generation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenStats {
    /// Why it ended; `Cancelled` if the stream was not read to its end.
    pub reason: FinishReason,
    /// Tokens chosen, the end token included.
    pub n_tokens: usize,
    /// From the start of the stream to its first token; `None`: there was none.
    pub first_token: Option<Duration>,
    /// Time spent decoding and sampling, without the caller's.
    pub elapsed: Duration,
    /// The seed in use: give it to [`GenParams::seed`] to get the same answer again.
    pub seed: u32,
}

impl GenStats {
    /// Tokens per second.
    pub fn tokens_per_second(&self) -> f64 {
        self.n_tokens as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// A conversation: the tokens in the cache of a context, and what to do with them.
///
/// ```no_run
/// # fn main() -> llama_turboquant::Result<()> {
/// use llama_turboquant::generate::{GenParams, Session};
/// use llama_turboquant::{ContextConfig, Model};
/// let context = Model::load("model.gguf")?.context(ContextConfig::default())?;
/// let mut session = Session::new(context);
/// session.prompt("Once upon a time")?;
/// for piece in session.generate(&GenParams::new().max_tokens(32))? {
///     print!("{}", piece?.text);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Session {
    context: Context,
    batch: Batch,
    /// What the cache holds, by position.
    tokens: Vec<Token>,
    /// The batch entry with the logits after the last of them, while they are there.
    entry: Option<usize>,
}

impl Session {
    /// A session over `context`, which starts empty.
    pub fn new(mut context: Context) -> Self {
        context.memory().clear();
        let batch = Batch::new(context.n_batch() as usize);
        Self {
            context,
            batch,
            tokens: Vec::new(),
            entry: None,
        }
    }

    /// The context.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Gives the context back, with the cache as it is.
    pub fn into_context(self) -> Context {
        self.context
    }

    /// The tokens in the cache: the prompt, and of an answer all but its last token.
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// Makes `prompt` what the cache holds. Of a prompt that begins like the cache only the rest is computed, so a growing
    /// conversation is rendered whole and given whole each time.
    ///
    /// # Errors
    /// [`Error::ContextFull`] if there is no room for it and one more token; [`Error::Invalid`] if it is empty; otherwise as
    /// [`Context::decode`]. The session stays usable.
    pub fn prompt(&mut self, prompt: impl Into<Prompt>) -> Result<PrefillStats> {
        self.prompt_until(prompt, None)
    }

    /// As [`prompt`](Self::prompt), but `cancel` stops it.
    ///
    /// # Errors
    /// As `prompt`, and [`Error::Cancelled`]; then the next prompt goes on where this one stopped.
    pub fn prompt_until(&mut self, prompt: impl Into<Prompt>, cancel: Option<CancelToken>) -> Result<PrefillStats> {
        let start = Instant::now();
        let prompt = prompt.into().into_media(self.context.model())?;
        let (n_ctx, n_prompt) = (self.context.n_ctx_seq() as usize, prompt.n_tokens());
        let (wanted, images) = prompt.into_parts();
        if wanted.is_empty() {
            return Err(Error::Invalid("the prompt has no tokens".into()));
        }
        if n_prompt >= n_ctx {
            return Err(Error::ContextFull { n_prompt, n_ctx });
        }
        vision::check(&wanted, &images)?;
        let common = self
            .tokens
            .iter()
            .zip(&wanted)
            .take_while(|(have, want)| have == want)
            .count();
        // the last token is computed in any case: its logits are needed
        self.truncate(vision::whole_images(&wanted, common.min(wanted.len() - 1)))?;
        let n_reused = self.tokens.len() + vision::extra(&images, self.tokens.len());
        self.context.set_cancel(cancel);
        let done = self.append_media(&wanted, &images);
        self.context.set_cancel(None);
        done?;
        Ok(PrefillStats {
            n_prompt,
            n_reused,
            elapsed: start.elapsed(),
        })
    }

    /// Forgets all but the first `n` tokens; fewer stay if the model's memory cannot be cut there (recurrent layers).
    ///
    /// # Errors
    /// None at present.
    pub fn truncate(&mut self, n: usize) -> Result<()> {
        if n >= self.tokens.len() {
            return Ok(());
        }
        self.entry = None;
        self.cut(vision::whole_images(&self.tokens, n));
        Ok(())
    }

    fn cut(&mut self, n: usize) {
        let kept = keep_prefix(&mut self.context, SEQ, n);
        self.tokens.truncate(kept);
    }

    /// Generates an answer to what the cache holds.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is nothing to answer: a [`prompt`](Self::prompt) comes first, before every answer.
    /// Otherwise as [`Generation::new`].
    pub fn generate(&mut self, params: &GenParams) -> Result<TokenStream<'_>> {
        if self.entry.is_none() {
            return Err(Error::Invalid(
                "there is no prompt to answer; call prompt() before generate()".into(),
            ));
        }
        let generation = Generation::new(self.context.model(), params, &self.tokens)?;
        self.context.set_cancel(params.cancel.clone());
        Ok(TokenStream {
            session: self,
            generation,
            next: None,
            ended: false,
            started: Instant::now(),
            first_token: None,
            elapsed: Duration::ZERO,
        })
    }

    /// Computes what of the prompt is not in the cache yet, with logits for the last token.
    fn append_media(&mut self, wanted: &[Token], images: &[PlacedImage]) -> Result<()> {
        while self.tokens.len() < wanted.len() {
            let from = self.tokens.len();
            match vision::next(wanted, images, from) {
                Next::Tokens(tokens) => self.append(tokens)?,
                Next::Image(image) => {
                    self.entry = None;
                    let mut done = 0;
                    while done < image.n_tokens() {
                        let n = image.step(done, self.context.n_batch() as usize);
                        if let Err(error) = image.decode(&mut self.context, SEQ, done, n) {
                            self.cut(from);
                            return Err(error);
                        }
                        done += n;
                    }
                    self.tokens.extend_from_slice(&wanted[from..image.end()]);
                }
            }
        }
        Ok(())
    }

    /// Computes `tokens` after those in the cache, with logits for the last.
    fn append(&mut self, tokens: &[Token]) -> Result<()> {
        self.entry = None;
        let n_batch = self.context.n_batch() as usize;
        let mut left = tokens.len();
        for chunk in tokens.chunks(n_batch) {
            left -= chunk.len();
            self.batch.clear();
            for (i, &token) in chunk.iter().enumerate() {
                let position = (self.tokens.len() + i) as i32;
                self.batch.push(token, position, SEQ, left == 0 && i + 1 == chunk.len());
            }
            if let Err(error) = self.context.decode(&self.batch) {
                self.cut(self.tokens.len()); // part of the batch may be in the cache; what came before it stays
                return Err(error);
            }
            self.tokens.extend_from_slice(chunk);
        }
        self.entry = self.batch.len().checked_sub(1);
        Ok(())
    }
}

/// An answer being generated, token by token. Dropping it stops the work.
#[derive(Debug)]
pub struct TokenStream<'a> {
    session: &'a mut Session,
    generation: Generation,
    /// Chosen but not yet computed: done only when another token is asked for.
    next: Option<Token>,
    ended: bool,
    started: Instant,
    first_token: Option<Duration>,
    elapsed: Duration,
}

impl TokenStream<'_> {
    /// Ends the stream and tells what it did.
    pub fn finish(self) -> GenStats {
        GenStats {
            reason: self.generation.finished().cloned().unwrap_or(FinishReason::Cancelled),
            n_tokens: self.generation.n_tokens(),
            first_token: self.first_token,
            elapsed: self.elapsed,
            seed: self.generation.seed(),
        }
    }

    /// Reads the rest: its text, and what the stream did.
    ///
    /// # Errors
    /// The first error of the stream.
    pub fn text(mut self) -> Result<(String, GenStats)> {
        let mut text = String::new();
        for piece in &mut self {
            text += &piece?.text;
        }
        Ok((text, self.finish()))
    }

    fn advance(&mut self) -> Result<Option<Piece>> {
        if let Some(token) = self.next.take() {
            if self.session.tokens.len() >= self.session.context.n_ctx_seq() as usize {
                return Ok(self.generation.end(FinishReason::Length));
            }
            match self.session.append(&[token]) {
                Ok(()) => {}
                Err(Error::Cancelled) => return Ok(self.generation.end(FinishReason::Cancelled)),
                Err(Error::ContextFull { .. }) => return Ok(self.generation.end(FinishReason::Length)),
                Err(error) => return Err(error),
            }
        }
        let Some(entry) = self.session.entry else {
            return Ok(None);
        };
        let piece = self.generation.step(&mut self.session.context, entry)?;
        if self.generation.finished().is_none() {
            self.next = piece.as_ref().map(|piece| piece.token);
        }
        Ok(piece)
    }
}

impl Iterator for TokenStream<'_> {
    type Item = Result<Piece>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let start = Instant::now();
        let piece = self.advance().transpose();
        self.elapsed += start.elapsed();
        self.first_token = self
            .first_token
            .or_else(|| piece.is_some().then(|| self.started.elapsed()));
        self.ended = !matches!(piece, Some(Ok(_))) || self.generation.finished().is_some();
        piece
    }
}

impl Drop for TokenStream<'_> {
    fn drop(&mut self) {
        // the logits belong to this answer; and its cancel token must not stop the next one
        self.session.entry = None;
        self.session.context.set_cancel(None);
    }
}

//! Prompts of text and images.
//!
//! Among the tokens an image is a run of placeholders, one for each position it takes, so that the index of a token is its
//! position whatever comes before it, and prompts that begin alike can be compared as tokens are.

use super::encoded::{EncodedImage, begins, is_placeholder};
use crate::engine::vision::Chunk;
use crate::{Context, Error, Result, Token};
use std::sync::Arc;

/// Text and images, in order. It must end with text.
#[derive(Debug, Clone, Default)]
pub struct MediaPrompt {
    pub(crate) tokens: Vec<Token>,
    pub(crate) images: Vec<PlacedImage>,
}

/// A run of an image's embeddings at its place in a prompt.
#[derive(Debug, Clone)]
pub struct PlacedImage {
    image: Arc<EncodedImage>,
    /// Which run of the image.
    number: usize,
    /// Where it begins.
    at: usize,
    /// Of all its embeddings, section after section.
    positions: Vec<i32>,
    n_tokens: usize,
    n_positions: usize,
    non_causal: bool,
}

impl MediaPrompt {
    /// A prompt of text.
    pub fn of_tokens(tokens: Vec<Token>) -> Self {
        Self {
            tokens,
            images: Vec::new(),
        }
    }

    /// Appends text.
    pub fn push_tokens(&mut self, tokens: &[Token]) {
        self.tokens.extend_from_slice(tokens);
    }

    /// Appends an image.
    ///
    /// # Errors
    /// The engine's, which has none in practice.
    pub fn push_image(&mut self, image: &Arc<EncodedImage>) -> Result<()> {
        for (number, chunk) in image.list().iter().enumerate() {
            match chunk {
                Chunk::Tokens { tokens } => self.push_tokens(tokens),
                &Chunk::Image {
                    n_tokens,
                    n_positions,
                    non_causal,
                } => {
                    let at = self.tokens.len();
                    let first = i32::try_from(at).map_err(|_| Error::Invalid("the prompt is too long".into()))?;
                    self.images.push(PlacedImage {
                        image: Arc::clone(image),
                        number,
                        at,
                        positions: image.positions(number, first)?,
                        n_tokens,
                        n_positions,
                        non_causal,
                    });
                    self.tokens.extend(image.placeholders(number, n_positions));
                }
            }
        }
        Ok(())
    }

    /// Tokens it takes in the context.
    pub fn n_tokens(&self) -> usize {
        self.tokens.len() + extra(&self.images, self.tokens.len())
    }

    /// The tokens, with placeholders (negative) for images; and the images.
    pub fn into_parts(self) -> (Vec<Token>, Vec<PlacedImage>) {
        (self.tokens, self.images)
    }
}

impl PlacedImage {
    /// Where it ends.
    pub(crate) fn end(&self) -> usize {
        self.at + self.n_positions
    }

    pub(crate) fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    /// How many embeddings to compute in one go, `budget` or a few, when `done` are computed.
    pub(crate) fn step(&self, done: usize, budget: usize) -> usize {
        match self.non_causal {
            true => self.n_tokens,
            false => budget.clamp(1, self.n_tokens - done),
        }
    }

    /// Computes `n` embeddings from `done` on.
    pub(crate) fn decode(&self, context: &mut Context, seq: i32, done: usize, n: usize) -> Result<()> {
        let chunk = (self.number, &self.positions[..]);
        self.image.decode(context, seq, chunk, (done, n))
    }
}

/// Tokens that the images which end before position `n` take beyond their positions.
pub(crate) fn extra(images: &[PlacedImage], n: usize) -> usize {
    let before = images.iter().filter(|image| image.end() <= n);
    before
        .map(|image| image.n_tokens.saturating_sub(image.n_positions))
        .sum()
}

/// What comes at a position of a prompt.
pub(crate) enum Next<'a> {
    Tokens(&'a [Token]),
    Image(&'a PlacedImage),
}

/// What comes at position `at`: an image that begins there, or the tokens up to the next one.
pub(crate) fn next<'a>(tokens: &'a [Token], images: &'a [PlacedImage], at: usize) -> Next<'a> {
    if let Some(image) = images.iter().find(|image| image.at == at) {
        return Next::Image(image);
    }
    let rest = &tokens[at..];
    let n = rest.iter().take_while(|&&token| !is_placeholder(token)).count();
    Next::Tokens(&rest[..n])
}

/// The part of the first `n` tokens that cuts no image in two.
pub(crate) fn whole_images(tokens: &[Token], mut n: usize) -> usize {
    while tokens
        .get(n)
        .is_some_and(|&token| is_placeholder(token) && !begins(token))
    {
        n -= 1;
    }
    n
}

/// The tokens that are text.
pub(crate) fn without_images(tokens: &[Token]) -> Vec<Token> {
    let text = |token: &Token| !is_placeholder(*token);
    tokens.iter().copied().filter(text).collect()
}

/// Refuses a prompt whose images are not where its placeholders are, or that ends with one.
pub(crate) fn check(tokens: &[Token], images: &[PlacedImage]) -> Result<()> {
    if tokens.last().is_some_and(|&token| is_placeholder(token)) {
        return Err(Error::Invalid("the prompt ends with an image; text must follow".into()));
    }
    let mut at = 0;
    while at < tokens.len() {
        at = match next(tokens, images, at) {
            Next::Image(image) if image.end() <= tokens.len() => image.end(),
            Next::Tokens(text) if !text.is_empty() => at + text.len(),
            _ => {
                return Err(Error::Invalid(format!(
                    "token {} at position {at} of the prompt stands for an image that is not there",
                    tokens[at]
                )));
            }
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{check, whole_images};
    use crate::Token;

    /// Two images after another, between text: placeholders of 3 and 2 positions.
    const FIRST: Token = (1_u32 << 31 | 1 << 30 | 7).cast_signed();
    const MORE: Token = (1_u32 << 31 | 9).cast_signed();
    const PROMPT: [Token; 8] = [5, FIRST, MORE, MORE, FIRST, MORE, 6, 7];

    #[test]
    fn no_image_is_cut_in_two() {
        let kept: Vec<usize> = (0..=PROMPT.len()).map(|n| whole_images(&PROMPT, n)).collect();
        assert_eq!(kept, [0, 1, 1, 1, 4, 4, 6, 7, 8]);
    }

    #[test]
    fn placeholders_without_their_images_are_refused() {
        assert!(check(&PROMPT, &[]).is_err());
        assert!(check(&PROMPT[..2], &[]).is_err());
        assert!(check(&[5, 6], &[]).is_ok());
    }
}

//! The text that is scored, in chunks.

use crate::{Error, Model, Result, Token};
use std::ops::Range;

/// A text as chunks of `n_ctx` tokens. The rule is llama-perplexity's, so that numbers agree: the text is tokenized once
/// (control tokens spelled out in it do not count) and cut without overlap, a remainder is dropped, BOS replaces the first
/// token of each chunk where the model wants it, and only tokens with at least half a chunk before them are scored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corpus {
    n_ctx: usize,
    scored: Range<usize>,
    chunks: Vec<Chunk>,
}

/// `n_ctx` tokens in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Its number in the text.
    pub number: usize,
    /// What the model reads; the prediction targets are the same tokens, one further.
    pub tokens: Vec<Token>,
}

/// A part of a chunk that is computed at once.
pub(super) struct Slice<'a> {
    pub tokens: &'a [Token],
    /// Position of the first of them.
    pub position: usize,
    /// Position of the first that is scored.
    pub first_scored: usize,
    /// The tokens that follow the scored ones.
    pub targets: &'a [Token],
}

impl Corpus {
    /// Cuts `text` into chunks.
    ///
    /// # Errors
    /// [`Error::Invalid`] if chunks are too short to score or the text is shorter than one.
    pub fn from_text(model: &Model, text: &str, n_ctx: u32) -> Result<Self> {
        let bos = model.meta().add_bos.then_some(model.meta().bos);
        Self::from_tokens(&model.tokenize(text, true, false)?, n_ctx, bos)
    }

    /// Cuts `tokens` into chunks; `bos` replaces the first token of each.
    ///
    /// # Errors
    /// As [`from_text`](Self::from_text).
    pub fn from_tokens(tokens: &[Token], n_ctx: u32, bos: Option<Token>) -> Result<Self> {
        let n_ctx = n_ctx as usize;
        if n_ctx < 4 {
            return Err(Error::Invalid(format!(
                "chunks of {n_ctx} tokens cannot be scored; use at least 4"
            )));
        }
        if tokens.len() < n_ctx {
            return Err(Error::Invalid(format!(
                "the text has {} tokens, which is less than one chunk of {n_ctx}",
                tokens.len()
            )));
        }
        let chunk = |(number, tokens): (usize, &[Token])| {
            let mut tokens = tokens.to_vec();
            tokens[0] = bos.unwrap_or(tokens[0]);
            Chunk { number, tokens }
        };
        Ok(Self {
            n_ctx,
            // the last token's successor is in another chunk
            scored: n_ctx / 2..n_ctx - 1,
            chunks: tokens.chunks_exact(n_ctx).enumerate().map(chunk).collect(),
        })
    }

    /// Cuts `text` into windows that overlap, as `llama-perplexity --ppl-stride` does: see
    /// [`strided_tokens`](Self::strided_tokens).
    ///
    /// # Errors
    /// As [`strided_tokens`](Self::strided_tokens).
    pub fn strided(model: &Model, text: &str, n_ctx: u32, stride: u32) -> Result<Self> {
        Self::strided_tokens(&model.tokenize(text, true, false)?, n_ctx, stride)
    }

    /// Windows that start every `stride` tokens; the last `stride` tokens of each are scored, so that each token of the
    /// text (but the first) is scored once, with nearly a whole window before it. As in llama-perplexity a window is
    /// `n_ctx + stride / 2` tokens, rounded up to a multiple of 256 (the engine's), and none gets a BOS of its own.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `n_ctx` is below 4, the stride is 0 or larger than `n_ctx`, or the text has no more tokens than
    /// one window.
    pub fn strided_tokens(tokens: &[Token], n_ctx: u32, stride: u32) -> Result<Self> {
        if n_ctx < 4 || stride == 0 || stride > n_ctx {
            return Err(Error::Invalid(format!(
                "a stride of {stride} with chunks of {n_ctx} tokens: use a stride from 1 to the chunk's size, and chunks of \
                 at least 4"
            )));
        }
        let stride = stride as usize;
        let window = (n_ctx as usize + stride / 2).next_multiple_of(256);
        if tokens.len() <= window {
            return Err(Error::Invalid(format!(
                "the text has {} tokens, which is not enough for windows of {window} (chunks of {n_ctx}, stride {stride})",
                tokens.len()
            )));
        }
        let n = (tokens.len() - window).div_ceil(stride);
        let chunk = |number: usize| Chunk {
            number,
            tokens: tokens[number * stride..][..window].to_vec(),
        };
        Ok(Self {
            n_ctx: window,
            scored: window - stride - 1..window - 1,
            chunks: (0..n).map(chunk).collect(),
        })
    }

    /// At most the first `n` chunks.
    #[must_use]
    pub fn first(&self, n: usize) -> Self {
        self.with(self.chunks.iter().take(n).cloned().collect())
    }

    fn with(&self, chunks: Vec<Chunk>) -> Self {
        Self {
            n_ctx: self.n_ctx,
            scored: self.scored.clone(),
            chunks,
        }
    }

    /// At most `n` of the chunks, spread evenly from the first on.
    #[must_use]
    pub fn spread(&self, n: usize) -> Self {
        let all = self.chunks.len();
        let n = n.min(all);
        self.with((0..n).map(|i| self.chunks[i * all / n].clone()).collect())
    }

    /// Every other chunk from the first on, and the rest: one part to fit on, one to check on.
    #[must_use]
    pub fn halves(&self) -> (Self, Self) {
        let half = |odd: usize| self.with(self.chunks.iter().skip(odd).step_by(2).cloned().collect());
        (half(0), half(1))
    }

    /// The chunks.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// Tokens of a chunk.
    pub fn n_ctx(&self) -> u32 {
        self.n_ctx as u32
    }

    /// The positions of a chunk whose prediction is scored: the second half, or of a window the last of its stride; without
    /// the last token.
    pub fn scored(&self) -> Range<usize> {
        self.scored.clone()
    }

    /// A chunk in slices of at most `n_batch` tokens.
    pub(super) fn slices<'a>(&self, chunk: &'a Chunk, n_batch: usize) -> impl Iterator<Item = Slice<'a>> + use<'a> {
        let (scored, n_batch) = (self.scored(), n_batch.max(1));
        chunk.tokens.chunks(n_batch).enumerate().map(move |(i, tokens)| {
            let position = i * n_batch;
            let end = (position + tokens.len()).min(scored.end);
            let first_scored = position.max(scored.start).min(end);
            Slice {
                tokens,
                position,
                first_scored,
                targets: &chunk.tokens[first_scored + 1..end + 1],
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_do_not_overlap_and_the_remainder_is_dropped() {
        let tokens: Vec<Token> = (0..35).collect();
        let corpus = Corpus::from_tokens(&tokens, 8, Some(99)).unwrap();
        assert_eq!(corpus.chunks().len(), 4);
        assert_eq!(corpus.chunks()[3].tokens, [99, 25, 26, 27, 28, 29, 30, 31]);
        assert_eq!(corpus.scored(), 4..7);
        assert_eq!(Corpus::from_tokens(&tokens, 8, None).unwrap().chunks()[1].tokens[0], 8);
    }

    #[test]
    fn slices_of_any_size_score_the_same_positions() {
        let tokens: Vec<Token> = (0..20).collect();
        let corpus = Corpus::from_tokens(&tokens, 20, None).unwrap();
        for n_batch in [1, 3, 7, 10, 19, 20, 64] {
            let mut targets = Vec::new();
            for slice in corpus.slices(&corpus.chunks()[0], n_batch) {
                assert_eq!(slice.tokens[0], slice.position as Token);
                assert!(
                    slice
                        .targets
                        .first()
                        .is_none_or(|&token| token as usize == slice.first_scored + 1)
                );
                targets.extend_from_slice(slice.targets);
            }
            assert_eq!(targets, (11..20).collect::<Vec<_>>(), "{n_batch}");
        }
    }

    #[test]
    fn a_subset_is_spread_over_the_text() {
        let corpus = Corpus::from_tokens(&[0; 100], 10, None).unwrap();
        let numbers = |n| {
            corpus
                .spread(n)
                .chunks()
                .iter()
                .map(|chunk| chunk.number)
                .collect::<Vec<_>>()
        };
        assert_eq!(numbers(4), [0, 2, 5, 7]);
        assert_eq!(numbers(99), (0..10).collect::<Vec<_>>());
        assert!(numbers(0).is_empty());
        let (fit, check) = corpus.spread(5).halves();
        let of = |half: &Corpus| half.chunks().iter().map(|chunk| chunk.number).collect::<Vec<_>>();
        assert_eq!((of(&fit), of(&check)), (vec![0, 4, 8], vec![2, 6]));
    }

    #[test]
    fn strides_score_each_token_once() {
        let tokens: Vec<Token> = (0..1000).collect();
        // 200 + 50 / 2 tokens are a window of 256
        let corpus = Corpus::strided_tokens(&tokens, 200, 50).unwrap();
        assert_eq!((corpus.n_ctx(), corpus.chunks().len()), (256, 15)); // 744 / 50 rounded up
        assert_eq!(corpus.chunks()[3].tokens[0], 150);
        let targets: Vec<Token> = corpus
            .chunks()
            .iter()
            .flat_map(|chunk| corpus.slices(chunk, 100).flat_map(|slice| slice.targets.to_vec()))
            .collect();
        assert_eq!(targets, (206..206 + 15 * 50).collect::<Vec<_>>());
        assert_eq!(corpus.first(2).chunks(), &corpus.chunks()[..2]);
    }

    #[test]
    fn strides_that_cannot_be_are_refused() {
        let strided = |tokens: usize, n_ctx, stride| Corpus::strided_tokens(&vec![0; tokens], n_ctx, stride);
        for (tokens, n_ctx, stride, part) in [
            (1000, 100, 101, "stride of 101"),
            (1000, 100, 0, "stride of 0"),
            (256, 100, 50, "windows of 256"),
            (1000, 3, 1, "at least 4"),
        ] {
            let message = strided(tokens, n_ctx, stride).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
        assert_eq!(strided(257, 100, 50).unwrap().chunks().len(), 1);
    }

    #[test]
    fn what_cannot_be_scored_is_refused_with_the_numbers() {
        let message = Corpus::from_tokens(&[0; 100], 512, None).unwrap_err().to_string();
        assert!(message.contains("100") && message.contains("512"), "{message}");
        assert!(Corpus::from_tokens(&[0; 100], 3, None).is_err());
    }
}

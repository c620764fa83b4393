//! How large a context has to be, and which texts go into it together.

use crate::Token;
use std::ops::Range;

/// Tokens of the smallest context: short texts are the rule, and a context of this size costs little.
const SMALLEST: usize = 512;

/// Bytes of logits a batch may have. The engine computes the logits of every token whose embedding it gives, if the model has
/// an output layer; a large vocabulary would make them larger than the cache.
const LOGITS: u64 = 128 << 20;

/// The sizes of a context.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    /// Cells.
    pub(super) n_ctx: u32,
    /// Tokens computed at once.
    pub(super) n_batch: u32,
}

impl Sizes {
    /// For texts of up to `longest` tokens. A model that needs the `whole` text at once has a batch of that size.
    pub(super) fn new(longest: usize, whole: bool, n_vocab: u32) -> Self {
        let n_ctx = longest.next_power_of_two().max(SMALLEST);
        let n_ctx = u32::try_from(n_ctx).unwrap_or(u32::MAX);
        let affordable = (LOGITS / (4 * u64::from(n_vocab.max(1)))).clamp(32, 512);
        let n_batch = if whole {
            n_ctx
        } else {
            n_ctx.min(u32::try_from(affordable).unwrap_or(512))
        };
        Self { n_ctx, n_batch }
    }
}

/// Neighbours that have at most `capacity` tokens together, and are at most `most`.
pub(super) fn groups(texts: &[Vec<Token>], capacity: usize, most: usize) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let (mut start, mut tokens) = (0, 0);
    for (at, text) in texts.iter().enumerate() {
        if at > start && (tokens + text.len() > capacity || at - start == most) {
            groups.push(start..at);
            (start, tokens) = (at, 0);
        }
        tokens += text.len();
    }
    groups.push(start..texts.len());
    groups
}

#[cfg(test)]
mod tests {
    use super::{Sizes, groups};

    #[test]
    fn a_context_grows_with_the_longest_text_and_a_batch_shrinks_with_the_vocabulary() {
        let sizes = |longest, whole, n_vocab| {
            let Sizes { n_ctx, n_batch } = Sizes::new(longest, whole, n_vocab);
            (n_ctx, n_batch)
        };
        assert_eq!(sizes(5, false, 512), (512, 512));
        assert_eq!(sizes(513, true, 512), (1024, 1024));
        assert_eq!(sizes(5000, false, 32_000), (8192, 512));
        assert_eq!(sizes(5000, false, 151_936), (8192, 220));
        assert_eq!(sizes(5000, false, u32::MAX), (8192, 32));
    }

    #[test]
    fn texts_are_grouped_up_to_the_capacity_and_the_sequences() {
        let texts: Vec<Vec<i32>> = [3, 3, 3, 9, 1, 1, 1].iter().map(|&n| vec![0; n]).collect();
        assert_eq!(groups(&texts, 9, 8), [0..3, 3..4, 4..7]);
        assert_eq!(groups(&texts, 10, 2), [0..2, 2..3, 3..5, 5..7]);
        assert_eq!(groups(&texts[..3], 9, 8).len(), 1);
    }
}

//! How large a context has to be.

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

#[cfg(test)]
mod tests {
    use super::Sizes;

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
}

//! Whether a cache does worse the more of it is read: scores by the position of the token that predicts.

use super::divergence::Divergence;
use serde::Serialize;

/// The scores of one range of positions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct DepthBucket {
    /// First position of the range, counted from the start of a chunk.
    pub first: usize,
    /// Behind the last one.
    pub end: usize,
    /// Scored tokens in it.
    pub n_tokens: usize,
    /// Mean divergence in nats; NaN without tokens.
    pub kl: f64,
    /// Share of positions whose most probable token changed; NaN without tokens.
    pub flips: f64,
}

impl Divergence {
    /// The scored positions in `buckets` ranges, equal up to one position. None for 0 buckets or without scores.
    pub fn by_depth(&self, buckets: usize) -> Vec<DepthBucket> {
        let positions = || self.tokens().map(|token| token.position as usize);
        let (Some(first), Some(last)) = (positions().min(), positions().max()) else {
            return Vec::new();
        };
        let length = last + 1 - first;
        let mut sums = vec![(0, 0.0, 0_usize); buckets];
        for token in self.tokens().take_while(|_| buckets > 0) {
            let (tokens, kl, flips) = &mut sums[(token.position as usize - first) * buckets / length];
            *tokens += 1;
            *kl += token.kl;
            *flips += usize::from(!token.same_top);
        }
        // the first position p with p * buckets / length = i
        let start = |i: usize| first + (i * length).div_ceil(buckets);
        sums.into_iter()
            .enumerate()
            .map(|(i, (n_tokens, kl, flips))| DepthBucket {
                first: start(i),
                end: start(i + 1),
                n_tokens,
                kl: kl / n_tokens as f64,
                flips: flips as f64 / n_tokens as f64,
            })
            .collect()
    }

    /// The share of positions whose most probable token changed, in `buckets` equal ranges of the position; a bucket without
    /// tokens is NaN.
    pub fn flips_by_depth(&self, buckets: usize) -> Vec<f64> {
        let found = self.by_depth(buckets);
        (0..buckets)
            .map(|i| found.get(i).map_or(f64::NAN, |bucket| bucket.flips))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{ChunkScores, TokenScore};

    /// One chunk whose token at position 10 + i diverges by `kl[i]` and flips from 0.5 on.
    fn divergence(kl: &[f64]) -> Divergence {
        let token = |(i, &kl): (usize, &f64)| TokenScore {
            position: i as u32 + 10,
            nll_base: 1.0,
            nll: 1.0,
            kl,
            same_top: kl < 0.5,
        };
        Divergence {
            chunks: vec![ChunkScores {
                number: 0,
                tokens: kl.iter().enumerate().map(token).collect(),
            }],
        }
    }

    #[test]
    fn buckets_share_the_positions_without_gap_or_overlap() {
        let buckets = divergence(&[0.1, 0.2, 0.3, 0.5, 0.7]).by_depth(2);
        let ranges: Vec<_> = buckets.iter().map(|b| (b.first, b.end, b.n_tokens)).collect();
        assert_eq!(ranges, [(10, 13, 3), (13, 15, 2)]);
        assert!((buckets[0].kl - 0.2).abs() < 1e-12 && (buckets[1].kl - 0.6).abs() < 1e-12);
        assert_eq!([buckets[0].flips, buckets[1].flips], [0.0, 1.0]);
    }

    #[test]
    fn more_buckets_than_positions_leave_some_empty() {
        let buckets = divergence(&[0.1, 0.9]).by_depth(3);
        assert_eq!(buckets.iter().map(|b| b.n_tokens).collect::<Vec<_>>(), [1, 1, 0]);
        assert!(buckets[2].kl.is_nan() && buckets[2].first == buckets[2].end);
        assert!(divergence(&[0.1]).by_depth(0).is_empty());
    }
}

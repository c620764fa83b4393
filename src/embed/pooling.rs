//! From the vectors of a text's tokens to one vector of length 1.

use crate::Pooling;

/// Collects the vectors of one text. Sums are of `f64`, so that long texts lose nothing to rounding.
#[derive(Debug)]
pub(super) struct Pool {
    sum: Vec<f64>,
    count: u32,
    wanted: Wanted,
}

#[derive(Debug, Clone, Copy)]
enum Wanted {
    All,
    Only(usize),
}

impl Pool {
    /// Of a text of `len` tokens, at least one.
    pub(super) fn new(pooling: Pooling, len: usize, dimensions: usize) -> Self {
        Self {
            sum: vec![0.0; dimensions],
            count: 0,
            wanted: match pooling {
                Pooling::Cls => Wanted::Only(0),
                Pooling::Last => Wanted::Only(len - 1),
                Pooling::None | Pooling::Mean | Pooling::Rank => Wanted::All,
            },
        }
    }

    /// Whether the vector of the token at `pos` is needed.
    pub(super) fn wants(&self, pos: usize) -> bool {
        match self.wanted {
            Wanted::All => true,
            Wanted::Only(wanted) => wanted == pos,
        }
    }

    pub(super) fn add(&mut self, vector: &[f32]) {
        for (sum, value) in self.sum.iter_mut().zip(vector) {
            *sum += f64::from(*value);
        }
        self.count += 1;
    }

    pub(super) fn finish(self) -> Vec<f32> {
        let count = f64::from(self.count.max(1));
        self.sum.iter().map(|sum| (sum / count) as f32).collect()
    }
}

/// Scales a vector to length 1; one of zeros stays as it is.
pub fn normalize(vector: &mut [f32]) {
    let length = vector.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
    if length > 0.0 {
        for value in vector {
            *value = (f64::from(*value) / length) as f32;
        }
    }
}

/// The cosine of the angle between two vectors: 1 for the same direction, 0 for nothing in common. 0 also if one of them has
/// no direction.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths > 0.0 { dot(a, b) / lengths } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pooled(pooling: Pooling) -> Vec<f32> {
        let vectors = [[1.0, 0.0], [2.0, 1.0], [6.0, 2.0]];
        let mut pool = Pool::new(pooling, vectors.len(), 2);
        for (pos, vector) in vectors.iter().enumerate() {
            if pool.wants(pos) {
                pool.add(vector);
            }
        }
        pool.finish()
    }

    #[test]
    fn pooling_takes_the_mean_the_first_or_the_last() {
        assert_eq!(pooled(Pooling::Mean), [3.0, 1.0]);
        assert_eq!(pooled(Pooling::None), [3.0, 1.0]);
        assert_eq!(pooled(Pooling::Cls), [1.0, 0.0]);
        assert_eq!(pooled(Pooling::Last), [6.0, 2.0]);
    }

    #[test]
    fn normalizing_gives_length_one_and_leaves_zeros() {
        let mut vector = vec![3.0, 4.0];
        normalize(&mut vector);
        assert_eq!(vector, [0.6, 0.8]);
        let mut zeros = vec![0.0; 3];
        normalize(&mut zeros);
        assert_eq!(zeros, [0.0; 3]);
    }

    #[test]
    fn the_cosine_knows_direction_not_length() {
        assert!((cosine(&[1.0, 2.0], &[10.0, 20.0]) - 1.0).abs() < 1e-12);
        assert!(cosine(&[1.0, 0.0], &[0.0, 5.0]).abs() < 1e-12);
        assert_eq!(cosine(&[0.0], &[1.0]), 0.0);
    }
}

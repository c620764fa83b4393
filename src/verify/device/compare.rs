//! Right or wrong: a device's result beside the reference. Pure functions; each has tests that spoil a good result.

/// How a packed block of a device relates to the reference's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockMatch {
    /// The same bytes.
    Same,
    /// Other bytes that are as good: the search for the scale, or an index, came to a draw that rounding decided.
    Tie,
    /// Neither.
    Different,
}

/// Two encodings of one block whose squared errors differ by less than this share are a draw. One step of the fp16 scale moves
/// the error by up to 2^-10 of itself, one index by one level by more than a hundredth.
const DRAW: f64 = 2e-3;

/// Compares two encodings of `x`; `decoded` is what each decodes to.
#[must_use]
pub fn compare_block(x: &[f32], bytes: [&[u8]; 2], decoded: [&[f32]; 2]) -> BlockMatch {
    let [expected, got] = bytes;
    if expected == got {
        return BlockMatch::Same;
    }
    let error = |y: &[f32]| -> f64 {
        let squares = x.iter().zip(y).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
        squares.sum()
    };
    let (reference, other) = (error(decoded[0]), error(decoded[1]));
    // nothing to draw about: zeros, numbers that are none, an x that is not finite
    if reference > 0.0 && (reference - other).abs() <= DRAW * reference {
        BlockMatch::Tie
    } else {
        BlockMatch::Different
    }
}

/// The number of values that differ; the sign of zero does not count.
#[must_use]
pub fn differing_values(expected: &[f32], got: &[f32]) -> usize {
    let same = |(a, b): &(&f32, &f32)| a == b || (a.is_nan() && b.is_nan());
    let pairs = expected.iter().zip(got).filter(|pair| !same(pair)).count();
    pairs + expected.len().abs_diff(got.len())
}

/// `max |difference| / max |expected|`; infinite if anything is not a number or the lengths differ.
#[must_use]
pub fn relative_error(expected: &[f64], got: &[f32]) -> f64 {
    if expected.len() != got.len() {
        return f64::INFINITY;
    }
    let size = expected.iter().fold(0.0_f64, |top, v| top.max(v.abs()));
    let mut worst = 0.0_f64;
    for (a, b) in expected.iter().zip(got) {
        let off = (a - f64::from(*b)).abs();
        // f64::max would drop a NaN
        if !off.is_finite() {
            return f64::INFINITY;
        }
        worst = worst.max(off);
    }
    if worst == 0.0 { 0.0 } else { worst / size }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_are_the_same_whatever_they_mean() {
        let nan = [f32::NAN];
        assert_eq!(compare_block(&nan, [&[1], &[1]], [&nan, &nan]), BlockMatch::Same);
    }

    #[test]
    fn other_bytes_with_the_same_error_are_a_tie_and_with_another_error_are_different() {
        let x = [1.0, -1.0];
        let of = |got: &[f32; 2]| compare_block(&x, [&[1], &[2]], [&[1.1, -1.0], got]);
        assert_eq!(of(&[1.0, -1.1]), BlockMatch::Tie);
        assert_eq!(of(&[1.0, -1.2]), BlockMatch::Different);
        assert_eq!(of(&[f32::NAN, -1.0]), BlockMatch::Different);
    }

    #[test]
    fn a_block_that_is_not_finite_or_without_error_must_have_the_same_bytes() {
        let y = [1.0, 1.0];
        for x in [[f32::INFINITY, 1.0], [f32::NAN, 1.0], y] {
            assert_eq!(compare_block(&x, [&[1], &[2]], [&y, &y]), BlockMatch::Different);
        }
    }

    #[test]
    fn values_are_compared_exactly_but_for_the_sign_of_zero() {
        assert_eq!(differing_values(&[0.0, f32::NAN, 1.0], &[-0.0, f32::NAN, 1.0]), 0);
        assert_eq!(
            differing_values(&[1.0, 2.0], &[1.0, f32::from_bits(2.0_f32.to_bits() + 1)]),
            1
        );
        assert_eq!(differing_values(&[1.0, 2.0], &[1.0]), 1);
    }

    #[test]
    fn errors_are_relative_to_the_largest_expected_value() {
        assert_eq!(relative_error(&[4.0, 0.0], &[4.0, 1.0]), 0.25);
        assert_eq!(relative_error(&[0.0], &[0.0]), 0.0);
        assert_eq!(relative_error(&[0.0], &[1.0]), f64::INFINITY);
        for broken in [f32::NAN, f32::INFINITY] {
            assert_eq!(relative_error(&[1.0, 1.0], &[1.0, broken]), f64::INFINITY);
        }
        assert_eq!(relative_error(&[1.0], &[]), f64::INFINITY);
    }
}

//! Numbers about samples: pure functions on slices.
//!
//! Sources: percentiles are type 7 of Hyndman and Fan, "Sample Quantiles in Statistical Packages" (1996), as in R, NumPy
//! and llama-perplexity; intervals are the percentile bootstrap of Efron and Tibshirani, "An Introduction to the
//! Bootstrap" (1993), chapter 13, with whole chunks as the unit that is drawn, because the tokens of a chunk are not
//! independent.

use crate::verify::rng::Rng;
use serde::{Deserialize, Serialize};

/// The mean; NaN if there are no values.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The standard error of the mean, from the sample variance; NaN for fewer than two values.
pub fn standard_error(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    if values.len() < 2 {
        return f64::NAN;
    }
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (n - 1.0) / n).sqrt()
}

/// The standard deviation of the sample, as llama-bench prints it: 0 for fewer than two values.
pub fn standard_deviation(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (values.len() - 1) as f64).sqrt()
}

/// The value in the middle; NaN if there are no values.
pub fn median(values: &[f64]) -> f64 {
    Sorted::new(values.to_vec()).quantile(0.5)
}

/// The root of the mean square; NaN if there are no values.
pub fn root_mean_square(values: &[f64]) -> f64 {
    (values.iter().map(|value| value * value).sum::<f64>() / values.len() as f64).sqrt()
}

/// Least squares: (intercept, slope) of the line through (x, y) points; the slope is 0 and the intercept the mean of y where
/// all x are equal.
pub fn line(points: &[(f64, f64)]) -> (f64, f64) {
    let xs: Vec<f64> = points.iter().map(|point| point.0).collect();
    let ys: Vec<f64> = points.iter().map(|point| point.1).collect();
    let (x, y) = (mean(&xs), mean(&ys));
    let spread: f64 = xs.iter().map(|value| (value - x).powi(2)).sum();
    if spread == 0.0 {
        return (y, 0.0);
    }
    let slope = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum::<f64>() / spread;
    (y - slope * x, slope)
}

/// Values in order, for percentiles.
#[derive(Debug, Clone)]
pub struct Sorted(Vec<f64>);

impl Sorted {
    /// Sorts `values`; NaN goes last.
    pub fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// The value below which the share `q` of the values lies, interpolated between neighbours (`q` is clamped to 0..=1);
    /// NaN if there are no values.
    pub fn quantile(&self, q: f64) -> f64 {
        let Some(last) = self.0.len().checked_sub(1) else {
            return f64::NAN;
        };
        let at = q.clamp(0.0, 1.0) * last as f64;
        let below = at.floor() as usize;
        let (low, high) = (self.0[below], self.0[(below + 1).min(last)]);
        let part = at - below as f64;
        // not `low + part * (high - low)`: equal infinite neighbours would give NaN
        if part == 0.0 || low == high {
            low
        } else {
            low * (1.0 - part) + high * part
        }
    }
}

/// An estimate and the interval that a bootstrap puts around it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The value computed from all samples.
    pub estimate: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// The interval of an increasing function of the estimate.
    #[must_use]
    pub fn map(self, f: impl Fn(f64) -> f64) -> Self {
        Self {
            estimate: f(self.estimate),
            low: f(self.low),
            high: f(self.high),
        }
    }

    /// Whether `value` lies in it.
    pub fn contains(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// The larger distance from the estimate to an end: what a table prints behind the plus-minus sign.
    pub fn half_width(&self) -> f64 {
        (self.high - self.estimate).max(self.estimate - self.low)
    }
}

/// A percentile bootstrap. Equal settings give equal intervals.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// How often the samples are drawn anew.
    pub resamples: usize,
    /// Of the drawing.
    pub seed: u64,
    /// The share of resamples inside the interval.
    pub confidence: f64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self {
            resamples: 4000,
            seed: 1,
            confidence: 0.95,
        }
    }
}

impl Bootstrap {
    /// The interval of the mean.
    pub fn mean(&self, values: &[f64]) -> Interval {
        self.statistic(values.len(), |draw| {
            draw.map(|i| values[i]).sum::<f64>() / values.len() as f64
        })
    }

    /// The interval of `mean(a) - mean(b)` where `a[i]` and `b[i]` belong together. Surplus values of one are ignored.
    pub fn mean_difference(&self, a: &[f64], b: &[f64]) -> Interval {
        let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
        self.mean(&differences)
    }

    /// The interval of `mean(a) / mean(b)` where `a[i]` and `b[i]` belong together. Surplus values of one are ignored.
    pub fn mean_ratio(&self, a: &[f64], b: &[f64]) -> Interval {
        self.statistic(a.len().min(b.len()), |draw| {
            let (a, b) = draw.fold((0.0, 0.0), |sums, i| (sums.0 + a[i], sums.1 + b[i]));
            a / b
        })
    }

    /// The interval of the median of `a[i] / b[i]` where `a[i]` and `b[i]` were measured one after the other: what slows
    /// both drops out of each ratio, and a disturbed pair does not move the median. Surplus values of one are ignored.
    pub fn median_ratio(&self, a: &[f64], b: &[f64]) -> Interval {
        let ratios: Vec<f64> = a.iter().zip(b).map(|(a, b)| a / b).collect();
        self.statistic(ratios.len(), |draw| {
            median(&draw.map(|i| ratios[i]).collect::<Vec<_>>())
        })
    }

    /// The interval of a statistic of `n` samples, given the numbers of those that were drawn. All NaN without samples;
    /// with one, the interval is that one point: it says nothing about the spread.
    fn statistic(&self, n: usize, statistic: impl Fn(&mut dyn Iterator<Item = usize>) -> f64) -> Interval {
        if n == 0 {
            return Interval {
                estimate: f64::NAN,
                low: f64::NAN,
                high: f64::NAN,
            };
        }
        let mut rng = Rng::new(self.seed);
        let drawn = (0..self.resamples)
            .map(|_| statistic(&mut (0..n).map(|_| rng.below(n))))
            .collect();
        let drawn = Sorted::new(drawn);
        let outside = (1.0 - self.confidence) / 2.0;
        Interval {
            estimate: statistic(&mut (0..n)),
            low: drawn.quantile(outside),
            high: drawn.quantile(1.0 - outside),
        }
    }
}

/// The standard normal quantile that 95 % intervals use.
const Z95: f64 = 1.959_963_984_540_054;

/// The 95 % interval of a share of which `found` of `trials` are a sample: the score interval of Wilson, "Probable
/// Inference, the Law of Succession, and Statistical Inference" (1927). Unlike the normal one it stays in 0..=1 and says
/// something at 0 % and 100 %. All NaN without trials.
pub fn wilson(found: usize, trials: usize) -> Interval {
    let n = trials as f64;
    let share = found as f64 / n;
    if trials == 0 {
        return Interval {
            estimate: share,
            low: f64::NAN,
            high: f64::NAN,
        };
    }
    let z2 = Z95 * Z95;
    let center = (share + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z95 / (1.0 + z2 / n) * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
    Interval {
        estimate: share,
        // exact ends where rounding would leave them short of the estimate
        low: if found == 0 { 0.0 } else { center - half },
        high: if found == trials { share } else { center + half },
    }
}

/// The smallest number of trials from which on a sample that shows the share `high` has a [`wilson`] interval above `low`,
/// and one that shows `low` has an interval below `high`.
///
/// # Panics
/// Unless 0 < low < high < 1.
pub fn trials_to_tell(low: f64, high: f64) -> usize {
    assert!(0.0 < low && low < high && high < 1.0, "shares {low} and {high}");
    let tells = |n: usize| {
        let shows = |share: f64| wilson((share * n as f64).round() as usize, n);
        shows(high).low > low && shows(low).high < high
    };
    // rounding makes it come and go before it stays; beyond four times the first success it has stayed
    let first = (1..).find(|&n| tells(n)).unwrap_or(1);
    (first..=4 * first).rev().find(|&n| !tells(n)).map_or(first, |n| n + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_intervals_are_the_published_ones() {
        // Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I, method 3
        for (found, trials, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ] {
            let interval = wilson(found, trials);
            assert!(
                (interval.low - low).abs() < 5e-5 && (interval.high - high).abs() < 5e-5,
                "{found}/{trials}: {interval:?}"
            );
            let missed = wilson(trials - found, trials);
            assert!(
                (missed.low - (1.0 - interval.high)).abs() < 1e-12,
                "{found}/{trials}: {missed:?}"
            );
        }
        assert_eq!(wilson(7, 7).high, 1.0);
        assert!(wilson(0, 0).estimate.is_nan() && wilson(0, 0).low.is_nan());
    }

    #[test]
    fn trials_are_enough_to_tell_two_shares_and_fewer_are_not() {
        let n = trials_to_tell(0.95, 0.99);
        let shows = |share: f64, n: usize| wilson((share * n as f64).round() as usize, n);
        for n in n..n + 200 {
            assert!(shows(0.99, n).low > 0.95 && shows(0.95, n).high < 0.99, "{n}");
        }
        assert!(shows(0.99, n - 1).low <= 0.95 || shows(0.95, n - 1).high >= 0.99, "{n}");
        assert!(trials_to_tell(0.5, 0.9) < 20 && trials_to_tell(0.97, 0.99) > n);
    }

    #[test]
    fn mean_and_error_of_known_values() {
        let values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        assert_eq!(mean(&values), 5.0);
        assert!((standard_error(&values) - (32.0_f64 / 7.0 / 8.0).sqrt()).abs() < 1e-15);
        assert_eq!(root_mean_square(&[3.0, -4.0, 0.0, 0.0]), 2.5);
    }

    #[test]
    fn too_few_values_give_nan_and_not_a_number_that_looks_good() {
        assert!(mean(&[]).is_nan() && standard_error(&[]).is_nan() && standard_error(&[1.0]).is_nan());
        assert!(root_mean_square(&[]).is_nan() && Sorted::new(vec![]).quantile(0.5).is_nan());
        let none = Bootstrap::default().mean(&[]);
        assert!(none.estimate.is_nan() && none.low.is_nan() && none.high.is_nan());
    }

    #[test]
    fn a_line_goes_through_its_points() {
        assert_eq!(line(&[(0.0, 1.0), (2.0, 5.0), (1.0, 3.0)]), (1.0, 2.0));
        assert_eq!(line(&[(3.0, 1.0), (3.0, 2.0)]), (1.5, 0.0));
        assert!(line(&[]).0.is_nan());
    }

    #[test]
    fn quantiles_interpolate_as_numpy_does() {
        let sorted = Sorted::new(vec![4.0, 1.0, 3.0, 2.0]);
        for (q, expected) in [
            (0.0, 1.0),
            (0.25, 1.75),
            (0.5, 2.5),
            (0.9, 3.7),
            (1.0, 4.0),
            (-1.0, 1.0),
            (7.0, 4.0),
        ] {
            assert!((sorted.quantile(q) - expected).abs() < 1e-12, "{q}");
        }
        assert_eq!(Sorted::new(vec![5.0]).quantile(0.3), 5.0);
        assert_eq!(
            Sorted::new(vec![1.0, f64::INFINITY, f64::INFINITY]).quantile(0.8),
            f64::INFINITY
        );
    }

    #[test]
    fn zero_spread_gives_an_interval_of_width_zero() {
        let interval = Bootstrap::default().mean(&[0.25; 40]);
        assert_eq!(
            interval,
            Interval {
                estimate: 0.25,
                low: 0.25,
                high: 0.25
            }
        );
        assert_eq!(interval.half_width(), 0.0);
    }

    #[test]
    fn the_interval_of_a_mean_is_close_to_the_normal_one() {
        let mut rng = Rng::new(7);
        // sums of twelve uniform values: nearly normal
        let values: Vec<f64> = (0..400)
            .map(|_| (0..12).map(|_| rng.bits() as f64 / u64::MAX as f64).sum::<f64>() - 6.0)
            .collect();
        let interval = Bootstrap::default().mean(&values);
        let expected = 1.96 * standard_error(&values);
        assert!(
            (interval.half_width() / expected - 1.0).abs() < 0.1,
            "{interval:?}, expected width {expected}"
        );
        assert!(interval.contains(interval.estimate));
    }

    #[test]
    fn pairing_removes_what_both_sides_share() {
        // the chunks differ a hundredfold more than the two arms do
        let b: Vec<f64> = (0..50).map(|i| f64::from(i) * 0.1).collect();
        let a: Vec<f64> = b
            .iter()
            .enumerate()
            .map(|(i, b)| b + if i % 2 == 0 { 0.02 } else { 0.03 })
            .collect();
        let bootstrap = Bootstrap::default();
        let paired = bootstrap.mean_difference(&a, &b);
        assert!(
            paired.low > 0.0 && (paired.estimate - 0.025).abs() < 1e-12,
            "{paired:?}"
        );
        let ratio = bootstrap.mean_ratio(&a, &b);
        assert!(ratio.low > 1.0 && ratio.contains(ratio.estimate), "{ratio:?}");
        assert!(bootstrap.mean(&a).half_width() > 20.0 * paired.half_width());
    }

    #[test]
    fn a_median_ratio_survives_one_disturbed_pair_and_shared_drift() {
        // the machine gets slower by half; the fourth run of `a` was disturbed
        let b = [100.0, 90.0, 80.0, 70.0, 60.0, 50.0, 50.0];
        let a: Vec<f64> = b
            .iter()
            .enumerate()
            .map(|(i, b)| if i == 3 { 1.0 } else { b * 0.9 })
            .collect();
        let ratio = Bootstrap::default().median_ratio(&a, &b);
        assert!(
            (ratio.estimate - 0.9).abs() < 1e-12 && ratio.high - ratio.estimate < 1e-12,
            "{ratio:?}"
        );
        assert!(Bootstrap::default().median_ratio(&[], &b).estimate.is_nan());
    }

    #[test]
    fn deviation_and_median_of_known_values() {
        assert_eq!(standard_deviation(&[1.0, 2.0, 3.0]), 1.0);
        assert_eq!(standard_deviation(&[5.0]), 0.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn equal_seeds_give_equal_intervals() {
        let values: Vec<f64> = (0..40).map(|i| f64::from(i).sqrt()).collect();
        let interval = |seed| {
            Bootstrap {
                seed,
                ..Default::default()
            }
            .mean(&values)
        };
        assert_eq!(interval(3), interval(3));
        assert_ne!(interval(3), interval(4));
    }
}

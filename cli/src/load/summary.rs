//! Percentiles of durations, in constant memory.

use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Duration;

/// A day: longer than any request waits.
const LONGEST_US: u64 = 86_400_000_000;
/// Digits that are kept: an error of at most .1 %.
const DIGITS: u8 = 3;
/// Fewer values beyond a percentile say little about where it lies.
const TELLING: f64 = 10.0;

/// Durations as they come.
#[derive(Debug, Clone)]
pub struct Durations(Option<Histogram<u64>>);

/// Percentiles of durations, in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Durations.
    pub n: u64,
    /// Their mean; as the rest, null where there are none.
    pub mean: Option<f64>,
    /// The shortest.
    pub min: Option<f64>,
    /// The median.
    pub p50: Option<f64>,
    /// 90 % are no longer.
    pub p90: Option<f64>,
    /// 95 %.
    pub p95: Option<f64>,
    /// 99 %.
    pub p99: Option<f64>,
    /// The longest.
    pub max: Option<f64>,
    /// Percentiles with fewer than 10 durations beyond them: another run may have quite others.
    pub uncertain: Vec<&'static str>,
}

impl Default for Durations {
    fn default() -> Self {
        // the bounds are constants that the crate takes; without a histogram nothing would be counted, which a test rules out
        Self(Histogram::new_with_bounds(1, LONGEST_US, DIGITS).ok())
    }
}

impl Durations {
    /// Adds one.
    pub fn add(&mut self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record(us.max(1));
        }
    }

    /// Adds all of `others`.
    pub fn extend(&mut self, others: &Self) {
        if let (Some(own), Some(others)) = (&mut self.0, &others.0) {
            // both have the same bounds, so there is nothing that could not be added
            let _ = own.add(others);
        }
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.0.as_ref().map_or(0, Histogram::len)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The median; `None` where there is none.
    pub fn median(&self) -> Option<Duration> {
        let histogram = self.0.as_ref().filter(|histogram| !histogram.is_empty())?;
        Some(Duration::from_micros(histogram.value_at_quantile(0.5)))
    }

    /// Their percentiles.
    pub fn summary(&self) -> Summary {
        let present = self.0.as_ref().filter(|histogram| !histogram.is_empty());
        let ms = |of: &dyn Fn(&Histogram<u64>) -> f64| present.map(|histogram| of(histogram) / 1e3);
        let at = |quantile: f64| ms(&|histogram| histogram.value_at_quantile(quantile) as f64);
        let n = self.len();
        let quantiles = [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)];
        Summary {
            n,
            mean: ms(&Histogram::mean),
            min: ms(&|histogram| histogram.min() as f64),
            p50: at(0.5),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            max: ms(&|histogram| histogram.max() as f64),
            uncertain: quantiles
                .into_iter()
                .filter(|(_, quantile)| n > 0 && (n as f64) * (1.0 - quantile) < TELLING - 1e-9)
                .map(|(name, _)| name)
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ms: impl Iterator<Item = u64>) -> Summary {
        let mut durations = Durations::default();
        ms.for_each(|ms| durations.add(Duration::from_millis(ms)));
        durations.summary()
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_values() {
        let summary = of((1..=1000).rev());
        for (value, expected) in [
            (summary.min, 1.0),
            (summary.p50, 500.0),
            (summary.p90, 900.0),
            (summary.p95, 950.0),
            (summary.p99, 990.0),
            (summary.max, 1000.0),
            (summary.mean, 500.5),
        ] {
            let value = value.unwrap();
            assert!((value / expected - 1.0).abs() < 2e-3, "{value} is not {expected}");
        }
        assert_eq!((summary.n, summary.uncertain.len()), (1000, 0));
    }

    #[test]
    fn percentiles_of_few_values_are_marked() {
        assert_eq!(of(1..=999).uncertain, ["p99"]);
        assert_eq!(of(1..=100).uncertain, ["p95", "p99"]);
        assert_eq!(of(1..=19).uncertain, ["p50", "p90", "p95", "p99"]);
        assert!(of(1..=20).uncertain.iter().all(|name| *name != "p50"));
    }

    #[test]
    fn of_nothing_there_are_no_numbers() {
        let none = of(std::iter::empty());
        assert_eq!((none.n, none.p50, none.max, none.mean), (0, None, None, None));
        assert!(none.uncertain.is_empty());
    }

    #[test]
    fn what_is_longer_than_a_day_counts_as_a_day() {
        let summary = of(std::iter::once(u64::MAX / 1000));
        assert!(summary.max.unwrap() >= 86_400_000.0);
    }
}

//! How long a reader waits for the next token.

use super::stats::Sorted;
use serde::Serialize;
use std::time::Duration;

/// Percentiles of the time between generated tokens, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// Median.
    pub p50_ms: f64,
    /// One token in twenty takes longer.
    pub p95_ms: f64,
    /// One token in a hundred takes longer.
    pub p99_ms: f64,
}

impl Latency {
    /// Of these times; `None` if there are none.
    pub fn of<'a>(times: impl Iterator<Item = &'a Duration>) -> Option<Self> {
        let ms: Vec<f64> = times.map(|time| 1e3 * time.as_secs_f64()).collect();
        if ms.is_empty() {
            return None;
        }
        let sorted = Sorted::new(ms);
        Some(Self {
            p50_ms: sorted.quantile(0.50),
            p95_ms: sorted.quantile(0.95),
            p99_ms: sorted.quantile(0.99),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_all_tokens() {
        let times: Vec<Duration> = (0..=100).rev().map(Duration::from_millis).collect();
        let latency = Latency::of(times.iter()).unwrap();
        for (value, expected) in [(latency.p50_ms, 50.0), (latency.p95_ms, 95.0), (latency.p99_ms, 99.0)] {
            assert!((value - expected).abs() < 1e-9, "{latency:?}");
        }
        assert_eq!(Latency::of([].iter()), None);
    }
}

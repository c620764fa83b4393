//! The statistics that llama-perplexity prints, by its names and with its errors.
//!
//! Its `±` is the standard error of a mean over tokens taken for independent, carried through functions of means by the
//! first-order rule (as in Bevington and Robinson, "Data Reduction and Error Analysis for the Physical Sciences", 3rd ed.,
//! chapter 3). Tokens of one text are not independent, so these errors are too small; [`Summary`](super::Summary) has
//! intervals that do not assume it.
//!
//! One difference is wanted: llama-perplexity keeps the base in a file of 16-bit log-probabilities, none of them below the
//! largest one minus 16. Unlikely tokens of the text so come out too likely in its PPL(base), and its ratio and difference
//! are off by that (0.0035 of the ratio on the embedded model, q4_0); divergences hardly are. Here the base is computed beside the candidate and nothing is rounded.

use super::divergence::Divergence;
use super::scores::TokenScore;
use super::stats::{self, Sorted};
use serde::Serialize;

/// A value and its standard error; the error is NaN for fewer than two tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// From all tokens.
    pub value: f64,
    /// One standard error.
    pub error: f64,
}

impl Estimate {
    fn mean(values: &[f64]) -> Self {
        Self {
            value: stats::mean(values),
            error: stats::standard_error(values),
        }
    }

    /// The exponential; the relative error is the error of the logarithm.
    fn exp(self) -> Self {
        let value = self.value.exp();
        Self {
            value,
            error: value * self.error,
        }
    }
}

/// Where the values of all tokens lie: percentiles, `p999` is 99.9 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Distribution {
    pub maximum: f64,
    pub p999: f64,
    pub p99: f64,
    pub p95: f64,
    pub p90: f64,
    pub p75: f64,
    pub median: f64,
    pub p25: f64,
    pub p10: f64,
    pub p05: f64,
    pub p01: f64,
    pub p001: f64,
    pub minimum: f64,
}

impl Distribution {
    fn of(values: Vec<f64>) -> Self {
        let sorted = Sorted::new(values);
        let at = |q| sorted.quantile(q);
        Self {
            maximum: at(1.0),
            p999: at(0.999),
            p99: at(0.99),
            p95: at(0.95),
            p90: at(0.9),
            p75: at(0.75),
            median: at(0.5),
            p25: at(0.25),
            p10: at(0.1),
            p05: at(0.05),
            p01: at(0.01),
            p001: at(0.001),
            minimum: at(0.0),
        }
    }
}

/// What `llama-perplexity --kl-divergence` prints of a pair. Divergences in nats, probabilities from 0 to 1 (it prints
/// percent).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Statistics {
    /// Scored tokens.
    pub n_tokens: usize,
    /// Mean PPL(Q): the candidate's perplexity.
    pub ppl: Estimate,
    /// Mean PPL(base).
    pub ppl_base: Estimate,
    /// Cor(ln(PPL(Q)), ln(PPL(base))): of the tokens' negative log-probabilities, -1 to 1; NaN if one of them is constant.
    pub correlation: f64,
    /// Mean ln(PPL(Q)/PPL(base)).
    pub ln_ratio: Estimate,
    /// Mean PPL(Q)/PPL(base).
    pub ratio: Estimate,
    /// Mean PPL(Q)-PPL(base).
    pub difference: Estimate,
    /// Mean KLD.
    pub kl: Estimate,
    /// The tokens' divergences.
    pub kl_distribution: Distribution,
    /// Mean delta-p: what the candidate adds to the probability of the text's next token.
    pub delta_p: Estimate,
    /// The tokens' delta-p.
    pub delta_p_distribution: Distribution,
    /// RMS delta-p.
    pub delta_p_rms: Estimate,
    /// Same top p: the share of positions with the same most probable token.
    pub same_top: Estimate,
}

impl Divergence {
    /// llama-perplexity's statistics of this pair; NaN without scores.
    pub fn statistics(&self) -> Statistics {
        let column = |value: fn(&TokenScore) -> f64| self.tokens().map(value).collect::<Vec<f64>>();
        let (nll, nll_base) = (column(|t| t.nll), column(|t| t.nll_base));
        let (ln_ppl, ln_base) = (Estimate::mean(&nll), Estimate::mean(&nll_base));
        let (ppl, ppl_base) = (ln_ppl.exp(), ln_base.exp());
        let covariance = covariance_of_means(&nll, &nll_base);
        // of the differences, token by token: the same as the two errors combined with their covariance, without the
        // cancellation that can make that sum negative
        let ln_ratio = Estimate::mean(&nll.iter().zip(&nll_base).map(|(q, base)| q - base).collect::<Vec<_>>());
        let delta_p = column(TokenScore::delta_p);
        let square = Estimate::mean(&delta_p.iter().map(|p| p * p).collect::<Vec<_>>());
        let rms = square.value.sqrt();
        let n_tokens = nll.len();
        let same = self.same_top();
        let kl = column(|t| t.kl);
        Statistics {
            n_tokens,
            correlation: covariance / (ln_ppl.error * ln_base.error),
            ratio: ln_ratio.exp(),
            difference: Estimate {
                value: ppl.value - ppl_base.value,
                error: (ppl.error.powi(2) + ppl_base.error.powi(2) - 2.0 * ppl.value * ppl_base.value * covariance)
                    .max(0.0)
                    .sqrt(),
            },
            ppl,
            ppl_base,
            ln_ratio,
            kl: Estimate::mean(&kl),
            kl_distribution: Distribution::of(kl),
            delta_p: Estimate::mean(&delta_p),
            delta_p_distribution: Distribution::of(delta_p),
            delta_p_rms: Estimate {
                value: rms,
                // the root of exact zeros is exact
                error: if rms == 0.0 { 0.0 } else { 0.5 / rms * square.error },
            },
            same_top: Estimate {
                value: same,
                error: (same * (1.0 - same) / (n_tokens as f64 - 1.0)).sqrt(),
            },
        }
    }
}

/// The covariance of the means of paired values.
fn covariance_of_means(a: &[f64], b: &[f64]) -> f64 {
    let (mean_a, mean_b, n) = (stats::mean(a), stats::mean(b), a.len() as f64);
    let products: f64 = a.iter().zip(b).map(|(a, b)| (a - mean_a) * (b - mean_b)).sum();
    products / n / (n - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::ChunkScores;

    fn divergence(nll: &[f64], nll_base: &[f64], same: &[bool]) -> Divergence {
        let token = |i: usize| TokenScore {
            position: i as u32,
            nll_base: nll_base[i],
            nll: nll[i],
            kl: i as f64,
            same_top: same[i],
        };
        Divergence {
            chunks: vec![ChunkScores {
                number: 0,
                tokens: (0..nll.len()).map(token).collect(),
            }],
        }
    }

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found}, expected {expected}");
    }

    #[test]
    fn correlation_and_errors_by_hand() {
        // deviations of Q: -1 0 0 1 (squares 2), of the base: -1 1 -1 1 (squares 4), products 1 + 0 + 0 + 1 = 2
        let s = divergence(&[1.0, 2.0, 2.0, 3.0], &[1.0, 3.0, 1.0, 3.0], &[true; 4]).statistics();
        near(s.correlation, 2.0 / 8.0_f64.sqrt());
        // sample variances 2/3 and 4/3, errors of the means the roots of 1/6 and 1/3
        near(s.ppl.value, 2.0_f64.exp());
        near(s.ppl.error, 2.0_f64.exp() * (1.0_f64 / 6.0).sqrt());
        near(s.ppl_base.error, 2.0_f64.exp() * (1.0_f64 / 3.0).sqrt());
        // 1/6 + 1/3 - 2 * 2/12
        near(s.ln_ratio.value, 0.0);
        near(s.ln_ratio.error, (1.0_f64 / 6.0).sqrt());
        near(s.ratio.error, (1.0_f64 / 6.0).sqrt());
        // both factors are e^2, so the difference has the error of the logarithm times e^2
        near(s.difference.error, 2.0_f64.exp() * (1.0_f64 / 6.0).sqrt());
        near(s.kl.value, 1.5);
        near(s.kl_distribution.median, 1.5);
        near(s.kl_distribution.p90, 2.7);
    }

    #[test]
    fn probabilities_by_hand() {
        let ln = |p: f64| -p.ln();
        // delta-p: +0.25, -0.25, 0, 0
        let s = divergence(
            &[ln(0.5), ln(0.25), ln(0.5), ln(0.5)],
            &[ln(0.25), ln(0.5), ln(0.5), ln(0.5)],
            &[true, false, true, true],
        )
        .statistics();
        near(s.delta_p.value, 0.0);
        near(s.delta_p_rms.value, (0.0625_f64 / 2.0).sqrt());
        // squares 1/16 1/16 0 0: sample variance (4 / 1024) / 3, error of their mean 1 / sqrt(3072)
        near(s.delta_p_rms.error, 0.5 / (1.0_f64 / 32.0).sqrt() / 3072.0_f64.sqrt());
        near(s.same_top.value, 0.75);
        near(s.same_top.error, (0.75_f64 * 0.25 / 3.0).sqrt());
        near(s.delta_p_distribution.maximum, 0.25);
        near(s.delta_p_distribution.minimum, -0.25);
    }

    #[test]
    fn equal_sides_have_zero_errors_and_no_scores_no_numbers() {
        let same = divergence(&[1.0, 2.0, 4.0], &[1.0, 2.0, 4.0], &[true; 3]).statistics();
        near(same.correlation, 1.0);
        assert_eq!(
            (same.ln_ratio.error, same.delta_p_rms.error, same.same_top.error),
            (0.0, 0.0, 0.0)
        );
        let none = Divergence::default().statistics();
        assert!(none.ppl.value.is_nan() && none.kl.error.is_nan() && none.n_tokens == 0);
    }
}

//! From logits to scores: one token of one distribution, or of two that are compared. Pure functions on slices.

use crate::Token;

/// How two distributions over the vocabulary differ at one position.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenScore {
    /// Position in the chunk of the token that predicts.
    pub position: u32,
    /// Negative log-probability of the text's next token, base.
    pub nll_base: f64,
    /// The same of the candidate.
    pub nll: f64,
    /// Kullback-Leibler divergence of the candidate from the base: the sum of p (ln p - ln q) over the vocabulary.
    pub kl: f64,
    /// Both have the same most probable token.
    pub same_top: bool,
}

impl TokenScore {
    /// What the candidate adds to the probability of the text's next token.
    pub fn delta_p(&self) -> f64 {
        (-self.nll).exp() - (-self.nll_base).exp()
    }
}

/// The logarithm of the sum of exponentials, and the first entry with the largest logit.
fn log_sum_exp(logits: &[f32]) -> (f64, usize) {
    let mut top = 0;
    for (i, logit) in logits.iter().enumerate() {
        if *logit > logits[top] {
            top = i;
        }
    }
    let max = f64::from(logits[top]);
    let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - max).exp()).sum();
    (max + sum.ln(), top)
}

/// Negative log-probability of `next`.
pub fn nll(logits: &[f32], next: Token) -> f64 {
    log_sum_exp(logits).0 - f64::from(logits[next as usize])
}

/// Compares the distributions of `base` and `candidate` at `position`, where the text goes on with `next`.
pub fn compare(base: &[f32], candidate: &[f32], next: Token, position: u32) -> TokenScore {
    let (base_norm, base_top) = log_sum_exp(base);
    let (norm, top) = log_sum_exp(candidate);
    let kl = base.iter().zip(candidate).map(|(&b, &c)| {
        let ln_p = f64::from(b) - base_norm;
        let p = ln_p.exp();
        // an entry that the base excludes (-inf) adds nothing, whatever the candidate says
        if p > 0.0 {
            p * (ln_p - (f64::from(c) - norm))
        } else {
            0.0
        }
    });
    TokenScore {
        position,
        nll_base: base_norm - f64::from(base[next as usize]),
        nll: norm - f64::from(candidate[next as usize]),
        kl: kl.sum(),
        same_top: base_top == top,
    }
}

/// Calls `score` for 0..n on up to `threads` threads; results in order.
pub(super) fn parallel<T: Send>(n: usize, threads: usize, score: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let share = n.div_ceil(threads.max(1)).max(1);
    if share >= n {
        return (0..n).map(score).collect();
    }
    let score = &score;
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..n)
            .step_by(share)
            .map(|from| scope.spawn(move || (from..n.min(from + share)).map(score).collect::<Vec<T>>()))
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("scoring does not panic"))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_outcomes_by_hand() {
        // p = (3/4, 1/4), q = (1/2, 1/2): KL = 3/4 ln(3/2) + 1/4 ln(1/2)
        let p = [3.0_f32.ln(), 0.0];
        let score = compare(&p, &[7.0, 7.0], 1, 5);
        let expected = 0.75 * 1.5_f64.ln() + 0.25 * 0.5_f64.ln();
        assert!((score.kl - expected).abs() < 1e-7, "{score:?}");
        assert!((score.nll_base - 4.0_f64.ln()).abs() < 1e-7 && (score.nll - 2.0_f64.ln()).abs() < 1e-12);
        assert!((score.delta_p() - 0.25).abs() < 1e-7);
        assert!(score.same_top && score.position == 5);
    }

    #[test]
    fn equal_distributions_have_no_divergence_and_constants_do_not_matter() {
        let base: Vec<f32> = (0..4096).map(|i| ((i * 37) % 101) as f32 * 0.25 - 9.0).collect();
        let shifted: Vec<f32> = base.iter().map(|logit| logit + 16.0).collect();
        assert_eq!(compare(&base, &base, 17, 0).kl, 0.0);
        let score = compare(&base, &shifted, 17, 0);
        assert!(score.kl.abs() < 1e-12 && score.same_top && (score.nll - nll(&base, 17)).abs() < 1e-12);
    }

    #[test]
    fn small_probabilities_count_and_excluded_entries_do_not() {
        // a base tail far below exp(-16), which a 16-bit table of log-probabilities would drop
        let score = compare(&[0.0, -40.0], &[0.0, -4000.0], 0, 0);
        assert!(
            (score.kl - 3960.0 * (-40.0_f64).exp()).abs() < 1e-16 && score.kl > 0.0,
            "{score:?}"
        );
        let excluded = compare(&[0.0, f32::NEG_INFINITY], &[0.0, f32::NEG_INFINITY], 0, 0);
        assert_eq!(excluded.kl, 0.0);
        assert_eq!(compare(&[0.0, 0.0], &[0.0, f32::NEG_INFINITY], 0, 0).kl, f64::INFINITY);
    }

    #[test]
    fn of_equal_logits_the_first_is_the_top() {
        assert!(compare(&[1.0, 1.0], &[1.0, 0.0], 0, 0).same_top);
        assert!(!compare(&[1.0, 1.0], &[0.0, 1.0], 0, 0).same_top);
    }

    #[test]
    fn threads_do_not_change_the_order() {
        for threads in [0, 1, 2, 3, 64] {
            assert_eq!(
                parallel(10, threads, |i| i * i),
                (0..10).map(|i| i * i).collect::<Vec<_>>()
            );
        }
        assert!(parallel(0, 2, |i| i).is_empty());
    }
}

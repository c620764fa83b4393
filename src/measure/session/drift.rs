//! The turns after the 30th against those before, with conversations as what is drawn: the turns of one are not independent.

use super::DRIFT_TURN;
use super::hold::{Conversation, SessionRun, TurnResult};
use crate::measure::stats::{Bootstrap, Interval, mean};
use serde::Serialize;

/// The rule of [`Verdict`], for people.
pub const NO_WORSE: &str = "no worse than f16: after turn 30 the 95 % interval of (recall - recall of f16) lies above -5 points, and that of \
     (mean KL after turn 30 / before) below 1.5. worse: the first lies below -5 points, or the second above 1.5. Otherwise, or with fewer than 5 \
     conversations, undecided";
/// Recall may be lower by so much.
const MARGIN: f64 = 0.05;
/// The divergence may grow by this factor.
const GROWTH: f64 = 1.5;
/// Fewer conversations give intervals that say nothing.
const LEAST_CONVERSATIONS: usize = 5;

/// Recall questions, and those answered right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct Recall {
    pub asked: usize,
    pub recalled: usize,
}

/// Whether a cache holds a long conversation as well as the first one does; [`NO_WORSE`] is the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Verdict {
    NoWorse,
    Worse,
    Undecided,
}

/// Turns 1 to 30 and the later ones; intervals by bootstrap over conversations.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Drift {
    /// Recall to turn 30.
    pub recall_before: Recall,
    /// Recall after it.
    pub recall_after: Recall,
    /// The share recalled after turn 30 minus the first cache's.
    pub recall_difference: Interval,
    /// Mean divergence by turn to turn 30, in nats.
    pub kl_before: f64,
    /// Mean divergence by turn after it.
    pub kl_after: f64,
    /// The second minus the first.
    pub kl_change: Interval,
    /// The second over the first.
    pub kl_ratio: Interval,
    /// By the rule.
    pub verdict: Verdict,
}

impl SessionRun {
    /// The drift of `cache`, another than the first; `None` without conversations of more than 30 turns.
    pub fn drift(&self, cache: usize, bootstrap: &Bootstrap) -> Option<Drift> {
        let long: Vec<&Conversation> = self
            .conversations
            .iter()
            .filter(|c| c.caches[0].len() > DRIFT_TURN)
            .collect();
        if long.is_empty() || cache == 0 {
            return None;
        }
        let part = |conversation: &'_ Conversation, cache: usize, late: bool| {
            let (before, after) = conversation.caches[cache].split_at(DRIFT_TURN);
            if late { after.to_vec() } else { before.to_vec() }
        };
        let kl = |late| {
            long.iter()
                .map(|c| {
                    mean(
                        &part(c, cache, late)
                            .iter()
                            .filter_map(|turn| turn.kl)
                            .collect::<Vec<_>>(),
                    )
                })
                .collect::<Vec<f64>>()
        };
        let recall = |late| {
            long.iter().fold(Recall::default(), |sum, c| {
                let Recall { asked, recalled } = count(&part(c, cache, late));
                Recall {
                    asked: sum.asked + asked,
                    recalled: sum.recalled + recalled,
                }
            })
        };
        // conversations without a late question have no share
        let shares: Vec<(f64, f64)> = long
            .iter()
            .map(|c| (share(count(&part(c, cache, true))), share(count(&part(c, 0, true)))))
            .filter(|(mine, base)| mine.is_finite() && base.is_finite())
            .collect();
        let (mine, base): (Vec<f64>, Vec<f64>) = shares.into_iter().unzip();
        let (before, after) = (kl(false), kl(true));
        let mut drift = Drift {
            recall_before: recall(false),
            recall_after: recall(true),
            recall_difference: bootstrap.mean_difference(&mine, &base),
            kl_before: mean(&before),
            kl_after: mean(&after),
            kl_change: bootstrap.mean_difference(&after, &before),
            kl_ratio: bootstrap.mean_ratio(&after, &before),
            verdict: Verdict::Undecided,
        };
        drift.verdict = verdict(&drift, mine.len());
        Some(drift)
    }
}

fn count(turns: &[TurnResult]) -> Recall {
    Recall {
        asked: turns.iter().filter(|turn| turn.recalled.is_some()).count(),
        recalled: turns.iter().filter(|turn| turn.recalled == Some(true)).count(),
    }
}

fn share(recall: Recall) -> f64 {
    recall.recalled as f64 / recall.asked as f64
}

fn verdict(drift: &Drift, conversations: usize) -> Verdict {
    let (recall, growth) = (&drift.recall_difference, &drift.kl_ratio);
    // two caches that predict the same have no ratio of divergences
    let same = drift.kl_before == 0.0 && drift.kl_after == 0.0;
    if conversations < LEAST_CONVERSATIONS {
        Verdict::Undecided
    } else if recall.high < -MARGIN || growth.low > GROWTH {
        Verdict::Worse
    } else if recall.low >= -MARGIN && (same || growth.high <= GROWTH) {
        Verdict::NoWorse
    } else {
        Verdict::Undecided
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Conversations of 50 turns that ask in every fifth; `late` of each conversation's 4 late questions are answered by the
    /// second cache, and its divergence is `kl` before and after.
    fn run(late: &[usize], kl: (f64, f64)) -> SessionRun {
        let conversation = |(number, late): (usize, &usize)| {
            let turns = |cache: usize| {
                (0..50)
                    .map(|i| TurnResult {
                        recalled: (i % 5 == 4).then_some(cache == 0 || i < 30 || (i - 30) / 5 < *late),
                        answer: None,
                        // conversations differ, as real ones do
                        kl: (cache > 0).then_some((if i < 30 { kl.0 } else { kl.1 }) * (1.0 + number as f64 / 10.0)),
                        n_tokens: 10,
                    })
                    .collect()
            };
            Conversation {
                number,
                caches: vec![turns(0), turns(1)],
            }
        };
        SessionRun {
            conversations: late.iter().enumerate().map(conversation).collect(),
            complete: true,
        }
    }

    fn drift(late: &[usize], kl: (f64, f64)) -> Drift {
        run(late, kl).drift(1, &Bootstrap::default()).unwrap()
    }

    #[test]
    fn parts_are_counted_before_and_after_turn_30() {
        let drift = drift(&[4, 4, 4, 4, 4, 3], (0.01, 0.012));
        assert_eq!((drift.recall_before.asked, drift.recall_before.recalled), (36, 36));
        assert_eq!((drift.recall_after.asked, drift.recall_after.recalled), (24, 23));
        assert!(
            (drift.kl_ratio.estimate - 1.2).abs() < 1e-9 && drift.kl_change.low > 0.0,
            "{drift:?}"
        );
        assert!(
            (drift.recall_difference.estimate + 1.0 / 24.0).abs() < 1e-12,
            "{drift:?}"
        );
    }

    #[test]
    fn the_verdict_follows_the_rule() {
        assert_eq!(drift(&[4; 8], (0.01, 0.01)).verdict, Verdict::NoWorse);
        assert_eq!(drift(&[4; 8], (0.0, 0.0)).verdict, Verdict::NoWorse, "equal caches");
        assert_eq!(
            drift(&[4; 8], (0.01, 0.03)).verdict,
            Verdict::Worse,
            "the divergence triples"
        );
        assert_eq!(
            drift(&[1, 2, 1, 2, 1, 2], (0.01, 0.01)).verdict,
            Verdict::Worse,
            "facts are lost"
        );
        assert_eq!(drift(&[4, 4, 4, 4, 4, 2], (0.01, 0.01)).verdict, Verdict::Undecided);
        assert_eq!(
            drift(&[4; 4], (0.01, 0.01)).verdict,
            Verdict::Undecided,
            "four conversations"
        );
    }

    #[test]
    fn short_conversations_and_the_first_cache_have_no_drift() {
        let mut short = run(&[4; 6], (0.01, 0.01));
        assert!(short.drift(0, &Bootstrap::default()).is_none());
        for conversation in &mut short.conversations {
            conversation.caches.iter_mut().for_each(|turns| turns.truncate(30));
        }
        assert!(short.drift(1, &Bootstrap::default()).is_none());
    }
}

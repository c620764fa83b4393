//! From answers to shares: by length and depth, by length, and against the cache that others are judged by.

use super::{NeedleQuestion, NeedleRun};
use crate::measure::stats::{Interval, wilson};
use serde::Serialize;

/// The answers of one cache at one length and depth.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct NeedleCell {
    /// The number of the cache.
    pub cache: usize,
    /// The length, in tokens.
    pub n_ctx: u32,
    /// The depth; `None` if a file did not tell it.
    pub depth: Option<f64>,
    /// Needles asked for.
    pub trials: usize,
    /// Needles found.
    pub found: usize,
}

/// The needles that one cache found, of those of one length or of all.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct NeedleScore {
    /// Needles asked for.
    pub trials: usize,
    /// Needles found.
    pub found: usize,
    /// Their share, with Wilson's interval.
    pub share: Interval,
    /// What is left of what another cache finds; `None`: nothing to compare with.
    pub kept: Option<NeedleKept>,
}

/// A cache against another one, on the questions that both answered.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct NeedleKept {
    /// Needles that the other one found.
    pub base_found: usize,
    /// Of these, needles that this one found as well.
    pub kept: usize,
    /// Needles that only this one found.
    pub gained: usize,
    /// The share of the first two, with Wilson's interval.
    pub share: Interval,
}

impl NeedleRun {
    /// The cells that have answers: by cache, then by length, then by depth.
    pub fn cells(&self, questions: &[NeedleQuestion]) -> Vec<NeedleCell> {
        let mut cells: Vec<NeedleCell> = Vec::new();
        for answer in &self.answers {
            let NeedleQuestion { n_ctx, depth, .. } = questions[answer.question];
            let same = |cell: &&mut NeedleCell| (cell.cache, cell.n_ctx, cell.depth) == (answer.cache, n_ctx, depth);
            let found = usize::from(answer.found);
            match cells.iter_mut().find(same) {
                Some(cell) => {
                    cell.trials += 1;
                    cell.found += found;
                }
                None => cells.push(NeedleCell {
                    cache: answer.cache,
                    n_ctx,
                    depth,
                    trials: 1,
                    found,
                }),
            }
        }
        let order = |cell: &NeedleCell| (cell.cache, cell.n_ctx);
        cells.sort_by(|a, b| {
            let depth = |cell: &NeedleCell| cell.depth.unwrap_or(f64::INFINITY);
            order(a).cmp(&order(b)).then(depth(a).total_cmp(&depth(b)))
        });
        cells
    }

    /// The score of `cache` over the questions that `choose` takes, against the cache `base` if there is one.
    pub fn score(
        &self,
        questions: &[NeedleQuestion],
        cache: usize,
        base: Option<usize>,
        choose: impl Fn(&NeedleQuestion) -> bool,
    ) -> NeedleScore {
        let by = |cache: usize| {
            let mut found: Vec<Option<bool>> = vec![None; questions.len()];
            for answer in self
                .answers
                .iter()
                .filter(|a| a.cache == cache && choose(&questions[a.question]))
            {
                found[answer.question] = Some(answer.found);
            }
            found
        };
        let mine = by(cache);
        let (trials, found) = (
            mine.iter().flatten().count(),
            mine.iter().flatten().filter(|f| **f).count(),
        );
        let kept = base.filter(|base| *base != cache).map(|base| {
            let pairs: Vec<(bool, bool)> = by(base)
                .into_iter()
                .zip(&mine)
                .filter_map(|(b, m)| Some((b?, (*m)?)))
                .collect();
            let count = |wanted: (bool, bool)| pairs.iter().filter(|pair| **pair == wanted).count();
            let (kept, lost) = (count((true, true)), count((true, false)));
            NeedleKept {
                base_found: kept + lost,
                kept,
                gained: count((false, true)),
                share: wilson(kept, kept + lost),
            }
        });
        NeedleScore {
            trials,
            found,
            share: wilson(found, trials),
            kept,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{NeedleAnswer, NeedleKind};

    fn question(n_ctx: u32, depth: f64) -> NeedleQuestion {
        NeedleQuestion {
            n_ctx,
            depth: Some(depth),
            placed: None,
            kind: NeedleKind::Plain,
            trial: 0,
            expected: String::new(),
            tokens: Vec::new(),
        }
    }

    fn answer((cache, question, found): (usize, usize, bool)) -> NeedleAnswer {
        NeedleAnswer {
            cache,
            question,
            answer: String::new(),
            found,
        }
    }

    fn run(answers: impl IntoIterator<Item = (usize, usize, bool)>) -> NeedleRun {
        NeedleRun {
            answers: answers.into_iter().map(answer).collect(),
            complete: true,
        }
    }

    fn questions() -> Vec<NeedleQuestion> {
        [(512, 1.0), (256, 0.0), (256, 0.5), (256, 0.5)]
            .map(|(n, d)| question(n, d))
            .into()
    }

    #[test]
    fn cells_are_counted_and_ordered() {
        let run = run([(1, 0, true), (0, 3, true), (0, 2, false), (0, 1, true)]);
        let cells: Vec<_> = run
            .cells(&questions())
            .iter()
            .map(|c| (c.cache, c.n_ctx, c.depth, c.trials, c.found))
            .collect();
        assert_eq!(
            cells,
            [
                (0, 256, Some(0.0), 1, 1),
                (0, 256, Some(0.5), 2, 1),
                (1, 512, Some(1.0), 1, 1)
            ]
        );
    }

    #[test]
    fn what_the_base_misses_does_not_count_against_a_cache() {
        // found by: both, base only, candidate only, nobody; the last question was not asked of the candidate
        let mut questions = questions();
        questions.push(question(256, 0.0));
        let base = [true, true, false, false, true]
            .iter()
            .enumerate()
            .map(|(i, f)| (0, i, *f));
        let mine = [true, false, true, false].iter().enumerate().map(|(i, f)| (1, i, *f));
        let both = run(base.chain(mine));
        let all = both.score(&questions, 1, Some(0), |_| true);
        let kept = all.kept.unwrap();
        assert_eq!((all.trials, all.found), (4, 2));
        assert_eq!((kept.base_found, kept.kept, kept.gained), (2, 1, 1));
        assert_eq!(kept.share, wilson(1, 2));
        let short = both.score(&questions, 1, Some(0), |q| q.n_ctx == 256);
        assert_eq!((short.trials, short.found, short.kept.unwrap().base_found), (3, 1, 1));
        assert!(
            both.score(&questions, 0, Some(0), |_| true).kept.is_none(),
            "nobody is judged by itself"
        );
        assert!(run([]).score(&questions, 0, None, |_| true).share.estimate.is_nan());
    }
}

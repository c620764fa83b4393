//! Counting cells of a cache in which sequences share what they have in common.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Which cells one sequence's positions are in, as far as counting needs it: runs of cells that were computed for one
/// sequence in one go. Sequences that share cells have the same run, perhaps cut at different ends.
#[derive(Debug, Clone, Default)]
pub(super) struct Cells {
    runs: Vec<Run>,
    /// The last run has been cut, or belongs to another sequence: what comes next is a new one.
    closed: bool,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    id: u64,
    start: usize,
    end: usize,
}

impl Cells {
    fn len(&self) -> usize {
        self.runs.last().map_or(0, |run| run.end)
    }

    /// The sequence has `n` positions now, more than before.
    pub(super) fn grow(&mut self, n: usize) {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let start = self.len();
        match self.runs.last_mut() {
            Some(run) if !self.closed => run.end = n,
            _ if n > start => self.runs.push(Run {
                id: NEXT.fetch_add(1, Ordering::Relaxed),
                start,
                end: n,
            }),
            _ => return,
        }
        self.closed = false;
    }

    /// The sequence has only its first `n` positions now.
    pub(super) fn cut(&mut self, n: usize) {
        if n < self.len() {
            self.runs.retain(|run| run.start < n);
            if let Some(run) = self.runs.last_mut() {
                run.end = run.end.min(n);
            }
            self.closed = true;
        }
    }

    /// Those of another sequence that shares the first `n` positions.
    pub(super) fn shared(&self, n: usize) -> Self {
        let mut cells = self.clone();
        cells.cut(n);
        cells.closed = true;
        cells
    }

    /// Cells that `all` occupy together.
    pub(super) fn count<'a>(all: impl Iterator<Item = &'a Self>) -> usize {
        let mut runs: BTreeMap<u64, usize> = BTreeMap::new();
        for run in all.flat_map(|cells| &cells.runs) {
            let len = runs.entry(run.id).or_default();
            *len = (*len).max(run.end - run.start);
        }
        runs.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::Cells;

    fn of(n: usize) -> Cells {
        let mut cells = Cells::default();
        cells.grow(n);
        cells
    }

    #[test]
    fn shared_cells_count_once() {
        let a = of(100);
        let mut b = a.shared(60);
        assert_eq!(Cells::count([&a, &b].into_iter()), 100);
        b.grow(90);
        assert_eq!(Cells::count([&a, &b].into_iter()), 130);
    }

    #[test]
    fn cells_that_one_gives_up_stay_as_long_as_another_has_them() {
        let mut a = of(100);
        let b = a.shared(80);
        a.cut(50);
        assert_eq!(Cells::count([&a, &b].into_iter()), 80);
        a.grow(100);
        assert_eq!(Cells::count([&a, &b].into_iter()), 130);
    }

    #[test]
    fn a_sequence_that_is_cut_and_grows_again_has_what_it_had() {
        let mut a = of(100);
        a.cut(0);
        assert_eq!(Cells::count([&a].into_iter()), 0);
        a.grow(30);
        a.cut(10);
        a.grow(40);
        a.grow(41);
        assert_eq!(Cells::count([&a].into_iter()), 41);
    }
}

//! Whose turn it is: slots with different LoRA adapters cannot be computed in one batch.

/// Steps of a turn while others wait. After a switch the engine measures its graphs anew, which takes milliseconds; those who
/// wait see their answers stand still for this many steps.
const STEPS: u32 = 4;

/// Takes turns among sets of adapters, so that a long answer under one does not hold up those under others.
#[derive(Debug)]
pub(super) struct Turns<T> {
    /// The slot that this turn began with, and its adapters.
    turn: Option<(usize, T)>,
    /// Steps of this turn.
    steps: u32,
}

impl<T: Clone + PartialEq> Turns<T> {
    pub(super) fn new() -> Self {
        Self { turn: None, steps: 0 }
    }

    /// The adapters of the next step, given those of each slot that has something to compute; `None`: none has. When a turn
    /// is over the slots are gone through in a circle, and those that it has served are passed over while there are others.
    pub(super) fn next<'a>(&mut self, slots: &[Option<&'a T>]) -> Option<&'a T> {
        let start = self.turn.as_ref().map_or(0, |(slot, _)| slot + 1);
        let circle = (start..slots.len()).chain(0..start.min(slots.len()));
        let waiting = circle.filter_map(|i| slots[i].map(|set| (i, set)));
        let (mut served, mut others) = (None, None);
        for (slot, set) in waiting {
            let mine = self.turn.as_ref().is_some_and(|(_, turn)| turn == set);
            let first = if mine { &mut served } else { &mut others };
            first.get_or_insert((slot, set));
        }
        match (served, others) {
            (Some((_, set)), others) if self.steps < STEPS || others.is_none() => {
                self.steps = self.steps.saturating_add(1);
                Some(set)
            }
            (_, Some((slot, set))) => {
                self.turn = Some((slot, set.clone()));
                self.steps = 1;
                Some(set)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{STEPS, Turns};

    /// Whose turn it is in so many steps, while the slots stay as they are.
    fn steps(slots: &str, n: usize) -> String {
        let slots: Vec<char> = slots.chars().collect();
        let slots: Vec<_> = slots.iter().map(|set| (*set != '-').then_some(set)).collect();
        let mut turns = Turns::new();
        (0..n).filter_map(|_| turns.next(&slots).copied()).collect()
    }

    #[test]
    fn sets_take_turns_of_some_steps() {
        let n = STEPS as usize;
        let turn = |set: &str| set.repeat(n);
        assert_eq!(steps("ab-c", 4 * n), turn("a") + &turn("b") + &turn("c") + &turn("a"));
    }

    #[test]
    fn no_set_is_passed_over_for_ever() {
        let seen = steps("abacada", 8 * STEPS as usize);
        assert!("abcd".chars().all(|set| seen.contains(set)), "{seen}");
    }

    #[test]
    fn the_only_set_goes_on_and_without_work_there_is_no_turn() {
        assert_eq!(steps("-a-a", 20), "a".repeat(20));
        assert_eq!(steps("---", 3), "");
    }

    #[test]
    fn who_has_nothing_more_to_compute_gives_the_turn_up() {
        let mut turns = Turns::new();
        assert_eq!(turns.next(&[Some(&'a'), Some(&'b')]), Some(&'a'));
        assert_eq!(turns.next(&[None, Some(&'b')]), Some(&'b'));
        assert_eq!(
            turns.next(&[Some(&'a'), Some(&'b')]),
            Some(&'b'),
            "its turn is not over"
        );
    }
}

//! Whose turn it is: slots with different LoRA adapters cannot be computed in one batch.

use crate::LoraSet;

/// Takes turns among adapters, so that a long answer under one set does not hold up those under others.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// The slot that was looked at first in the last step, and the adapters of that step.
    last: Option<(usize, LoraSet)>,
}

impl Turns {
    /// The adapters of the next step, given those of each slot that has something to compute; `None`: none has. The slots are
    /// gone through in a circle, and those that the last step has served are passed over while there are others.
    pub(super) fn next<'a>(&mut self, slots: &[Option<&'a LoraSet>]) -> Option<&'a LoraSet> {
        let start = self.last.as_ref().map_or(0, |(slot, _)| slot + 1);
        let circle = (start..slots.len()).chain(0..start.min(slots.len()));
        let waiting = circle.filter_map(|i| slots[i].map(|set| (i, set)));
        let served = |set: &LoraSet| self.last.as_ref().is_some_and(|(_, last)| last == set);
        let (slot, set) = waiting
            .clone()
            .find(|(_, set)| !served(set))
            .or(waiting.clone().next())?;
        self.last = Some((slot, set.clone()));
        Some(set)
    }
}

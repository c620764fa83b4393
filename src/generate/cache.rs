//! Cutting a sequence's cache back to a prefix.

use crate::Context;

/// Removes the positions of `seq` from `n` on; returns how many positions are left: `n`, or 0 where what would be left is
/// not the whole past that position `n` needs (recurrent states, a sliding window that has moved on).
pub(crate) fn keep_prefix(context: &mut Context, seq: i32, n: usize) -> usize {
    let window = context.model().meta().n_swa;
    let kept = i32::try_from(n).unwrap_or(i32::MAX);
    let mut memory = context.memory();
    let removed = n > 0 && memory.remove(seq, kept..i32::MAX);
    let first_needed = if window == 0 {
        0
    } else {
        (kept - window.cast_signed()).max(0)
    };
    let whole = removed
        && memory
            .positions(seq)
            .is_some_and(|(first, last)| first <= first_needed && last + 1 == kept);
    if whole {
        return n;
    }
    memory.remove_all(seq);
    0
}

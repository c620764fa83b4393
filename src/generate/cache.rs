//! Cutting a sequence's cache back to a prefix.

use crate::Context;

/// Removes the positions of `seq` from `n` on; returns how many positions are left: `n`, or 0 where what would be left is
/// not the whole past that position `n` needs (recurrent states, a sliding window that has moved on).
pub(crate) fn keep_prefix(context: &mut Context, seq: i32, n: usize) -> usize {
    let kept = i32::try_from(n).unwrap_or(i32::MAX);
    if n > 0
        && context
            .memory()
            .positions(seq)
            .is_some_and(|(_, last)| last + 1 == kept)
    {
        return n; // nothing to remove: a window or a recurrent state is where it should be
    }
    let first_needed = first_needed(context, n);
    let mut memory = context.memory();
    let whole = n > 0
        && memory.remove(seq, kept..i32::MAX)
        && memory
            .positions(seq)
            .is_some_and(|(first, last)| first <= first_needed && last + 1 == kept);
    if whole {
        return n;
    }
    memory.remove_all(seq);
    0
}

/// What [`keep_prefix`] would leave of the first `n` positions of `seq`, as far as can be told without removing anything.
pub(crate) fn prefix_to_keep(context: &mut Context, seq: i32, n: usize) -> usize {
    let first_needed = first_needed(context, n);
    let meta = context.model().meta();
    let removable = !meta.recurrent && !meta.hybrid;
    let whole = context
        .memory()
        .positions(seq)
        .is_some_and(|(first, last)| last as usize + 1 == n || (removable && first <= first_needed));
    if whole { n } else { 0 }
}

/// The earliest position that position `n` looks back at, in the layers that look back least.
fn first_needed(context: &Context, n: usize) -> i32 {
    match context.model().meta().n_swa {
        0 => 0,
        window => i32::try_from(n.saturating_sub(window as usize)).unwrap_or(i32::MAX),
    }
}

//! The sequences of a context's cache: removing, copying, moving.

use super::call;
use super::context::Context;
use crate::{Error, Result, sys};
use std::ops::Range;

/// The sequences of a context's cache. Positions are given as ranges; `..` is the whole sequence.
pub struct KvMemory<'a>(pub(super) &'a mut Context);

fn bounds(range: &Range<i32>) -> (i32, i32) {
    (range.start, if range.end == i32::MAX { -1 } else { range.end })
}

/// All positions of a sequence.
const ALL: Range<i32> = 0..i32::MAX;

impl KvMemory<'_> {
    /// Removes positions of `seq`; `false` if the memory cannot remove a part (recurrent states).
    pub fn remove(&mut self, seq: i32, positions: Range<i32>) -> bool {
        let (start, end) = bounds(&positions);
        // SAFETY: the context is live and borrowed mutably; a sequence out of range is refused below.
        self.has(seq) && unsafe { sys::tq_context_seq_remove(self.0.raw(), seq, start, end) }
    }

    /// Makes positions of `from` part of `to` as well. In a unified cache they share cells, and nothing is copied; with
    /// one buffer for each sequence, `to` becomes a copy of the whole of `from`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a sequence that does not exist; [`Error::Unsupported`] for a part of a sequence that has a
    /// buffer of its own.
    pub fn copy(&mut self, from: i32, to: i32, positions: Range<i32>) -> Result<()> {
        for seq in [from, to] {
            if !self.has(seq) {
                return Err(Error::Invalid(format!("sequence {seq} does not exist")));
            }
        }
        let covers = |(first, last)| positions.start <= first && positions.end > last;
        let whole = self.positions(from).is_none_or(covers);
        if from != to && !self.0.config().kv.unified && !whole {
            return Err(Error::Unsupported(format!(
                "positions {positions:?} are a part of sequence {from}; sequences with a buffer each are copied whole. Copy all \
                 of it and remove the rest, or use a unified cache"
            )));
        }
        let (start, end) = if whole { (-1, -1) } else { bounds(&positions) };
        // SAFETY: the context is live and borrowed mutably; both sequences exist.
        call::check(|error| unsafe { sys::tq_context_seq_copy(self.0.raw(), from, to, start, end, error) })?;
        Ok(())
    }

    /// Whether [`shift`](Self::shift) works with this cache.
    pub fn can_shift(&self) -> bool {
        // SAFETY: the context is live.
        self.0.model().meta().can_shift && unsafe { sys::tq_context_can_shift(self.0.raw()) }
    }

    /// Moves positions of `seq` by `delta`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where it could not be exact.
    pub fn shift(&mut self, seq: i32, positions: Range<i32>, delta: i32) -> Result<()> {
        if !self.has(seq) {
            return Err(Error::Invalid(format!("sequence {seq} does not exist")));
        }
        let (start, end) = bounds(&positions);
        // SAFETY: the context is live and borrowed mutably; the sequence exists; the shim checks `can_shift`.
        call::check(|error| unsafe { sys::tq_context_seq_shift(self.0.raw(), seq, start, end, delta, error) })?;
        Ok(())
    }

    /// The first and last position of `seq`; `None` if it is empty.
    pub fn positions(&self, seq: i32) -> Option<(i32, i32)> {
        if !self.has(seq) {
            return None;
        }
        // SAFETY: the context is live; the sequence exists.
        let (first, last) = unsafe {
            (
                sys::tq_context_seq_pos_min(self.0.raw(), seq),
                sys::tq_context_seq_pos_max(self.0.raw(), seq),
            )
        };
        (last >= 0).then_some((first, last))
    }

    /// Removes all of `seq`.
    pub fn remove_all(&mut self, seq: i32) -> bool {
        self.remove(seq, ALL)
    }

    /// Empties the cache and fills its buffers with zeros.
    pub fn clear(&mut self) {
        // SAFETY: the context is live and borrowed mutably.
        unsafe { sys::tq_context_clear(self.0.raw()) }
    }

    fn has(&self, seq: i32) -> bool {
        seq >= 0 && seq.unsigned_abs() < self.0.config().n_seq_max
    }
}

//! What a slot holds in the cache: cut, shared, taken back to a checkpoint, loaded.

use super::checkpoints::Checkpoints;
use super::slot::Slot;
use crate::generate::{keep_prefix, prefix_to_keep};
use crate::{Context, Error, LoraSet, Result, Token};
use std::time::Instant;

impl Slot {
    /// How many of the first `n` cached tokens [`cut`](Self::cut) would leave.
    pub(super) fn reach(&self, context: &mut Context, n: usize) -> usize {
        match n {
            0 => 0,
            n if prefix_to_keep(context, self.seq, n) == n => n,
            n => self.checkpoints.reach(n),
        }
    }

    /// Forgets all but the first `n` cached tokens. Where the memory cannot be cut there, it goes back to a checkpoint
    /// before, or forgets everything.
    pub(super) fn cut(&mut self, context: &mut Context, n: usize) {
        self.image_done = 0;
        let n = n.min(self.cached.len());
        let cuttable = n == 0 || prefix_to_keep(context, self.seq, n) == n;
        let kept = if cuttable {
            keep_prefix(context, self.seq, n)
        } else {
            self.go_back(context, n)
        };
        self.keep(kept);
    }

    /// Notes that the first `n` tokens are left.
    fn keep(&mut self, n: usize) {
        self.cached.truncate(n);
        self.cells.cut(n);
        self.checkpoints.cut(n);
    }

    /// Goes back to the last checkpoint within the first `n` tokens; returns its tokens. Without one, or where the engine
    /// does not take it, nothing is left: what is computed again cannot be wrong.
    fn go_back(&mut self, context: &mut Context, n: usize) -> usize {
        if let Some(checkpoint) = self.checkpoints.best(n) {
            // a checkpoint says under which adapters it was computed
            let loaded = context
                .set_loras(&self.loras)
                .and_then(|()| context.load_checkpoint(self.seq, &checkpoint.state[..]));
            match loaded {
                Ok(info) if info.last_position.map_or(0, |last| last as usize + 1) == checkpoint.n => {
                    self.went_back += 1;
                    return checkpoint.n;
                }
                Ok(info) => tracing::warn!(
                    "a checkpoint of {} tokens ends at position {:?}; the prompt is computed from the beginning",
                    checkpoint.n,
                    info.last_position
                ),
                Err(error) => tracing::warn!(
                    "a checkpoint of {} tokens could not be restored, the prompt is computed from the beginning: {error}",
                    checkpoint.n
                ),
            }
        }
        keep_prefix(context, self.seq, 0)
    }

    /// Replaces what this idle slot holds by the first `n` tokens of `donor`; cells are shared. Holds nothing if that is
    /// not possible.
    pub(super) fn share(&mut self, context: &mut Context, donor: &Self, n: usize) {
        self.cut(context, 0);
        let end = i32::try_from(n).unwrap_or(i32::MAX);
        if context.memory().copy(donor.seq, self.seq, 0..end).is_ok() {
            self.cached = donor.cached[..n].to_vec();
            self.loras = donor.loras.clone();
            self.cells = donor.cells.shared(n);
        }
        self.cut(context, n);
    }

    /// As [`share`](Self::share), where a cache cannot be cut: this slot goes back to the donor's checkpoint of `n` tokens,
    /// and shares the cells of the other layers. Windows and recurrent states are its own, so that the donor's go on freely.
    pub(super) fn branch_off(&mut self, context: &mut Context, donor: &Self, n: usize) {
        self.cut(context, 0);
        if context.memory().copy(donor.seq, self.seq, 0..i32::MAX).is_ok() {
            self.cached.clone_from(&donor.cached);
            self.loras = donor.loras.clone();
            self.cells = donor.cells.shared(donor.cached.len());
            self.checkpoints = donor.checkpoints.clone();
        }
        let kept = self.go_back(context, n);
        self.keep(kept);
    }

    /// Writes what this slot holds as a saved state.
    ///
    /// # Errors
    /// As [`Context::save_seq`].
    pub(super) fn save(&self, context: &mut Context) -> Result<Vec<u8>> {
        context.set_loras(&self.loras)?; // the state says under which it was computed
        let mut state = Vec::new();
        context.save_seq(self.seq, &mut state)?;
        Ok(state)
    }

    /// Replaces what this idle slot holds by a saved state of `tokens`, which was computed with `loras`, and the
    /// checkpoints within them.
    ///
    /// # Errors
    /// As [`Context::load_seq`], and [`Error::Invalid`] for a state of other tokens. When the state is of another model or
    /// cache the slot stays as it was; it holds nothing when the state fails later.
    pub(super) fn load(
        &mut self,
        context: &mut Context,
        tokens: Vec<Token>,
        loras: LoraSet,
        checkpoints: Checkpoints,
        state: &[u8],
    ) -> Result<()> {
        context.set_loras(&loras)?;
        let loaded = context.load_seq(self.seq, state);
        let last = context.memory().positions(self.seq).map(|(_, last)| last);
        let untouched = last.map_or(0, |last| last as usize + 1) == self.cached.len();
        match loaded {
            Ok(info) if info.last_position == last && last.map_or(0, |last| last as usize + 1) == tokens.len() => {
                self.cells.cut(0);
                self.cells.grow(tokens.len());
                self.checkpoints = checkpoints;
                self.checkpoints.cut(tokens.len());
                self.cached = tokens;
                self.loras = loras;
                self.last_used = Instant::now();
                Ok(())
            }
            Err(error @ Error::Invalid(_)) if untouched => Err(error),
            other => {
                self.cut(context, 0);
                other.and_then(|_| Err(Error::Invalid("the state belongs to other tokens".into())))
            }
        }
    }
}

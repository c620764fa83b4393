//! What can be done with a slot that is idle: save, restore, erase.

use super::checkpoints::Checkpoints;
use super::saved::{Limits, SavedSlot};
use super::worker::Worker;
use super::{Handle, Scheduler};
use crate::engine::SeqInfo;
use crate::{Error, LoraSet, Result};
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};

/// What saving or restoring a slot has moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotTransfer {
    /// Tokens.
    pub n_tokens: usize,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Why nothing was done with a slot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SlotError {
    /// There is no such slot.
    #[error("slot {slot} does not exist; there are {slots}, from 0")]
    Unknown {
        /// The slot that was asked for.
        slot: usize,
        /// Slots there are.
        slots: usize,
    },
    /// A job runs in it.
    #[error("slot {0} is busy; try again when its job has ended")]
    Busy(usize),
    /// The scheduler has stopped.
    #[error("the scheduler has stopped: {0}")]
    Stopped(String),
    /// The file, or the state in it, is not what it must be; [`Error::Io`] when it cannot be read or written.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// A request to the engine thread, which answers between two steps.
#[derive(Debug)]
pub(super) struct Command {
    slot: usize,
    what: What,
}

#[derive(Debug)]
enum What {
    Save(Reply<SavedSlot>),
    Restore(SavedSlot, Reply<()>),
    Erase(Reply<usize>),
}

type Reply<T> = SyncSender<Result<T, SlotError>>;

impl Scheduler {
    /// Writes what an idle slot holds, with its checkpoints, to a file, whole or not at all. The engine is held up only while the state is copied,
    /// not while it is written. Blocks.
    ///
    /// # Errors
    /// [`SlotError`].
    pub fn save_slot(&self, slot: usize, path: &Path) -> Result<SlotTransfer, SlotError> {
        let saved = self.0.ask(slot, What::Save)?;
        let bytes = saved.write(path)?;
        Ok(SlotTransfer {
            n_tokens: saved.tokens.len(),
            bytes,
        })
    }

    /// Replaces what an idle slot holds by a file that [`save_slot`](Self::save_slot) wrote. A file that is none, is
    /// damaged, or is of another model, other KV types, another version of the codec or LoRA adapters that are not loaded leaves the slot as it is; a state
    /// that the engine refuses half-way, or that finds no room, leaves it empty. Blocks.
    ///
    /// # Errors
    /// [`SlotError`]; [`Error::Invalid`] in it says what is wrong with the file.
    pub fn restore_slot(&self, slot: usize, path: &Path) -> Result<SlotTransfer, SlotError> {
        self.0.check(slot)?;
        let limits = Limits {
            n_ctx: self.0.n_ctx_seq,
            n_vocab: self.0.model.meta().n_vocab,
            state: self.0.largest_state,
            checkpoints: self.0.most_checkpoints,
        };
        let (saved, bytes) = SavedSlot::read(path, limits)?;
        let n_tokens = saved.tokens.len();
        self.0.ask(slot, |reply| What::Restore(saved, reply))?;
        Ok(SlotTransfer { n_tokens, bytes })
    }

    /// Forgets what an idle slot holds; returns the number of tokens. Blocks.
    ///
    /// # Errors
    /// [`SlotError`].
    pub fn erase_slot(&self, slot: usize) -> Result<usize, SlotError> {
        self.0.ask(slot, What::Erase)
    }
}

impl Handle {
    fn check(&self, slot: usize) -> Result<(), SlotError> {
        if slot >= self.slots {
            return Err(SlotError::Unknown {
                slot,
                slots: self.slots,
            });
        }
        Ok(())
    }

    fn ask<T>(&self, slot: usize, what: impl FnOnce(Reply<T>) -> What) -> Result<T, SlotError> {
        self.check(slot)?;
        let (reply, answer) = sync_channel(1);
        let mut state = self.shared.lock();
        if let Some(why) = &state.stopped {
            return Err(SlotError::Stopped(why.clone()));
        }
        state.commands.push_back(Command {
            slot,
            what: what(reply),
        });
        self.shared.wake.notify_one();
        drop(state);
        answer.recv().unwrap_or_else(|_| {
            let why = self.shared.lock().stopped.clone();
            Err(SlotError::Stopped(why.unwrap_or_else(|| "it does not answer".into())))
        })
    }
}

impl Worker {
    /// Does what was asked for.
    pub(super) fn obey(&mut self) {
        let commands = std::mem::take(&mut self.shared.lock().commands);
        for Command { slot, what } in commands {
            let idle = self.idle(slot);
            match what {
                What::Save(reply) => {
                    let saved = idle.and_then(|()| self.save(slot));
                    self.answer(&reply, saved);
                }
                What::Restore(saved, reply) => {
                    let restored = idle.and_then(|()| self.restore(slot, saved));
                    self.answer(&reply, restored);
                }
                What::Erase(reply) => {
                    let erased = idle.map(|()| self.erase(slot));
                    self.answer(&reply, erased);
                }
            }
        }
    }

    fn answer<T>(&self, reply: &Reply<T>, result: Result<T, SlotError>) {
        self.publish(); // whoever has the answer looks at the slots next
        let _ = reply.try_send(result); // whoever asked may have gone
    }

    fn idle(&self, slot: usize) -> Result<(), SlotError> {
        match &self.slots[slot].running {
            Some(_) => Err(SlotError::Busy(slot)),
            None => Ok(()),
        }
    }

    fn save(&mut self, slot: usize) -> Result<SavedSlot, SlotError> {
        if self.slots[slot].holds_images() {
            return Err(SlotError::Failed(Error::Unsupported(format!(
                "slot {slot} holds an image; only text can be saved"
            ))));
        }
        let slot = &self.slots[slot];
        let state = match slot.cached.is_empty() {
            true => Vec::new(),
            false => slot.save(&mut self.context)?,
        };
        Ok(SavedSlot {
            tokens: slot.cached.clone(),
            checkpoints: slot.checkpoints.clone(),
            state,
        })
    }

    fn restore(&mut self, slot: usize, saved: SavedSlot) -> Result<(), SlotError> {
        if saved.tokens.is_empty() {
            self.erase(slot);
            return Ok(());
        }
        let loras = LoraSet::of_saved(&SeqInfo::of(&saved.state)?.loras, self.context.model())?;
        self.free_cells(saved.tokens.len(), slot);
        let none = Checkpoints::default(); // not before it is known that there is room for them
        self.slots[slot].load(&mut self.context, saved.tokens, loras, none, &saved.state)?;
        if let Some(policy) = self.policy {
            for checkpoint in saved.checkpoints.iter() {
                self.keep_checkpoint(slot, checkpoint.clone(), policy.most);
            }
        }
        Ok(())
    }

    fn erase(&mut self, slot: usize) -> usize {
        let slot = &mut self.slots[slot];
        let n = slot.cached.len();
        slot.cut(&mut self.context, 0);
        n
    }
}

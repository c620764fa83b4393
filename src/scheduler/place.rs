//! Where a job goes: into the slot that costs least to compute, with what other slots and the prompt cache know of its
//! prompt; or nowhere yet, when another slot is computing the same.

use super::job::{Hold, Queued};
use super::prompts::Entry;
use super::slot::{Running, Slot, common_prefix};
use super::worker::Worker;
use crate::vision::whole_images;
use crate::{LoraSet, Token};
use std::cmp::Reverse;
use std::time::Duration;

/// Tokens that are worth waiting for another slot, or keeping when a slot gives them up: about one step's.
const WORTHWHILE: usize = 64;

/// How fast a state is loaded at least, in bytes per second: a copy into cells that lie apart.
const LOADING: f64 = (1_u64 << 30) as f64;

/// A place for a job.
struct Place {
    /// The idle slot that takes it.
    slot: usize,
    from: Source,
    /// Tokens of the prompt that need not be computed.
    keep: usize,
}

/// Who knows the beginning of the prompt.
#[derive(Clone, Copy)]
enum Source {
    /// The slot itself.
    Own,
    /// Another one.
    Slot(usize),
    /// The prompt cache.
    Cache(usize),
}

/// What a slot can let another one have of its beginning.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lends {
    /// Any part.
    Cells,
    /// What is before a checkpoint.
    Checkpoints,
    Nothing,
}

impl Lends {
    /// Of the first `n` tokens of a slot, how many.
    fn of(self, slot: &Slot, n: usize) -> usize {
        match self {
            Self::Cells => n,
            Self::Checkpoints => slot.checkpoints.reach(n),
            Self::Nothing => 0,
        }
    }

    /// When a slot that is computing a prompt will let another have a part of its first `n` tokens: after how many.
    fn from(self, running: &Running, n: usize) -> Option<usize> {
        match self {
            Self::Cells => Some(n),
            Self::Checkpoints => Some(running.last_place(n)? + 1), // it is made before the next step
            Self::Nothing => None,
        }
    }
}

impl Worker {
    fn lends(&self) -> Lends {
        match self.policy {
            _ if self.shares => Lends::Cells,
            Some(_) if self.context.config().kv.unified => Lends::Checkpoints,
            _ => Lends::Nothing,
        }
    }

    /// The oldest job that waits for nothing but a slot.
    pub(super) fn next_job(&mut self) -> Option<Queued> {
        let lends = self.lends();
        let mut state = self.shared.lock();
        let at = state.queue.iter_mut().position(|queued| {
            queued.hold = judge(queued, &self.slots, lends);
            queued.hold == Hold::Released
        })?;
        state.queue.remove(at)
    }

    /// Makes the cache of an idle slot hold as much as possible of the beginning of `prompt` as computed with `loras`, and
    /// nothing else; returns its number. `None`: all are busy.
    pub(super) fn prepare(&mut self, prompt: &[Token], loras: &LoraSet, reuse: bool) -> Option<usize> {
        // the last token is computed in any case: its logits are needed
        let wanted = if reuse {
            whole_images(prompt, prompt.len() - 1)
        } else {
            0
        };
        let place = self.place(prompt, loras, wanted)?;
        let kept_here = match place.from {
            Source::Own => place.keep,
            _ => 0,
        };
        self.stash(place.slot, kept_here);
        match place.from {
            Source::Own => self.slots[place.slot].cut(&mut self.context, place.keep),
            Source::Slot(donor) => {
                if let Ok([slot, donor]) = self.slots.get_disjoint_mut([place.slot, donor]) {
                    if self.removable {
                        slot.share(&mut self.context, donor, place.keep);
                    } else {
                        slot.branch_off(&mut self.context, donor, place.keep);
                    }
                }
            }
            Source::Cache(number) => self.unstash(place.slot, number, place.keep),
        }
        self.slots[place.slot].loras = loras.clone();
        Some(place.slot)
    }

    fn place(&mut self, prompt: &[Token], loras: &LoraSet, wanted: usize) -> Option<Place> {
        let common = |slot: &Slot| match slot.loras == *loras {
            true => whole_images(prompt, common_prefix(&slot.cached, prompt).min(wanted)),
            false => 0,
        };
        let known: Vec<usize> = self
            .slots
            .iter()
            .map(|slot| slot.reach(&mut self.context, common(slot)))
            .collect();
        let slots = &self.slots;
        let lends = self.lends();
        let lent = |i: usize| lends.of(&slots[i], common(&slots[i])).min(known[i]);
        let idle = || (0..slots.len()).filter(|&i| slots[i].running.is_none());
        let best = idle().max_by_key(|&i| (known[i], Reverse(slots[i].last_used)))?;
        // whose content is missed least
        let spare = idle().min_by_key(|&i| (!slots[i].cached.is_empty(), slots[i].last_used))?;
        let donor = (0..slots.len()).max_by_key(|&i| lent(i));

        let mut place = match donor {
            Some(donor) if lent(donor) > known[best] => Place {
                slot: spare,
                from: Source::Slot(donor),
                keep: lent(donor),
            },
            // two conversations with the same system prompt: both stay
            _ if lent(best) > 0 && slots[best].cached.len() > 2 * known[best] && spare != best => Place {
                slot: spare,
                from: Source::Slot(best),
                keep: lent(best),
            },
            _ if known[best] == 0 => Place {
                slot: spare,
                from: Source::Own,
                keep: 0,
            },
            _ => Place {
                slot: best,
                from: Source::Own,
                keep: known[best],
            },
        };
        if let Some((number, keep)) = self.in_cache(prompt, loras, wanted, place.keep) {
            place = Place {
                slot: spare,
                from: Source::Cache(number),
                keep,
            };
        }
        Some(place)
    }

    /// The cached prompt that is worth loading instead of computing what `have` tokens leave, and what it knows.
    fn in_cache(&self, prompt: &[Token], loras: &LoraSet, wanted: usize, have: usize) -> Option<(usize, usize)> {
        if wanted == 0 {
            return None;
        }
        let (number, keep) = self.prompts.best(prompt, loras, wanted, self.removable)?;
        let gain = keep.checked_sub(have).filter(|&gain| gain >= WORTHWHILE)?;
        let loading = Duration::from_secs_f64(self.prompts.size(number)? as f64 / LOADING);
        let cheaper = self.pace.estimate(gain).is_none_or(|computing| loading < computing);
        cheaper.then_some((number, keep))
    }

    /// Before a slot is cut to `keep` tokens: keeps what it holds in main memory, if most of it would be lost.
    pub(super) fn stash(&mut self, number: usize, keep: usize) {
        let slot = &self.slots[number];
        let len = slot.cached.len();
        let lost = len - keep.min(len);
        let elsewhere =
            |other: &Slot| other.seq != slot.seq && other.loras == slot.loras && other.cached.starts_with(&slot.cached);
        if lost < WORTHWHILE
            || lost <= keep
            || !self.prompts.takes((len as f64 * self.bytes_per_token) as u64)
            || self.prompts.has(&slot.cached, &slot.loras)
            || self.slots.iter().any(elsewhere)
        {
            return;
        }
        match slot.save(&mut self.context) {
            Ok(state) => {
                self.prompts.store(Entry {
                    tokens: slot.cached.clone(),
                    loras: slot.loras.clone(),
                    checkpoints: slot.checkpoints.clone(),
                    state,
                });
                self.fit_prompts();
            }
            Err(error) => tracing::warn!("a prompt of {len} tokens is not kept in the prompt cache: {error}"),
        }
    }

    /// Loads a prompt that was kept into an idle slot, and cuts it to `keep` tokens.
    fn unstash(&mut self, slot: usize, number: usize, keep: usize) {
        let Some(entry) = self.prompts.take(number) else { return };
        self.free_cells(entry.tokens.len(), slot);
        let slot = &mut self.slots[slot];
        let (tokens, loras, checkpoints) = (entry.tokens.clone(), entry.loras.clone(), entry.checkpoints.clone());
        match slot.load(&mut self.context, tokens, loras, checkpoints, &entry.state) {
            Ok(()) => {
                slot.cut(&mut self.context, keep);
                self.prompts.put_back(entry, slot.cached.len());
            }
            Err(error) => {
                tracing::warn!("a prompt of the prompt cache could not be loaded: {error}");
                slot.cut(&mut self.context, 0);
            }
        }
    }

    /// Makes idle slots, other than `for_slot`, give up what they hold until `n` cells are free for it, or none is left.
    pub(super) fn free_cells(&mut self, n: usize, for_slot: usize) {
        if !self.context.config().kv.unified {
            return;
        }
        let cells = self.context.n_ctx() as usize;
        loop {
            let others = self.slots.iter().enumerate().filter(|(i, _)| *i != for_slot);
            let used = super::cells::Cells::count(others.map(|(_, slot)| &slot.cells));
            if used + n <= cells || !self.evict(Some(for_slot)) {
                return;
            }
        }
    }

    /// The idle slot that was not used for the longest time gives up what it holds; `false`: there is none.
    pub(super) fn evict(&mut self, except: Option<usize>) -> bool {
        let idle = (0..self.slots.len())
            .filter(|&i| Some(i) != except && self.slots[i].running.is_none() && !self.slots[i].cached.is_empty());
        let Some(oldest) = idle.min_by_key(|&i| self.slots[i].last_used) else {
            return false;
        };
        self.stash(oldest, 0);
        self.slots[oldest].cut(&mut self.context, 0);
        true
    }
}

/// Whether a queued job waits for a slot that is computing what it needs. Looked at in full only once: a job waits for one
/// other at most, so nothing starves.
fn judge(queued: &Queued, slots: &[Slot], lends: Lends) -> Hold {
    match queued.hold {
        Hold::Released => Hold::Released,
        Hold::Until { slot, serial, n } => {
            let leader = &slots[slot];
            if leader.serial == serial && leader.running.is_some() && leader.cached.len() < n {
                queued.hold
            } else {
                Hold::Released
            }
        }
        Hold::Unjudged if lends == Lends::Nothing || !queued.job.reuse_prefix => Hold::Released,
        Hold::Unjudged => {
            let prompt = &queued.job.prompt;
            let alike = || {
                slots
                    .iter()
                    .enumerate()
                    .filter(|(_, slot)| slot.loras == queued.job.loras)
            };
            let lent = |slot: &Slot| lends.of(slot, common_prefix(&slot.cached, prompt));
            let have = alike().map(|(_, slot)| lent(slot)).max();
            let computing = alike().filter_map(|(i, slot)| {
                let running = slot.running.as_ref().filter(|running| !running.is_decoding())?;
                let n = common_prefix(running.prompt(), prompt).min(prompt.len() - 1);
                Some((lends.from(running, n)?, i))
            });
            match computing.max() {
                Some((n, slot)) if n >= have.unwrap_or(0) + WORTHWHILE => Hold::Until {
                    slot,
                    serial: slots[slot].serial,
                    n,
                },
                _ => Hold::Released,
            }
        }
    }
}

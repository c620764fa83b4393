//! The engine thread's loop: take jobs, fill a batch, compute it, hand out what came of it.

use super::cells::Cells;
use super::checkpoints::Policy;
use super::job::Queued;
use super::pace::{Company, Pace};
use super::prompts::{PromptCache, PromptCacheStatus};
use super::slot::{Running, Slot, is_full};
use super::turns::Turns;
use super::{SchedulerConfig, Shared};
use crate::generate::FinishReason;
use crate::{Batch, Context, Error, LoraSet};
use std::sync::Arc;
use std::time::Instant;

pub(super) struct Worker {
    pub(super) context: Context,
    pub(super) shared: Arc<Shared>,
    pub(super) slots: Vec<Slot>,
    pub(super) prompts: PromptCache,
    pub(super) pace: Pace,
    /// Slots can share what they have in common.
    pub(super) shares: bool,
    /// Any end of a sequence can be removed.
    pub(super) removable: bool,
    /// Where it cannot, and there is memory for it: how checkpoints are kept.
    pub(super) policy: Option<Policy>,
    pub(super) bytes_per_token: f64,
    batch: Batch,
    turns: Turns<LoraSet>,
}

impl Worker {
    pub(super) fn new(context: Context, shared: Arc<Shared>, config: SchedulerConfig) -> Self {
        let most = context.config().n_ubatch as usize;
        let slots: Vec<Slot> = (0..context.config().n_seq_max as i32).map(Slot::new).collect();
        let (meta, kv) = (context.model().meta(), &context.config().kv);
        let recurrent = meta.recurrent || meta.hybrid;
        let removable = !recurrent && (meta.n_swa == 0 || kv.swa_full);
        let keeps = !removable && config.checkpoints > 0 && config.prompt_cache != Some(0);
        Self {
            shared,
            prompts: PromptCache::new(config.prompt_cache),
            pace: Pace::new(slots.len() + 16, most),
            // a recurrent state is of one sequence; a window that has moved on is no beginning
            shares: kv.unified && removable,
            removable,
            policy: keeps.then_some(Policy {
                most: config.checkpoints,
                min_step: config.checkpoint_min_step,
                step: most,
            }),
            bytes_per_token: context.kv_bytes().cache() as f64 / f64::from(context.n_ctx().max(1)),
            slots,
            batch: Batch::new(most),
            turns: Turns::new(),
            context,
        }
    }

    pub(super) fn run(mut self) {
        while self.wait_for_work() {
            self.end_cancelled();
            self.drop_unfinished_images();
            self.obey();
            if self.begin_jobs() {
                self.publish();
            }
            self.step_image();
            self.step();
            self.publish();
        }
        for slot in &mut self.slots {
            slot.end(FinishReason::Cancelled);
        }
        self.publish();
    }

    fn busy(&self) -> usize {
        self.slots.iter().filter(|slot| slot.running.is_some()).count()
    }

    /// Lets others see how things are.
    pub(super) fn publish(&self) {
        let cells_used = Cells::count(self.slots.iter().map(|slot| &slot.cells));
        let (checkpoints, checkpoint_bytes) = self.count_checkpoints();
        let cache = PromptCacheStatus {
            checkpoints,
            checkpoint_bytes,
            went_back: self.slots.iter().map(|slot| slot.went_back).sum(),
            ..self.prompts.status()
        };
        let mut state = self.shared.lock();
        state.slots.clear();
        let slots = self.slots.iter().enumerate().map(|(id, slot)| slot.state(id));
        state.slots.extend(slots);
        state.cells_used = cells_used;
        state.cache = cache;
    }

    /// Sleeps until there is something to do; `false`: the scheduler stops.
    fn wait_for_work(&self) -> bool {
        let idle = self.busy() == 0;
        let mut state = self.shared.lock();
        while idle && state.queue.is_empty() && state.commands.is_empty() && state.stopped.is_none() {
            state = self
                .shared
                .wake
                .wait(state)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        state.stopped.is_none()
    }

    /// Jobs whose client has gone end wherever they are, in the queue too.
    fn end_cancelled(&mut self) {
        for slot in &mut self.slots {
            if slot.running.as_ref().is_some_and(Running::is_cancelled) {
                slot.end(FinishReason::Cancelled);
            }
        }
        let mut state = self.shared.lock();
        if !state.queue.iter().any(Queued::is_cancelled) {
            return;
        }
        let (cancelled, waiting): (Vec<Queued>, _) = state.queue.drain(..).partition(Queued::is_cancelled);
        state.queue = waiting.into();
        drop(state);
        for mut job in cancelled {
            job.fail(Error::Cancelled);
        }
    }

    /// Gives waiting jobs, oldest first, an idle slot; returns whether there was one of each.
    fn begin_jobs(&mut self) -> bool {
        let mut any = false;
        while self.slots.iter().any(|slot| slot.running.is_none()) {
            let Some(queued) = self.next_job() else { break };
            any = true;
            if let Some(slot) = self.prepare(&queued.job.prompt, &queued.job.loras, queued.job.reuse_prefix) {
                self.slots[slot].begin(&mut self.context, queued, self.policy.as_ref());
            }
        }
        any
    }

    fn step(&mut self) {
        let Some(loras) = self.next_loras() else { return };
        self.take_checkpoints();
        self.fill_batch(&loras);
        if self.batch.is_empty() {
            return;
        }
        if !self.may_compute() {
            return;
        }
        let start = Instant::now();
        let result = self
            .context
            .set_loras(&loras)
            .and_then(|()| self.context.decode(&self.batch));
        self.shared.lock().computing = None;
        if result.is_ok() {
            self.pace.took(self.batch.len(), start.elapsed());
            let in_batch = self.slots.iter().filter(|slot| slot.is_in_batch()).count();
            self.shared.lock().decoded(in_batch);
            for slot in &mut self.slots {
                slot.computed(&mut self.context);
            }
            return;
        }
        for slot in &mut self.slots {
            slot.not_computed(&mut self.context);
        }
        if is_full(&result) {
            self.make_room();
        } else if let Err(error) = result
            && !matches!(error, Error::Cancelled)
        {
            let text = error.to_string();
            for slot in self.slots.iter_mut().filter(|slot| slot.running.is_some()) {
                slot.fail(Error::Engine(text.clone()));
            }
        }
    }

    /// Arms what stops the computation that comes; `false`: the scheduler stops, there is none.
    pub(super) fn may_compute(&mut self) -> bool {
        // With one job its own token can stop the computation half-way; with several, it would stop the others' too.
        let mut running = self.slots.iter().filter_map(|slot| slot.running.as_ref());
        let own = match (running.next(), running.next()) {
            (Some(only), None) => only.cancel_token().cloned(),
            _ => None,
        };
        let token = own.unwrap_or_else(|| self.shared.stop.clone());
        {
            let mut state = self.shared.lock();
            if state.stopped.is_some() {
                return false;
            }
            state.computing = Some(token.clone());
        }
        self.context.set_cancel(Some(token));
        true
    }

    /// Who waits for the next step.
    pub(super) fn company(&self) -> Company {
        if self.slots.iter().any(Slot::is_decoding) && self.busy() > 1 {
            Company::Writers
        } else if self.busy() > 1 || !self.shared.lock().queue.is_empty() {
            Company::Others
        } else {
            Company::Alone
        }
    }

    /// The adapters of the next batch.
    fn next_loras(&mut self) -> Option<LoraSet> {
        let waiting = |slot: &Slot| slot.pending() > 0;
        let slots: Vec<_> = self
            .slots
            .iter()
            .map(|slot| waiting(slot).then_some(&slot.loras))
            .collect();
        self.turns.next(&slots).cloned()
    }

    /// Slots with other adapters than `loras` wait. Of the rest, answers being written come first, one token each; prompts
    /// share what is left evenly, so that a short one does not wait for a long one.
    fn fill_batch(&mut self, loras: &LoraSet) {
        self.batch.clear();
        let budget = self.pace.budget(self.company());
        let most = self.context.n_batch() as usize;
        let mut prompts = Vec::new();
        for (i, slot) in self.slots.iter_mut().enumerate() {
            if slot.loras != *loras {
                slot.fill(&mut self.batch, 0);
            } else if slot.running.is_some() && !slot.is_decoding() {
                prompts.push(i);
            } else {
                let room = most - self.batch.len();
                slot.fill(&mut self.batch, room.min(1));
            }
        }
        let mut left = budget.saturating_sub(self.batch.len());
        prompts.sort_by_key(|&i| self.slots[i].pending());
        for (n, &i) in prompts.iter().enumerate() {
            let share = left / (prompts.len() - n);
            left -= self.slots[i].fill(&mut self.batch, share);
        }
    }

    /// The shared cache is full. Idle slots give up what they keep for later; if there are none, the job that started
    /// last ends: an answer as too long, a prompt with an error.
    pub(super) fn make_room(&mut self) {
        if self.evict(None) {
            return;
        }
        let n_ctx = self.context.n_ctx_seq() as usize;
        let last = self
            .slots
            .iter_mut()
            .filter(|slot| slot.running.is_some())
            .max_by_key(|slot| slot.started());
        if let Some(slot) = last {
            if slot.is_decoding() {
                slot.end(FinishReason::Length);
            } else {
                let n_prompt = slot.prompt_len();
                slot.fail(Error::ContextFull { n_prompt, n_ctx });
            }
            slot.cut(&mut self.context, 0);
        }
    }
}

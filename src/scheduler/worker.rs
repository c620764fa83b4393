//! The engine thread's loop: take jobs, fill a batch, compute it, hand out what came of it.

use super::Shared;
use super::job::Queued;
use super::slot::{Slot, is_full};
use crate::generate::FinishReason;
use crate::{Batch, Context, Error};
use std::sync::Arc;

pub(super) struct Worker {
    context: Context,
    shared: Arc<Shared>,
    slots: Vec<Slot>,
    batch: Batch,
    /// Tokens per step. A step is what a cancelled job, a new one and every answer being written wait for.
    budget: usize,
}

impl Worker {
    pub(super) fn new(context: Context, shared: Arc<Shared>) -> Self {
        let budget = context.config().n_ubatch as usize;
        let slots = (0..context.config().n_seq_max as i32).map(Slot::new).collect();
        Self {
            context,
            shared,
            slots,
            batch: Batch::new(budget),
            budget,
        }
    }

    pub(super) fn run(mut self) {
        while self.wait_for_work() {
            self.end_cancelled();
            self.begin_jobs();
            self.step();
            self.shared.lock().busy = self.busy();
        }
        for slot in &mut self.slots {
            slot.end(FinishReason::Cancelled);
        }
    }

    fn busy(&self) -> usize {
        self.slots.iter().filter(|slot| slot.running.is_some()).count()
    }

    /// Sleeps until there is something to do; `false`: the scheduler stops.
    fn wait_for_work(&self) -> bool {
        let idle = self.busy() == 0;
        let mut state = self.shared.lock();
        while idle && state.queue.is_empty() && state.stopped.is_none() {
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
            if slot.running.as_ref().is_some_and(super::slot::Running::is_cancelled) {
                slot.end(FinishReason::Cancelled);
            }
        }
        let mut state = self.shared.lock();
        let (cancelled, waiting): (Vec<Queued>, _) = state.queue.drain(..).partition(Queued::is_cancelled);
        state.queue = waiting.into();
        drop(state);
        for mut job in cancelled {
            job.fail(Error::Cancelled);
        }
    }

    /// Gives waiting jobs, oldest first, the idle slot that knows most of their prompt; among equals the one that was
    /// not used for the longest time.
    fn begin_jobs(&mut self) {
        loop {
            if self.slots.iter().all(|slot| slot.running.is_some()) {
                return;
            }
            let Some(queued) = self.shared.lock().queue.pop_front() else {
                return;
            };
            let best = self
                .slots
                .iter_mut()
                .filter(|slot| slot.running.is_none())
                .max_by_key(|slot| {
                    (
                        slot.common_prefix(&queued.job.prompt),
                        std::cmp::Reverse(slot.last_used),
                    )
                });
            if let Some(slot) = best {
                slot.begin(&mut self.context, queued);
            }
            self.shared.lock().busy = self.busy();
        }
    }

    fn step(&mut self) {
        self.fill_batch();
        if self.batch.is_empty() {
            return;
        }
        // With one job its own token can stop the computation half-way; with several, it would stop the others' too.
        let mut running = self.slots.iter().filter_map(|slot| slot.running.as_ref());
        let own = match (running.next(), running.next()) {
            (Some(only), None) => only.cancel_token().cloned(),
            _ => None,
        };
        self.context
            .set_cancel(Some(own.unwrap_or_else(|| self.shared.stop.clone())));
        let result = self.context.decode(&self.batch);
        if result.is_ok() {
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

    /// Answers being written come first, one token each; prompts share the rest.
    fn fill_batch(&mut self) {
        self.batch.clear();
        let mut left = self.budget;
        for decoding in [true, false] {
            for slot in &mut self.slots {
                let is_decoding = slot.running.as_ref().is_some_and(super::slot::Running::is_decoding);
                if slot.running.is_none() && decoding {
                    slot.fill(&mut self.batch, 0);
                } else if slot.running.is_some() && is_decoding == decoding {
                    left -= slot.fill(&mut self.batch, left);
                }
            }
        }
    }

    /// The shared cache is full. Idle slots give up what they keep for later; if there are none, the job that started
    /// last ends: an answer as too long, a prompt with an error.
    fn make_room(&mut self) {
        let idle = self
            .slots
            .iter_mut()
            .filter(|slot| slot.running.is_none() && !slot.cached.is_empty());
        if let Some(oldest) = idle.min_by_key(|slot| slot.last_used) {
            oldest.cut(&mut self.context, 0);
            return;
        }
        let n_ctx = self.context.n_ctx_seq() as usize;
        let last = self
            .slots
            .iter_mut()
            .filter(|slot| slot.running.is_some())
            .max_by_key(|slot| slot.started());
        if let Some(slot) = last {
            if slot.running.as_ref().is_some_and(super::slot::Running::is_decoding) {
                slot.end(FinishReason::Length);
            } else {
                let n_prompt = slot.prompt_len();
                slot.fail(Error::ContextFull { n_prompt, n_ctx });
            }
            slot.cut(&mut self.context, 0);
        }
    }
}

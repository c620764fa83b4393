//! Several answers at once over one context: a thread that owns the context, a bounded queue in front of it, and
//! continuous batching, so that a long prompt does not stop the answers that are being written.
//!
//! Each sequence of the context is a slot. Of a new job's prompt only that is computed which no slot holds and the prompt
//! cache in main memory does not know; in a unified cache slots share the cells of what they have in common. A job whose
//! prompt begins like one that is being computed waits for that. Sliding windows and recurrent states, which cannot be cut
//! back, go back to checkpoints.
//!
//! Jobs may have LoRA adapters of their own. Batches are of one set of adapters, which take turns, and what was computed under
//! one set is never the beginning of a job under another.

mod actions;
mod cells;
mod checkpoints;
mod held;
mod images;
mod job;
mod pace;
mod place;
mod prompts;
mod saved;
mod slot;
mod turns;
mod worker;

pub use actions::{SlotError, SlotTransfer};
pub use job::{Job, JobEvent, JobSink, JobStats};
pub use prompts::PromptCacheStatus;
pub use slot::SlotState;

use crate::{CancelToken, Context, Error, Model, Result, vision};
use actions::Command;
use job::Queued;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// How busy a scheduler is, at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Jobs that can run at once.
    pub slots: usize,
    /// Jobs that run.
    pub busy: usize,
    /// Jobs that wait.
    pub queued: usize,
    /// Jobs that may wait.
    pub queue_limit: usize,
    /// Cells of the cache that are in use; those that slots share count once.
    pub cells_used: usize,
    /// The prompt cache in main memory.
    pub prompt_cache: PromptCacheStatus,
    /// Batches computed since the start.
    pub decodes: u64,
    /// Slots that had tokens in them, summed over these batches.
    pub decoded_slots: u64,
}

/// How to schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchedulerConfig {
    /// Jobs that may wait.
    pub queue_limit: usize,
    /// Bytes of main memory for prompts that slots had to give up: they are loaded back instead of computed again. 0: none;
    /// `None`: no limit.
    pub prompt_cache: Option<u64>,
    /// Checkpoints a slot keeps at most, in the same memory, of which they take half at most: places within its prompt that
    /// it can go back to. Only models with sliding windows or recurrent states need them; other caches can be cut anywhere.
    pub checkpoints: usize,
    /// Tokens between checkpoints on the way through a prompt; 0: one after each step. Those before its last turn and before
    /// its end are made at any distance.
    pub checkpoint_min_step: usize,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            queue_limit: 64,
            prompt_cache: Some(0),
            checkpoints: 32,
            checkpoint_min_step: 8192,
        }
    }
}

/// Why a job was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The queue is full; try again later.
    #[error("{0} jobs are waiting already")]
    Full(usize),
    /// The scheduler has stopped.
    #[error("the scheduler has stopped: {0}")]
    Stopped(String),
    /// The job cannot run here.
    #[error(transparent)]
    Refused(Error),
}

/// The owner of the engine thread. Dropping the last clone stops it.
#[derive(Debug, Clone)]
pub struct Scheduler(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    model: Model,
    n_ctx_seq: usize,
    slots: usize,
    /// Bytes a saved sequence may have.
    largest_state: u64,
    /// Checkpoints within it.
    most_checkpoints: usize,
}

/// What the thread and its clients both see.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    queue_limit: usize,
    /// Stops what is being computed when the scheduler stops.
    stop: CancelToken,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Queued>,
    commands: VecDeque<Command>,
    slots: Vec<SlotState>,
    cells_used: usize,
    cache: PromptCacheStatus,
    decodes: u64,
    decoded_slots: u64,
    /// Stops the step that is being computed.
    computing: Option<CancelToken>,
    /// Why no more jobs are taken.
    stopped: Option<String>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is a queue and numbers, valid after every statement; a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Notes a batch that was computed, with tokens of so many slots.
    fn decoded(&mut self, slots: usize) {
        self.decodes += 1;
        self.decoded_slots += slots as u64;
    }

    /// Jobs that wait. One that was cancelled does not, even while a step keeps it from being cleared away.
    fn waiting(&self) -> usize {
        self.queue.iter().filter(|queued| !queued.is_cancelled()).count()
    }
}

impl Scheduler {
    /// Starts the thread that owns `context`; each of its sequences becomes a slot. At most `queue_limit` jobs wait, and
    /// there is no prompt cache.
    pub fn start(context: Context, queue_limit: usize) -> Self {
        Self::with(
            context,
            SchedulerConfig {
                queue_limit,
                ..SchedulerConfig::default()
            },
        )
    }

    /// Starts the thread that owns `context`; each of its sequences becomes a slot.
    pub fn with(context: Context, config: SchedulerConfig) -> Self {
        let slots = context.config().n_seq_max as usize;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                slots: (0..slots).map(SlotState::idle).collect(),
                cache: PromptCacheStatus {
                    limit: config.prompt_cache,
                    ..PromptCacheStatus::default()
                },
                ..State::default()
            }),
            wake: Condvar::new(),
            queue_limit: config.queue_limit,
            stop: CancelToken::new(),
        });
        let meta = context.model().meta();
        let cuttable = !meta.recurrent && !meta.hybrid && meta.n_swa == 0;
        let handle = Handle {
            model: context.model().clone(),
            n_ctx_seq: context.n_ctx_seq() as usize,
            slots,
            // the engine adds positions and sizes to the cells; more than twice the cache is no state of it
            largest_state: 2 * context.kv_bytes().total() + (64 << 20),
            most_checkpoints: if cuttable {
                0
            } else {
                config.checkpoints.max(SchedulerConfig::default().checkpoints)
            },
            shared: Arc::clone(&shared),
            thread: Mutex::default(),
        };
        let thread = std::thread::Builder::new()
            .name("turboquant-engine".into())
            .spawn(move || {
                let worker = std::panic::AssertUnwindSafe(|| {
                    worker::Worker::new(context, Arc::clone(&shared), config).run();
                });
                let why = match std::panic::catch_unwind(worker) {
                    Ok(()) => "it was asked to",
                    Err(_) => "the engine thread panicked",
                };
                let mut state = shared.lock();
                state.stopped = Some(why.to_owned());
                state.slots = (0..slots).map(SlotState::idle).collect();
                state.cells_used = 0;
                state.commands.clear(); // whoever waits for an answer sees that none comes
                for mut job in state.queue.drain(..) {
                    job.fail(Error::Cancelled);
                }
            });
        match thread {
            Ok(thread) => *handle.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread),
            Err(error) => handle.shared.lock().stopped = Some(format!("its thread could not be started: {error}")),
        }
        Self(Arc::new(handle))
    }

    /// Queues a job. Its sink hears of it from the engine thread.
    ///
    /// # Errors
    /// [`SubmitError`], and the job, whose sink has heard nothing.
    pub fn submit(&self, job: Job) -> Result<(), (SubmitError, Box<Job>)> {
        match self.admit(&job) {
            Ok(mut state) => {
                state.queue.push_back(Queued::new(job));
                self.0.shared.wake.notify_one();
                Ok(())
            }
            Err(error) => Err((error, Box::new(job))),
        }
    }

    fn admit(&self, job: &Job) -> Result<MutexGuard<'_, State>, SubmitError> {
        if let Some((adapter, _)) = job.loras.iter().find(|(adapter, _)| !adapter.is_of(&self.0.model)) {
            return Err(SubmitError::Refused(Error::Invalid(format!(
                "LoRA adapter {} was loaded for another model than this scheduler's",
                adapter.path().display()
            ))));
        }
        let n_prompt = job.prompt.len() + vision::extra(&job.images, job.prompt.len());
        if n_prompt == 0 {
            return Err(SubmitError::Refused(Error::Invalid("the prompt has no tokens".into())));
        }
        if n_prompt >= self.0.n_ctx_seq {
            return Err(SubmitError::Refused(Error::ContextFull {
                n_prompt,
                n_ctx: self.0.n_ctx_seq,
            }));
        }
        vision::check(&job.prompt, &job.images).map_err(SubmitError::Refused)?;
        let state = self.0.shared.lock();
        if let Some(why) = &state.stopped {
            return Err(SubmitError::Stopped(why.clone()));
        }
        let waiting = state.waiting();
        if waiting >= self.0.shared.queue_limit {
            return Err(SubmitError::Full(waiting));
        }
        Ok(state)
    }

    /// What the slots are doing, as of the last step.
    pub fn slots(&self) -> Vec<SlotState> {
        self.0.shared.lock().slots.clone()
    }

    /// How busy it is.
    pub fn status(&self) -> Status {
        let state = self.0.shared.lock();
        Status {
            slots: self.0.slots,
            busy: state.slots.iter().filter(|slot| slot.busy).count(),
            queued: state.waiting(),
            queue_limit: self.0.shared.queue_limit,
            cells_used: state.cells_used,
            prompt_cache: state.cache,
            decodes: state.decodes,
            decoded_slots: state.decoded_slots,
        }
    }

    /// Why it takes no more jobs; `None` while it does.
    pub fn stopped(&self) -> Option<String> {
        self.0.shared.lock().stopped.clone()
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.0.model
    }

    /// Tokens one job may use, prompt and answer together.
    pub fn n_ctx_seq(&self) -> usize {
        self.0.n_ctx_seq
    }

    /// Stops: running and waiting jobs end as cancelled; returns when the thread has ended.
    pub fn stop(&self) {
        self.0.stop();
    }
}

impl Handle {
    fn stop(&self) {
        self.shared.stop.cancel();
        let mut state = self.shared.lock();
        state.stopped.get_or_insert_with(|| "it was asked to".into());
        // a job that runs alone is computed under its own token
        if let Some(computing) = &state.computing {
            computing.cancel();
        }
        drop(state);
        self.shared.wake.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join(); // a panic was already turned into a reason
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop();
    }
}

//! What is asked of the scheduler, and what it tells.

use crate::generate::{FinishReason, GenParams, Piece};
use crate::vision::PlacedImage;
use crate::{CancelToken, Error, LoraSet, Token};
use std::fmt;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// One answer to generate.
#[derive(Debug)]
pub struct Job {
    /// The prompt.
    pub prompt: Vec<Token>,
    /// The images that its placeholders stand for, in order; see [`MediaPrompt`](crate::vision::MediaPrompt).
    pub images: Vec<PlacedImage>,
    /// How to generate; its cancel token ends the job at any stage.
    pub params: GenParams,
    /// LoRA adapters that it is computed with.
    pub loras: LoraSet,
    /// Use what the cache already holds of the prompt.
    pub reuse_prefix: bool,
    /// Tell how much of the prompt is computed, after every step.
    pub progress: bool,
    /// Hears of the job.
    pub sink: JobSink,
}

/// Hears the events of one job, on the engine thread: it must not block. `Break` ends the job.
pub struct JobSink(Box<dyn FnMut(JobEvent) -> ControlFlow<()> + Send>);

impl JobSink {
    /// A sink that calls `f`.
    pub fn new(f: impl FnMut(JobEvent) -> ControlFlow<()> + Send + 'static) -> Self {
        Self(Box::new(f))
    }

    pub(super) fn send(&mut self, event: JobEvent) -> ControlFlow<()> {
        (self.0)(event)
    }
}

impl fmt::Debug for JobSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JobSink")
    }
}

/// A step of a job: `Started`, `Progress` if it was asked for, pieces, then `Done` or `Failed`; a job that never starts may only fail.
#[derive(Debug)]
pub enum JobEvent {
    /// The prompt is being computed.
    Started {
        /// Its tokens.
        n_prompt: usize,
        /// Of these, tokens that were in the cache.
        n_cached: usize,
    },
    /// A step of computing the prompt is done.
    Progress {
        /// Tokens of the prompt.
        n_prompt: usize,
        /// Of these, tokens that were in the cache.
        n_cached: usize,
        /// Tokens that are in the cache now.
        n_done: usize,
        /// Since the job was started.
        elapsed: Duration,
    },
    /// A token of the answer.
    Piece(Piece),
    /// The answer has ended.
    Done(JobStats),
    /// The job could not be finished.
    Failed(Error),
}

/// What a job did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobStats {
    /// Why it ended.
    pub reason: FinishReason,
    /// Tokens of the prompt.
    pub n_prompt: usize,
    /// Of these, tokens that were in the cache.
    pub n_cached: usize,
    /// Tokens generated, the end token included.
    pub n_generated: usize,
    /// Time in the queue.
    pub waited: Duration,
    /// From the start to the first token.
    pub prefill: Duration,
    /// From the first token to the end.
    pub decode: Duration,
}

/// A job that waits.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) job: Job,
    pub(super) since: Instant,
    pub(super) hold: Hold,
}

/// Whether a job waits for what another one is computing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// Not looked at yet.
    Unjudged,
    /// Until the slot has computed so many tokens in the job with this serial number, or that job has ended.
    Until { slot: usize, serial: u64, n: usize },
    /// It does not, or not any more: nothing is waited for twice.
    Released,
}

impl Queued {
    pub(super) fn new(job: Job) -> Self {
        Self {
            job,
            since: Instant::now(),
            hold: Hold::Unjudged,
        }
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.job.params.cancel.as_ref().is_some_and(CancelToken::is_cancelled)
    }

    pub(super) fn fail(&mut self, error: Error) {
        let _ = self.job.sink.send(JobEvent::Failed(error)); // the job is over either way
    }
}

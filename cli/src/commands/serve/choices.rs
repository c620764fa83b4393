//! The jobs of one request, run side by side, as one stream of events.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::watch;

use crate::commands::serve::backend::{BackendError, ChatJob, CompletionJob, Event, EventStream, Lease, Opened};
use crate::commands::serve::error::ApiError;
use crate::commands::serve::observe::{JobWatch, RequestTally};
use crate::commands::serve::state::AppState;

/// The longest that a client without a response waits for its prompt to be prepared; proxies give up after a minute.
const PREPARATION: Duration = Duration::from_secs(30);

/// Something to run.
#[derive(Clone, Debug)]
pub enum Job {
    /// A chat.
    Chat(Box<ChatJob>),
    /// A completion without a template.
    Completion(Box<CompletionJob>),
}

/// The jobs of one request; the choice with index `i` is the answer to job `i`. Dropping it cancels
/// them all.
///
/// No more jobs are handed over at once than there are slots, so that a request with a hundred
/// prompts neither overflows the queue nor keeps everybody else out of it.
pub struct Choices {
    state: AppState,
    /// Keeps the model loaded.
    _lease: Lease,
    closing: watch::Receiver<bool>,
    waiting: VecDeque<(usize, Job)>,
    running: Vec<Running>,
    /// Of the request; the jobs outlive its handler.
    tally: Option<Arc<RequestTally>>,
    at_once: usize,
    turn: usize,
}

impl Choices {
    /// Hands the first jobs to the backend.
    pub fn start(state: &AppState, model: &Opened, jobs: Vec<Job>) -> Result<Self, ApiError> {
        let mut choices = Self {
            state: state.clone(),
            _lease: model.lease.clone(),
            closing: state.closing(),
            waiting: jobs.into_iter().enumerate().collect(),
            running: Vec::new(),
            tally: RequestTally::current(),
            at_once: model.card.slots.max(1) as usize,
            turn: 0,
        };
        choices.refill()?;
        Ok(choices)
    }

    /// The next event and the choice it belongs to; None when all jobs are done. The first failure
    /// ends them all. Safe to drop half-way.
    pub async fn next(&mut self) -> Result<Option<(usize, Event)>, ApiError> {
        if self.running.is_empty() {
            return Ok(None);
        }
        let (running, turn) = (&mut self.running, self.turn);
        let polled = tokio::select! {
            biased;
            _ = self.closing.wait_for(|closing| *closing) => None,
            polled = poll_fn(|cx| poll_any(running, turn, cx)) => Some(polled),
        };
        if let Some((at, Some(event))) = &polled {
            self.running[*at].watch.event(event);
        }
        let (at, event) = match polled {
            Some((_, Some(Event::Failed(error)))) => return Err(self.abandon(error)),
            Some((at, Some(event))) => (at, event),
            Some((at, None)) => {
                self.running[at].watch.broke_off();
                let detail = "an event stream ended without its last event";
                let error = BackendError::internal("the engine stopped answering", detail);
                return Err(self.abandon(error));
            }
            None => {
                let error = BackendError::Unavailable("the server is shutting down".into());
                return Err(self.abandon(error));
            }
        };
        // Start after this one next time, so that a busy stream does not starve the others.
        self.turn = at + 1;
        let choice = self.running[at].choice;
        if event.is_last() {
            self.running.remove(at);
            self.refill()?;
        }
        Ok(Some((choice, event)))
    }

    /// Waits until the answer begins, and returns the events up to there. An error met on the way
    /// can still get a status of its own. Mistakes in prompts show while these are prepared, so that is waited for whatever
    /// it takes within reason; after it `patience` is the limit, so that the response can begin and be kept alive.
    pub async fn opening(&mut self, patience: Duration) -> Result<Vec<(usize, Event)>, ApiError> {
        let mut events = Vec::new();
        let mut unprepared: Vec<usize> = self.running.iter().map(|job| job.choice).collect();
        let prepared = async {
            while !unprepared.is_empty()
                && let Some((choice, event)) = self.next().await?
            {
                unprepared.retain(|&waiting| waiting != choice);
                events.push((choice, event));
            }
            Ok::<_, ApiError>(())
        };
        match tokio::time::timeout(PREPARATION, prepared).await {
            Ok(prepared) => prepared?,
            Err(_) => return Ok(events),
        }
        let begun = async {
            while !events.iter().any(|(_, event)| is_of_answer(event))
                && let Some((choice, event)) = self.next().await?
            {
                events.push((choice, event));
            }
            Ok::<_, ApiError>(())
        };
        tokio::time::timeout(patience, begun).await.unwrap_or(Ok(()))?;
        Ok(events)
    }

    fn refill(&mut self) -> Result<(), ApiError> {
        while self.running.len() < self.at_once {
            let Some((choice, job)) = self.waiting.pop_front() else {
                break;
            };
            let watch = JobWatch::begin(&self.state.meter, self.tally.clone());
            let started = match job.clone() {
                Job::Chat(job) => self.state.backend.chat(*job),
                Job::Completion(job) => self.state.backend.complete(*job),
            };
            match started {
                Ok(events) => self.running.push(Running { choice, events, watch }),
                // Our own jobs are among those that fill the queue: wait for one of them.
                Err(BackendError::Overloaded { .. }) if !self.running.is_empty() => {
                    watch.forget();
                    self.waiting.push_front((choice, job));
                    break;
                }
                Err(error) => {
                    watch.refused();
                    return Err(self.abandon(error));
                }
            }
        }
        Ok(())
    }

    fn abandon(&mut self, error: BackendError) -> ApiError {
        self.waiting.clear();
        self.running.clear();
        error.into()
    }
}

/// A job that the backend has taken.
struct Running {
    choice: usize,
    events: EventStream,
    watch: JobWatch,
}

/// Whether the answer has begun with this event.
fn is_of_answer(event: &Event) -> bool {
    !matches!(event, Event::Accepted | Event::Started { .. })
}

fn poll_any(running: &mut [Running], turn: usize, cx: &mut Context<'_>) -> Poll<(usize, Option<Event>)> {
    let count = running.len();
    for at in (0..count).map(|step| (turn + step) % count) {
        if let Poll::Ready(event) = running[at].events.poll_next(cx) {
            return Poll::Ready((at, event));
        }
    }
    Poll::Pending
}

//! Sending what the plan says, when it says it, and counting what comes back.

use super::client::Client;
use super::outcome::{Ending, Exchange};
use super::plan::Plan;
use super::tally::{Tally, When};
use llama_turboquant::CancelToken;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How often a pause looks whether it was interrupted.
const POLL: Duration = Duration::from_millis(50);
/// A server that refuses without saying when to come back is asked again after this.
const UNTOLD: Duration = Duration::from_secs(1);
/// The longest Retry-After that is obeyed.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// What makes clients send.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Loop {
    /// Each client sends its next request when it has the answer to the one before.
    Closed,
    /// Requests come at this rate per second, whatever the server does; of at most as many as there are clients at a time.
    Open(f64),
}

/// A load.
#[derive(Debug, Clone)]
pub struct Drive {
    /// Which requests.
    pub plan: Plan,
    /// What makes them come.
    pub pace: Loop,
    /// Clients at once.
    pub clients: usize,
    /// No request is begun later.
    pub duration: Option<Duration>,
    /// No more requests than these.
    pub requests: Option<u64>,
    /// Times a refused request is sent again, when its Retry-After is over.
    pub retries: u32,
    /// Stops it.
    pub cancel: CancelToken,
}

struct Shared {
    drive: Drive,
    client: Client,
    start: Instant,
    tally: Arc<Mutex<Tally>>,
    begun: AtomicU64,
}

/// The counts, also after a panic elsewhere: each is valid after every statement.
pub fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drive {
    /// Runs it to its end; what is begun is waited for, unless it is cancelled.
    pub async fn run(&self, client: &Client, tally: &Arc<Mutex<Tally>>) {
        let shared = Arc::new(Shared {
            drive: self.clone(),
            client: client.clone(),
            start: Instant::now(),
            tally: Arc::clone(tally),
            begun: AtomicU64::new(0),
        });
        let mut tasks = JoinSet::new();
        match self.pace {
            Loop::Closed => {
                for number in 0..self.clients {
                    tasks.spawn(Arc::clone(&shared).one_after_the_other(number));
                }
            }
            Loop::Open(rate) => shared.as_they_come(rate, &mut tasks).await,
        }
        while tasks.join_next().await.is_some() {}
    }
}

impl Shared {
    /// Whether one more request may begin.
    fn may_begin(&self, at: Duration) -> bool {
        let in_time = self.drive.duration.is_none_or(|duration| at < duration);
        if !in_time || self.drive.cancel.is_cancelled() {
            return false;
        }
        let most = self.drive.requests.unwrap_or(u64::MAX);
        let begun = |n: u64| (n < most).then_some(n + 1);
        self.begun
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, begun)
            .is_ok()
    }

    async fn one_after_the_other(self: Arc<Self>, client: usize) {
        let mut number = 0;
        while self.may_begin(self.start.elapsed()) {
            self.request(client, number, self.start.elapsed()).await;
            number += 1;
        }
    }

    async fn as_they_come(self: &Arc<Self>, rate: f64, tasks: &mut JoinSet<()>) {
        let places = Arc::new(Semaphore::new(self.drive.clients));
        for (number, due) in self.drive.plan.arrivals(rate).enumerate() {
            if !self.may_begin(due) {
                return;
            }
            let early = due.saturating_sub(self.start.elapsed());
            if self.unless_cancelled(tokio::time::sleep(early)).await.is_none() {
                return;
            }
            let (shared, places) = (Arc::clone(self), Arc::clone(&places));
            tasks.spawn(async move {
                // it is due, and waits for a place as it would for the server: that counts
                let place = shared.unless_cancelled(places.acquire_owned()).await;
                if let Some(Ok(_place)) = place {
                    shared.request(0, number as u64, due).await;
                }
            });
            while tasks.try_join_next().is_some() {}
        }
    }

    async fn request(&self, client: usize, number: u64, due: Duration) {
        let request = self.drive.plan.request(client, number);
        let mut tries = 0;
        loop {
            let usual = lock(&self.tally).usual(request.class);
            let when = When {
                due,
                sent: self.start.elapsed(),
            };
            let asked = self.unless_cancelled(self.client.ask(&request, usual, false)).await;
            let exchange = asked.unwrap_or_else(Exchange::cut);
            match &exchange.ending {
                Ending::Refused(problem) if tries < self.drive.retries => {
                    tries += 1;
                    lock(&self.tally).retried(problem);
                    let pause = problem.retry_after.unwrap_or(UNTOLD).min(LONGEST_RETRY);
                    if self.unless_cancelled(tokio::time::sleep(pause)).await.is_none() {
                        lock(&self.tally).add(client, &request, when, &Exchange::cut());
                        return;
                    }
                }
                _ => {
                    lock(&self.tally).add(client, &request, when, &exchange);
                    return;
                }
            }
        }
    }

    /// `None`: it was cancelled before.
    async fn unless_cancelled<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        unless_cancelled(&self.drive.cancel, work).await
    }
}

/// Drops `work` when it is cancelled; `None`: so it was.
pub async fn unless_cancelled<T>(cancel: &CancelToken, work: impl Future<Output = T>) -> Option<T> {
    tokio::pin!(work);
    loop {
        match tokio::time::timeout(POLL, &mut work).await {
            Ok(done) => return Some(done),
            Err(_) if cancel.is_cancelled() => return None,
            Err(_) => {}
        }
    }
}

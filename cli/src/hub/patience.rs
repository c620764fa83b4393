//! When a request to a hub is tried again, and when it is given up.

use super::Error;
use llama_turboquant::CancelToken;
use std::time::Duration;

/// How often a waiting download looks whether it was cancelled.
pub(super) const POLL: Duration = Duration::from_millis(50);

/// When to try again, and when to give up.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Attempts without a byte in between.
    pub attempts: u32,
    /// Before the second attempt; doubled for each further one.
    pub first_delay: Duration,
    /// Longest wait between two attempts.
    pub longest_delay: Duration,
    /// A connection that is silent for so long is broken.
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            attempts: 6,
            first_delay: Duration::from_millis(500),
            longest_delay: Duration::from_secs(30),
            silence: Duration::from_secs(30),
        }
    }
}

impl Patience {
    /// Waits before the attempt after `failures` failed ones, at least as long as the hub asked for (a minute at most).
    pub(super) fn wait(&self, failures: u32, asked: Option<Duration>, cancel: &CancelToken) -> Result<(), Error> {
        let doubled = self.first_delay.saturating_mul(1 << failures.saturating_sub(1).min(16));
        let asked = asked.unwrap_or_default().min(Duration::from_secs(60));
        let mut left = doubled.min(self.longest_delay).max(asked);
        while !left.is_zero() {
            check(cancel)?;
            let step = left.min(POLL);
            std::thread::sleep(step);
            left -= step;
        }
        check(cancel)
    }
}

/// An attempt that failed.
pub(super) enum Trouble {
    /// Another attempt would fail as well.
    Final(Error),
    /// Another attempt may do better.
    Passing { reason: String, after: Option<Duration> },
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

/// Fails if the request was cancelled.
pub(super) fn check(cancel: &CancelToken) -> Result<(), Error> {
    if cancel.is_cancelled() {
        Err(Error::Cancelled)
    } else {
        Ok(())
    }
}

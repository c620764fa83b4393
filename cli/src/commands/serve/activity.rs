//! What one connection is doing, and when that has gone on for long enough.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use tokio::sync::Notify;

use crate::commands::serve::wire::{OverTcp, Wire};

/// How often it is looked whether the client of a running request is still there.
const GLANCE: Duration = Duration::from_millis(250);

/// How long clients may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// To send the head of a request, from the end of the last answer on; so long may a connection be idle.
    pub head: Duration,
    /// To take a part of an answer.
    pub answer: Duration,
}

/// Why a connection is closed by the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// No request came, or did not come to the end of its head.
    Idle,
    /// The client does not take its answer.
    Stalled,
    /// The client has gone.
    Gone,
    /// Others wait to be let in, and this one has been idle for longest.
    Crowded,
}

impl std::error::Error for Closed {}

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Idle => "no request came in time",
            Self::Stalled => "the client did not take its answer in time (--timeout)",
            Self::Gone => "the client has gone",
            Self::Crowded => "it was idle, and others wait (--max-connections)",
        })
    }
}

/// What a connection is doing.
#[derive(Debug)]
pub struct Activity {
    state: Mutex<State>,
    begun: Notify,
    sent_away: Notify,
}

#[derive(Debug)]
struct State {
    /// The answers that are made or sent now: since when the client has not asked for more of what is there.
    answers: BTreeMap<u64, Option<Instant>>,
    count: u64,
    /// Since when there are none.
    quiet_since: Instant,
}

impl Activity {
    /// Of a connection that has just begun.
    pub fn new() -> Arc<Self> {
        let state = State {
            answers: BTreeMap::new(),
            count: 0,
            quiet_since: Instant::now(),
        };
        Arc::new(Self {
            state: Mutex::new(state),
            begun: Notify::new(),
            sent_away: Notify::new(),
        })
    }

    /// A request has come; its answer has ended when the result is dropped.
    pub fn begin(self: &Arc<Self>) -> Answer {
        let mut state = self.lock();
        state.count += 1;
        let number = state.count;
        state.answers.insert(number, None);
        self.begun.notify_one();
        Answer {
            of: Arc::clone(self),
            number,
        }
    }

    /// Since when no request is served; None: one is.
    pub fn idle_since(&self) -> Option<Instant> {
        let state = self.lock();
        state.answers.is_empty().then_some(state.quiet_since)
    }

    /// Asks the connection to make room for others.
    pub fn send_away(&self) {
        self.sent_away.notify_one();
    }

    /// Completes when others need the place of an idle connection.
    pub async fn crowded_out(&self) {
        loop {
            self.sent_away.notified().await;
            // a request may have come since
            if self.idle_since().is_some() {
                return;
            }
        }
    }

    /// Completes when the connection has to be closed.
    pub async fn watch<S: OverTcp>(&self, wire: &Wire<S>, patience: Patience) -> Closed {
        loop {
            let next = match self.judge(wire.blocked_since(), patience, Instant::now()) {
                Err(closed) => return closed,
                Ok(Some(deadline)) => deadline,
                Ok(None) if wire.is_gone() => return Closed::Gone,
                Ok(None) => Instant::now() + GLANCE,
            };
            // an idle connection is looked at when its time may be over, or it is no longer idle
            tokio::select! {
                () = tokio::time::sleep_until(next.into()) => {}
                () = self.begun.notified() => {}
            }
        }
    }

    /// Why the connection is to be closed now; else when to look again, None: soon, because a request is served.
    fn judge(
        &self,
        blocked_since: Option<Instant>,
        patience: Patience,
        now: Instant,
    ) -> Result<Option<Instant>, Closed> {
        let state = self.lock();
        if state.answers.is_empty() {
            // the end of an answer may still be on its way to a slow client
            return match blocked_since {
                Some(since) if now >= since + patience.answer => Err(Closed::Stalled),
                Some(since) => Ok(Some((since + patience.answer).min(now + patience.head))),
                None if now >= state.quiet_since + patience.head => Err(Closed::Idle),
                None => Ok(Some(state.quiet_since + patience.head)),
            };
        }
        let longest = state.answers.values().flatten().min();
        match longest {
            Some(since) if now >= *since + patience.answer => Err(Closed::Stalled),
            _ => Ok(None),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // every change under the lock is a few assignments that cannot panic half-way
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer that is made or sent.
#[derive(Debug)]
pub struct Answer {
    of: Arc<Activity>,
    number: u64,
}

impl Answer {
    fn set(&self, handed_over: Option<Instant>) {
        self.of.lock().answers.insert(self.number, handed_over);
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let mut state = self.of.lock();
        state.answers.remove(&self.number);
        state.quiet_since = Instant::now();
    }
}

/// A body that notes when more of it was asked for: hyper asks when the client has taken what came before, in HTTP/1 by the
/// socket and in HTTP/2 by its window.
pub struct Noted {
    body: Body,
    answer: Answer,
}

impl Noted {
    /// The body of `answer`.
    pub fn new(body: Body, answer: Answer) -> Self {
        Self { body, answer }
    }
}

impl HttpBody for Noted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        self.answer.set(frame.is_ready().then(Instant::now));
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        head: Duration::from_secs(30),
        answer: Duration::from_secs(60),
    };

    fn after(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    #[test]
    fn an_idle_connection_ends_and_one_that_serves_does_not() {
        let activity = Activity::new();
        assert_eq!(activity.judge(None, PATIENCE, after(31)), Err(Closed::Idle));
        let answer = activity.begin();
        assert_eq!(activity.judge(None, PATIENCE, after(3600)), Ok(None));
        drop(answer);
        assert!(activity.judge(None, PATIENCE, after(29)).is_ok());
        assert_eq!(activity.judge(None, PATIENCE, after(31)), Err(Closed::Idle));
    }

    #[test]
    fn an_answer_that_is_not_taken_ends_the_connection_and_one_that_takes_long_does_not() {
        let activity = Activity::new();
        let (made, sent) = (activity.begin(), activity.begin());
        made.set(None);
        sent.set(Some(Instant::now()));
        assert_eq!(activity.judge(None, PATIENCE, after(59)), Ok(None));
        assert_eq!(activity.judge(None, PATIENCE, after(61)), Err(Closed::Stalled));
        sent.set(None);
        assert_eq!(activity.judge(None, PATIENCE, after(61)), Ok(None));
    }

    #[test]
    fn the_last_bytes_of_an_answer_have_their_time_though_no_request_is_served() {
        let activity = Activity::new();
        let blocked = Some(Instant::now());
        assert!(activity.judge(blocked, PATIENCE, after(31)).is_ok());
        assert_eq!(activity.judge(blocked, PATIENCE, after(61)), Err(Closed::Stalled));
    }
}

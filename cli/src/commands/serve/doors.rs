//! The end of a server: no new requests, and time for those that are running.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tokio::sync::watch;

use crate::commands::serve::backend::BackendError;
use crate::commands::serve::error::ApiError;
use crate::commands::serve::state::AppState;

/// What refused clients are told to wait: who restarts the server is quick, and others are to ask another one.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Counts requests on their way in and out.
#[derive(Debug, Default)]
pub struct Doors(watch::Sender<Count>);

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    inside: usize,
    closed: bool,
}

/// A request that is running; it has ended when this is dropped.
#[derive(Debug)]
pub struct Visit(Arc<Doors>);

/// What became of the requests that were running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Those that ended in time.
    pub finished: usize,
    /// Those that are still running.
    pub left: usize,
}

impl Doors {
    /// Lets a request in; None: it is to be refused.
    pub fn enter(self: &Arc<Self>) -> Option<Visit> {
        let entered = self.0.send_if_modified(|count| {
            count.inside += usize::from(!count.closed);
            !count.closed
        });
        entered.then(|| Visit(Arc::clone(self)))
    }

    /// Lets no more requests in, and waits for those inside, at most `limit`.
    pub async fn close(&self, limit: Duration) -> Drained {
        let mut running = 0;
        self.0.send_modify(|count| {
            count.closed = true;
            running = count.inside;
        });
        let mut count = self.0.subscribe();
        let empty = count.wait_for(|count| count.inside == 0);
        // either way the count says how it went
        let _ = tokio::time::timeout(limit, empty).await;
        let left = self.0.borrow().inside;
        let finished = running.saturating_sub(left);
        Drained { finished, left }
    }

    fn closed(&self) -> bool {
        self.0.borrow().closed
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| count.inside -= 1);
    }
}

/// Refuses requests that come too late.
pub async fn refuse(State(state): State<AppState>, request: Request, next: Next) -> Result<Response, ApiError> {
    if state.doors.closed() {
        return Err(ApiError::from(BackendError::Busy {
            message: "the server is shutting down".into(),
            retry_after: RETRY_AFTER,
        }));
    }
    Ok(next.run(request).await)
}

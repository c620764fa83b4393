//! One at a time: what requests share that is no slot.

use super::RETRY_AFTER;
use crate::commands::serve::backend::BackendError;
use llama_turboquant::CancelToken;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often one that waits looks whether its client is still there.
const LOOK: Duration = Duration::from_millis(50);

/// A value that requests use one after the other; at most `limit` of them wait.
#[derive(Debug)]
pub(super) struct Turn<T> {
    value: Mutex<T>,
    gate: Mutex<Gate>,
    free: Condvar,
    limit: usize,
}

#[derive(Debug, Default)]
struct Gate {
    busy: bool,
    waiting: usize,
}

impl<T> Turn<T> {
    pub(super) fn new(value: T, limit: usize) -> Self {
        Self {
            value: Mutex::new(value),
            gate: Mutex::default(),
            free: Condvar::new(),
            limit,
        }
    }

    /// Waits for its turn and works. Blocks; a cancelled one stops waiting.
    pub(super) fn run<R>(
        &self,
        cancel: &CancelToken,
        work: impl FnOnce(&mut T) -> Result<R, BackendError>,
    ) -> Result<R, BackendError> {
        let _pass = self.enter(cancel)?;
        // nobody else holds it; a panic of an earlier holder leaves a value that is made anew when it is used
        let mut value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut value)
    }

    fn enter(&self, cancel: &CancelToken) -> Result<Pass<'_, T>, BackendError> {
        let mut gate = self.gate();
        if gate.busy && gate.waiting >= self.limit {
            return Err(BackendError::Overloaded {
                retry_after: RETRY_AFTER,
            });
        }
        gate.waiting += 1;
        while gate.busy && !cancel.is_cancelled() {
            gate = self
                .free
                .wait_timeout(gate, LOOK)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        gate.waiting -= 1;
        if cancel.is_cancelled() {
            return Err(BackendError::Unavailable("the request was cancelled".into()));
        }
        gate.busy = true;
        Ok(Pass(self))
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to use the value.
struct Pass<'a, T>(&'a Turn<T>);

impl<T> Drop for Pass<'_, T> {
    fn drop(&mut self) {
        self.0.gate().busy = false;
        self.0.free.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::mpsc::channel;
    use std::thread;

    /// A turn that is taken until the sender is dropped.
    fn taken(limit: usize) -> (Arc<Turn<u32>>, std::sync::mpsc::Sender<()>, thread::JoinHandle<()>) {
        let turn = Arc::new(Turn::new(0, limit));
        let (begun, wait) = channel();
        let (release, hold) = channel::<()>();
        let holder = Arc::clone(&turn);
        let thread = thread::spawn(move || {
            let result = holder.run(&CancelToken::new(), |value| {
                begun.send(()).unwrap();
                let _ = hold.recv();
                *value += 1;
                Ok(())
            });
            assert_eq!(result, Ok(()));
        });
        wait.recv().unwrap();
        (turn, release, thread)
    }

    #[test]
    fn more_than_may_wait_are_refused_and_those_that_wait_get_their_turn() {
        let (turn, release, holder) = taken(1);
        let waiter = {
            let turn = Arc::clone(&turn);
            thread::spawn(move || turn.run(&CancelToken::new(), |value| Ok(*value)))
        };
        while turn.gate().waiting == 0 {
            thread::yield_now();
        }
        let refused = turn.run(&CancelToken::new(), |_| Ok(()));
        assert!(matches!(refused, Err(BackendError::Overloaded { .. })), "{refused:?}");
        drop(release);
        assert_eq!(waiter.join().unwrap(), Ok(1));
        holder.join().unwrap();
    }

    #[test]
    fn one_whose_client_has_gone_stops_waiting() {
        let (turn, release, holder) = taken(1);
        let cancel = CancelToken::new();
        cancel.cancel();
        let result = turn.run(&cancel, |_| Ok(()));
        assert!(matches!(result, Err(BackendError::Unavailable(_))), "{result:?}");
        assert_eq!(turn.gate().waiting, 0);
        drop(release);
        holder.join().unwrap();
    }
}

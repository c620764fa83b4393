//! Stopping one request without touching the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

/// Stops the work it is given to; cheap to clone, and any clone cancels for all of them.
///
/// There is no process-wide stop flag: each request carries its own token.
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<AtomicI32>);

impl CancelToken {
    /// A token that is not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the work to stop; it ends within one graph node on the CPU, one batch on a device.
    pub fn cancel(&self) {
        self.0.store(1, Ordering::Relaxed);
    }

    /// Whether [`cancel`](Self::cancel) was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// The flag as the engine polls it; valid while any clone lives.
    pub(super) fn as_ptr(&self) -> *const i32 {
        self.0.as_ptr()
    }
}

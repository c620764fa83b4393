//! The most main memory this process occupied, and when it has nothing left to do.

use crate::memory;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, RefreshKind, System};

const INTERVAL: Duration = Duration::from_millis(20);

/// A thread that looks at the resident memory every 20 ms, but not while something is timed: it would take a core from
/// it, and a run touches no memory that the warm-up has not.
#[derive(Debug)]
pub(super) struct PeakMeter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Bytes; 0: the system does not tell.
    peak: AtomicU64,
    paused: AtomicBool,
    stopped: AtomicBool,
}

impl Shared {
    fn look(&self) {
        if let Some(bytes) = memory::resident() {
            self.peak.fetch_max(bytes, Ordering::Relaxed);
        }
    }
}

impl PeakMeter {
    /// Starts to watch.
    pub fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let seen = Arc::clone(&shared);
        let watch = move || {
            while !seen.stopped.load(Ordering::Relaxed) {
                if !seen.paused.load(Ordering::Relaxed) {
                    seen.look();
                }
                thread::park_timeout(INTERVAL);
            }
        };
        // without the thread the looks at the end of each run remain
        let thread = thread::Builder::new().name("peak-memory".into()).spawn(watch).ok();
        Self { shared, thread }
    }

    /// Forgets the peak so far.
    pub fn restart(&self) {
        self.shared.peak.store(0, Ordering::Relaxed);
        self.shared.look();
    }

    /// Leaves the processors to what is timed by `work`; looks once afterwards.
    pub fn pause<T>(&self, work: impl FnOnce() -> T) -> T {
        self.shared.paused.store(true, Ordering::Relaxed);
        let result = work();
        self.shared.paused.store(false, Ordering::Relaxed);
        self.shared.look();
        result
    }

    /// Bytes; `None` where the system does not tell.
    pub fn peak(&self) -> Option<u64> {
        Some(self.shared.peak.load(Ordering::Relaxed)).filter(|&bytes| bytes > 0)
    }
}

impl Drop for PeakMeter {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // it has no way to panic that would matter here
            let _ = thread.join();
        }
    }
}

/// Waits until this process no longer computes, at most a second. The threads of an engine context spin for up to some
/// hundred milliseconds after its last work, on cores that the next context needs.
pub(super) fn wait_until_idle() {
    const WINDOW: Duration = Duration::from_millis(40);
    const LIMIT: Duration = Duration::from_secs(1);
    let started = Instant::now();
    let mut before = cpu_time();
    while started.elapsed() < LIMIT {
        thread::sleep(WINDOW);
        let now = cpu_time();
        match (before, now) {
            // the system counts in ticks of 10 ms: one spinning thread gives four of them
            (Some(before), Some(now)) if now.saturating_sub(before) <= Duration::from_millis(10) => return,
            (Some(_), Some(_)) => before = now,
            _ => {}
        }
    }
}

/// Processor time of this process; `None` where the system does not tell.
fn cpu_time() -> Option<Duration> {
    let own = sysinfo::get_current_pid().ok()?;
    let mut system = System::new_with_specifics(RefreshKind::nothing()).ok()?;
    let what = ProcessRefreshKind::nothing().with_cpu();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[own]), false, what);
    Some(Duration::from_millis(system.process(own)?.accumulated_cpu_time()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_was_freed_again_counts() {
        let meter = PeakMeter::start();
        meter.restart();
        let Some(before) = meter.peak() else { return };
        let block = vec![1_u8; 64 << 20];
        meter.pause(|| std::hint::black_box(&block).len());
        drop(block);
        let peak = meter.peak().expect("known before");
        // other tests of this process allocate and free beside this one: only the lower bound is ours
        assert!(peak >= before.max(64 << 20), "{peak} after {before}");
    }
}

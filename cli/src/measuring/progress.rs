//! How far a long measurement is, and how long it will take.

use crate::console;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::{Duration, Instant};

/// Between two lines where standard error is no terminal.
const QUIET: Duration = Duration::from_secs(20);

/// A bar with the time left; lines now and then where standard error is a file or a pipe.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    what: String,
    started: Instant,
    last_line: Instant,
    terminal: bool,
}

impl Progress {
    /// Of `total` steps of `what`.
    pub fn new(what: impl Into<String>, total: usize) -> Self {
        let what = what.into();
        let terminal = console::is_watched();
        let style = ProgressStyle::with_template("{msg} {bar:32} {pos}/{len}, {elapsed} so far, {eta} left")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let target = if terminal {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(total as u64), target).with_style(style);
        bar.set_message(what.clone());
        Self {
            bar,
            what,
            started: Instant::now(),
            last_line: Instant::now(),
            terminal,
        }
    }

    /// `done` steps are done.
    pub fn at(&mut self, done: usize) {
        self.bar.set_position(done as u64);
        if !self.terminal && done > 0 && self.last_line.elapsed() >= QUIET {
            self.last_line = Instant::now();
            let total = self.bar.length().unwrap_or(0) as usize;
            let left = self
                .started
                .elapsed()
                .mul_f64(total.saturating_sub(done) as f64 / done as f64);
            console::say!("{}: {done}/{total}, about {} s left", self.what, left.as_secs());
        }
    }

    /// What is being done now.
    pub fn say(&mut self, what: impl Into<String>) {
        self.what = what.into();
        self.bar.set_message(self.what.clone());
    }

    /// Prints a line above the bar.
    pub fn println(&self, line: &str) {
        self.bar.suspend(|| println!("{line}"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

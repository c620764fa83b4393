//! `turboquant pull`: downloads a model.

use crate::args::store::{PullArgs, RemoteArgs, StoreArgs};
use crate::console;
use crate::hub::{Error, Reference, Status, obtain, pull};
use crate::interrupt::{Interrupt, exit_code};
use crate::settings::human_bytes;
use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use llama_turboquant::CancelToken;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Between two lines where standard error is no terminal.
const QUIET: Duration = Duration::from_secs(20);

/// Downloads the model and prints its name.
///
/// # Errors
/// As [`pull`].
pub fn run(args: &PullArgs) -> Result<ExitCode> {
    let reference: Reference = args.model.parse()?;
    let (store, hub) = (args.store.open()?, args.hub.open()?);
    let cancel = Interrupt::install()?.token();
    let mut show = Show::new();
    let outcome = pull(&store, &hub, &reference, &cancel, &mut |status| show.status(status));
    show.clear();
    match outcome {
        Ok(entry) => {
            console::say!("{} in {}", human_bytes(entry.size), store.folder().display());
            println!("{}", entry.name);
            Ok(ExitCode::SUCCESS)
        }
        Err(error @ Error::Cancelled) => {
            console::say!("{error}");
            Ok(exit_code(false))
        }
        Err(error) => Err(error.into()),
    }
}

impl RemoteArgs {
    /// The file of the model that was named, downloaded into the models folder where it is not there yet; None: no model on a
    /// hub was named. Blocks; what has come before `cancel` is kept.
    ///
    /// # Errors
    /// As [`pull`].
    pub fn obtain(&self, models_dir: Option<PathBuf>, cancel: &CancelToken) -> Result<Option<PathBuf>> {
        let Some(repo) = &self.hf_repo else { return Ok(None) };
        let reference: Reference = match &self.hf_file {
            Some(file) => format!("{}:{file}", repo.split(':').next().unwrap_or(repo)).parse()?,
            None => repo.parse()?,
        };
        let store = StoreArgs { models_dir }.open()?;
        let mut show = Show::new();
        let entry = obtain(&store, &self.open_hub()?, &reference, cancel, &mut |status| {
            show.status(status)
        });
        show.clear();
        Ok(entry?.file)
    }
}

/// A bar for one file after the other; lines now and then where standard error is a file or a pipe.
struct Show {
    bar: ProgressBar,
    file: String,
    last_line: Instant,
    terminal: bool,
}

impl Show {
    fn new() -> Self {
        Self {
            bar: ProgressBar::hidden(),
            file: String::new(),
            last_line: Instant::now(),
            terminal: console::is_watched(),
        }
    }

    fn status(&mut self, status: Status<'_>) {
        match status {
            Status::Manifest => self.say("asking the hub"),
            Status::Waiting => self.say("another download of this model goes on; waiting for it"),
            Status::Retrying { reason } => self.say(&format!("{reason}; trying again")),
            Status::Transfer {
                file, total, completed, ..
            } => self.transfer(file, total, completed),
            Status::Verifying => self.say("checksum is right"),
            Status::Writing | Status::Success => {}
        }
    }

    fn transfer(&mut self, file: &str, total: u64, completed: u64) {
        if self.file != file {
            self.clear();
            file.clone_into(&mut self.file);
            self.say(&format!("{file}, {}", human_bytes(total)));
            if self.terminal {
                let style = "{bar:32} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left";
                let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
                self.bar = ProgressBar::new(total).with_style(style);
                // what is there already must not count as speed
                self.bar.set_position(completed);
                self.bar.reset_eta();
            }
        }
        self.bar.set_position(completed);
        if !self.terminal && self.last_line.elapsed() >= QUIET {
            self.last_line = Instant::now();
            console::say!("{file}: {} of {}", human_bytes(completed), human_bytes(total));
        }
    }

    fn say(&self, line: &str) {
        self.bar.suspend(|| console::say!("{line}"));
    }

    fn clear(&mut self) {
        self.bar.finish_and_clear();
        self.bar = ProgressBar::hidden();
    }
}

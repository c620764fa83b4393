//! Ctrl-C in commands that are not servers: the first asks the work to stop, the second ends the process.

use anyhow::{Context, Result};
use llama_turboquant::CancelToken;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

/// What the program returns after Ctrl-C, as shells have it: 128 and the number of SIGINT.
pub const INTERRUPTED: u8 = 130;

/// Success, or [`INTERRUPTED`] where not all that was asked for is done.
pub fn exit_code(complete: bool) -> ExitCode {
    if complete {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(INTERRUPTED)
    }
}

/// Passes Ctrl-C on to whatever is running.
#[derive(Clone)]
pub struct Interrupt(Arc<Mutex<CancelToken>>);

impl Interrupt {
    /// Takes over Ctrl-C and SIGTERM.
    ///
    /// # Errors
    /// If the system refuses the handler.
    pub fn install() -> Result<Self> {
        let current = Arc::new(Mutex::new(CancelToken::new()));
        let seen = Arc::clone(&current);
        ctrlc::set_handler(move || {
            let token = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if token.is_cancelled() {
                llama_turboquant::exit_now(INTERRUPTED);
            }
            token.cancel();
        })
        .context("cannot handle Ctrl-C")?;
        Ok(Self(current))
    }

    /// A fresh token for the next piece of work: the next Ctrl-C cancels it, one more ends the process.
    pub fn token(&self) -> CancelToken {
        let token = CancelToken::new();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = token.clone();
        token
    }
}

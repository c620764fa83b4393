//! Standard error: what the program has to say besides its answer. Lines for people, or with `--log-format json` records of
//! the log, so that whoever parses one line can parse them all.

use crate::args::log::LogFormat;
use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::sync::OnceLock;

static FORMAT: OnceLock<LogFormat> = OnceLock::new();

/// Starts the log, on standard error, so that standard output is only the answer.
pub fn start(verbose: u8, format: LogFormat) {
    let filter = match verbose {
        0 => "info,llama_cpp=off",
        1 => "debug,llama_cpp=warn,hyper=info",
        _ => "trace,hyper=info",
    };
    // RUST_LOG, where somebody set it, says more exactly what they want to see.
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| filter.into());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // nobody is left to be told
        .log_internal_errors(false)
        .with_target(verbose > 0);
    match format {
        LogFormat::Text => log.without_time().init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    let _ = FORMAT.set(format); // only the first call counts
}

/// Whether standard error is for programs.
pub fn is_json() -> bool {
    FORMAT.get() == Some(&LogFormat::Json)
}

/// Whether somebody watches, so that bars may be drawn.
pub fn is_watched() -> bool {
    std::io::stderr().is_terminal() && !is_json()
}

/// A line on standard error. Whoever has read it may have gone, and a server goes on without them; `eprintln!` would panic.
fn line(text: impl Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A line on standard output, for programs that do not end with their reader.
pub fn out(text: impl Display) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// As `eprintln!`, by way of [`tell`].
macro_rules! say {
    ($($what:tt)*) => { $crate::console::tell(format_args!($($what)*)) };
}
pub(crate) use say;

/// Something to know.
pub fn tell(text: impl Display) {
    if is_json() {
        tracing::info!("{text}");
    } else {
        line(text);
    }
}

/// Something that only helps people.
pub fn hint(text: impl Display) {
    if !is_json() {
        line(text);
    }
}

/// Why the program ends without having done what it was asked for.
pub fn fail(text: impl Display) {
    if is_json() {
        tracing::error!("{text}");
    } else {
        line(format_args!("error: {text}"));
    }
}

/// A panic; `default` tells people.
pub fn panicked(info: &PanicHookInfo<'_>, default: impl Fn(&PanicHookInfo<'_>)) {
    if is_json() {
        tracing::error!("{info}");
    } else {
        default(info);
    }
}

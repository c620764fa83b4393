//! Parse, run, map the outcome to an exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
#![forbid(unsafe_code)]

use llama_turboquant::Error;
use llama_turboquant_cli::args::log::LogFormat;
use llama_turboquant_cli::commands;
use llama_turboquant_cli::interrupt::exit_code;
use llama_turboquant_cli::options::{self, Environment, ParseError, Parsed};
use std::io::IsTerminal;
use std::process::ExitCode;

fn main() -> ExitCode {
    end_with_the_reader();
    let Parsed { args, origin } = match options::parse(std::env::args_os(), &Environment::of_process()) {
        Ok(parsed) => parsed,
        Err(ParseError::Usage(error)) => error.exit(),
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    start_log(args.verbose, args.log.log_format);
    origin.log();
    match commands::run(args, &origin) {
        Ok(code) => code,
        Err(error) if matches!(error.downcast_ref(), Some(Error::Cancelled)) => {
            eprintln!("interrupted");
            exit_code(false)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// `turboquant ... | head`: when nobody reads any more, `println!` panics. That is no failure of ours, so it ends the program
/// as the signal would have, without a backtrace.
fn end_with_the_reader() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let text = info.payload_as_str().unwrap_or_default();
        if text.starts_with("failed printing to std") && text.contains("Broken pipe") {
            std::process::exit(141);
        }
        default(info);
    }));
}

/// What the program has to say goes to standard error, so that standard output is only the answer.
fn start_log(verbose: u8, format: LogFormat) {
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
        .with_target(verbose > 0);
    match format {
        LogFormat::Text => log.without_time().init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}

//! Parse, run, map the outcome to an exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
#![forbid(unsafe_code)]

use llama_turboquant::Error;
use llama_turboquant_cli::interrupt::exit_code;
use llama_turboquant_cli::options::{self, Environment, ParseError, Parsed};
use llama_turboquant_cli::{commands, console};
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
    console::start(args.verbose, args.log.log_format);
    origin.log();
    match commands::run(args, &origin) {
        Ok(code) => code,
        Err(error) if matches!(error.downcast_ref(), Some(Error::Cancelled)) => {
            console::tell("interrupted");
            exit_code(false)
        }
        Err(error) => {
            let text = format!("{error:#}");
            console::fail(format_args!("{text}{}", origin.sources_of(&text)));
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
            llama_turboquant::exit_now(141);
        }
        console::panicked(info, &default);
    }));
}

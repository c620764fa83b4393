//! What `turboquant serve` understands on its command line, in its environment and in its configuration file.

mod file;
mod llama;
mod ollama;
mod variables;

use llama_turboquant_cli::args::Command;
use llama_turboquant_cli::args::serve::ServeArgs;
use llama_turboquant_cli::options::{Environment, ParseError, Parsed, parse};
use std::ffi::OsString;
use std::io::Write;
use tempfile::NamedTempFile;

fn line(text: &str) -> Vec<OsString> {
    text.split(' ').map(OsString::from).collect()
}

fn try_serve(options: &str, variables: &[(&str, &str)]) -> Result<Parsed, ParseError> {
    parse(
        line(format!("turboquant serve {options}").trim_end()),
        &Environment::of(variables),
    )
}

#[track_caller]
fn parsed(options: &str, variables: &[(&str, &str)]) -> Parsed {
    try_serve(options, variables).unwrap_or_else(|error| panic!("{options}: {error}"))
}

#[track_caller]
fn serve(options: &str, variables: &[(&str, &str)]) -> ServeArgs {
    match parsed(options, variables).args.command {
        Command::Serve(args) => *args,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused(options: &str, variables: &[(&str, &str)], words: &[&str]) {
    let error = match try_serve(options, variables) {
        Ok(_) => panic!("{options} is accepted"),
        Err(error) => error.to_string(),
    };
    for word in words {
        assert!(error.contains(word), "{options}: `{word}` is not in: {error}");
    }
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn with_file(text: &str, options: &str, variables: &[(&str, &str)]) -> Result<Parsed, ParseError> {
    let file = file(text);
    try_serve(
        format!("--config {} {options}", file.path().display()).trim_end(),
        variables,
    )
}

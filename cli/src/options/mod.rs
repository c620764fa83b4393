//! From what was typed, the environment and the configuration file to one set of options, each with where it comes from.
//!
//! An option on the command line beats llama.cpp's variable for it, that beats Ollama's (read with `serve --ollama`),
//! that beats a
//! profile (`serve --profile`), that beats the configuration file, and that beats the default. What the lower layers say is put on the command line
//! as if it had been typed, so that there is one parser and one check for all.

mod environment;
pub mod file;
mod layers;
mod model_overrides;
pub mod ollama;
mod origin;
mod print;

pub use environment::Environment;
pub use model_overrides::ModelOverrides;
pub use origin::{Origin, Source};

use crate::args::{Args, expand_short_options, llama};
use crate::profile;
use anyhow::Result;
use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches};
use file::File;
use layers::Layers;
use std::ffi::OsString;
use std::path::PathBuf;

/// Commands that read llama.cpp's environment variables, as its programs of the same purpose do. llama-bench reads none,
/// and what measures should not change with the environment.
const READ_ENVIRONMENT: [&str; 3] = ["perplexity", "run", "serve"];

/// A command line, understood.
#[derive(Debug)]
pub struct Parsed {
    /// What it says, together with all other layers.
    pub args: Args,
    /// Where each option comes from.
    pub origin: Origin,
}

/// What was wrong.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// Wrong usage, or a wish for help; it knows how to print itself.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// A configuration file or a variable.
    #[error("{0:#}")]
    Settings(anyhow::Error),
}

/// The program as declared, its help naming the variables.
pub fn command() -> Command {
    let mut command = Args::command();
    for name in READ_ENVIRONMENT {
        let ollama = name == "serve";
        command = command.mut_subcommand(name, |command| {
            command.mut_args(|arg| {
                let Some(long) = arg.get_long().map(str::to_owned) else {
                    return arg;
                };
                let long = long.as_str();
                let ollama = ollama::variable(long).filter(|_| ollama);
                let names: Vec<&str> = llama::variable(long).into_iter().chain(ollama).collect();
                // variables of these tables are read here, in their order, and not by the parser
                let arg = if names.is_empty() {
                    arg
                } else {
                    arg.env(Resettable::Reset)
                };
                match arg.get_help() {
                    Some(help) if !names.is_empty() => {
                        let help = format!("{help} [env: {}]", names.join(", "));
                        arg.help(help)
                    }
                    _ => arg,
                }
            })
        });
    }
    command
}

/// Understands a command line (with the program's name) in its environment.
///
/// # Errors
/// Wrong usage, a configuration file that is wrong or cannot be read, variables with wrong values.
pub fn parse(args: impl IntoIterator<Item = OsString>, environment: &Environment) -> Result<Parsed, ParseError> {
    let mut root = command();
    root.build();
    let args: Vec<OsString> = args.into_iter().collect();
    let Some((at, command)) = find_command(&args, &root) else {
        let matches = root.try_get_matches_from(args)?;
        return finish(&matches, Origin::default());
    };

    let mut origin = Origin::default();
    let (before, after) = args.split_at(at + 1);
    let after = if command.get_name() == "serve" {
        let usage = |message: String| command.clone().error(ErrorKind::UnknownArgument, message);
        let rewritten = llama::expand(after.to_vec(), &command).map_err(usage)?;
        for (flag, so) in rewritten.settled {
            origin.settled.push((flag, so));
        }
        rewritten.args
    } else {
        expand_short_options(after.to_vec())
    };
    let typed: Vec<OsString> = before.iter().cloned().chain(after).collect();
    let matches = root.clone().try_get_matches_from(&typed)?;
    let Some((name, given)) = matches.subcommand() else {
        return finish(&matches, origin);
    };
    if name != command.get_name() || given.subcommand_name().is_some() {
        return finish(&matches, origin); // commands within commands have no section of their own
    }

    let mut layers = Layers::new(&command, given);
    layers.environment(environment, &mut origin).map_err(settings)?;
    let file = match config_file(given, environment) {
        Some(path) => Some(File::read(&path, &root).map_err(ParseError::Settings)?),
        None => None,
    };
    let profile = match profile_file(given, &command) {
        Some(path) => Some((profile::read(&path, &command).map_err(ParseError::Settings)?, path)),
        None => None,
    };
    if command.get_name() == "serve" && layers.ollama(profile.as_ref().map(|(said, _)| said), file.as_ref()) {
        layers.ollama_environment(environment, &mut origin).map_err(settings)?;
    }
    if let Some((said, path)) = profile {
        layers.profile(said, &path, &mut origin);
    }
    if let Some(file) = file {
        layers.file(&file, &mut origin).map_err(ParseError::Settings)?;
        origin.models = file.models;
        origin.file = Some(file.path);
    }

    let mut typed = typed;
    let after = typed.split_off(at + 1);
    typed.extend(layers.arguments(&mut origin));
    typed.extend(after);
    let matches = root
        .clone()
        .try_get_matches_from(&typed)
        .map_err(|error| blame(error, &origin))?;
    if let Some((_, given)) = matches.subcommand() {
        origin.shown = print::lines(&command, given, &origin);
    }
    finish(&matches, origin)
}

fn settings(message: String) -> ParseError {
    ParseError::Settings(anyhow::Error::msg(message))
}

fn finish(matches: &ArgMatches, origin: Origin) -> Result<Parsed, ParseError> {
    let args = Args::from_arg_matches(matches)?;
    Ok(Parsed { args, origin })
}

/// The subcommand that was typed, and its place.
fn find_command(args: &[OsString], root: &Command) -> Option<(usize, Command)> {
    let mut at = 1;
    while let Some(arg) = args.get(at).and_then(|arg| arg.to_str()) {
        if let Some(long) = arg.strip_prefix("--") {
            let global = file::option(root, long);
            at += usize::from(global.is_some_and(|arg| arg.get_action().takes_values()));
        } else if !arg.starts_with('-') {
            return Some((at, root.find_subcommand(arg)?.clone()));
        }
        at += 1;
    }
    None
}

/// The configuration file: the one named, or the user's, if there is one. An empty name is none.
fn config_file(given: &ArgMatches, environment: &Environment) -> Option<PathBuf> {
    if given.get_flag("no_config") {
        return None;
    }
    match given.get_one::<PathBuf>("config") {
        Some(path) => Some(path.clone()).filter(|path| !path.as_os_str().is_empty()),
        None => environment.default_file.clone().filter(|path| path.is_file()),
    }
}

/// The profile that `serve` is to start with.
fn profile_file(given: &ArgMatches, command: &Command) -> Option<PathBuf> {
    if command.get_name() != "serve" {
        return None;
    }
    given.get_one::<PathBuf>("profile").cloned()
}

/// Says where a value that the parser refuses comes from.
fn blame(error: clap::Error, origin: &Origin) -> ParseError {
    let named = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        _ => Vec::new(),
    };
    let long = |text: &str| {
        let name = text
            .split([' ', '='])
            .find_map(|word| word.strip_prefix("--"))
            .unwrap_or_default();
        name.trim_end_matches(['[', ']']).to_owned()
    };
    let source = named.iter().find_map(|text| origin.sources.get(&long(text)));
    match source {
        Some(source) => {
            let text = error.to_string();
            let text = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            // the standard library's words say what is wrong and not what is right
            let text = text.replace("invalid digit found in string", "it takes a whole number, in digits");
            ParseError::Settings(anyhow::anyhow!("{source}: {text}"))
        }
        None => ParseError::Usage(error),
    }
}

/// The most similar of `known`, if it is similar enough.
pub fn nearest(name: &str, known: impl Iterator<Item = String>) -> Option<String> {
    const SIMILAR: f64 = 0.8;
    let mut best = None;
    let mut score = SIMILAR;
    for candidate in known {
        let similarity = strsim::jaro(name, &candidate);
        if similarity > score {
            (best, score) = (Some(candidate), similarity);
        }
    }
    best
}

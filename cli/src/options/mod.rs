//! From what was typed, the environment and the configuration file to one set of options, each with where it comes from.
//!
//! An option on the command line beats llama.cpp's variable for it, that beats Ollama's (read with `serve --ollama`),
//! that beats a
//! profile (`serve --profile`), that beats the configuration file, and that beats the default. What the lower layers say is put on the command line
//! as if it had been typed, so that there is one parser and one check for all.

mod environment;
pub mod file;
mod model_overrides;
pub mod ollama;
mod origin;
mod print;

pub use environment::Environment;
pub use model_overrides::ModelOverrides;
pub use origin::{Origin, Source};

use crate::args::{Args, expand_short_options, llama};
use crate::profile::{self, Settings};
use anyhow::Result;
use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches};
use file::File;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

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
    if name != command.get_name() || command.has_subcommands() {
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

/// What the layers below the command line say, by option; the first to speak wins.
struct Layers<'a> {
    command: &'a Command,
    given: &'a ArgMatches,
    values: BTreeMap<String, (Vec<OsString>, Source)>,
}

impl<'a> Layers<'a> {
    fn new(command: &'a Command, given: &'a ArgMatches) -> Self {
        Self {
            command,
            given,
            values: BTreeMap::new(),
        }
    }

    /// Whether the option was given on the command line, or by a variable that the parser reads itself; or one that
    /// rules it out.
    fn typed(&self, arg: &clap::Arg) -> bool {
        let typed = |arg: &clap::Arg| {
            matches!(
                self.given.value_source(arg.get_id().as_str()),
                Some(ValueSource::CommandLine | ValueSource::EnvVariable)
            )
        };
        typed(arg) || self.command.get_arg_conflicts_with(arg).into_iter().any(typed)
    }

    /// Sets an option unless a layer above has.
    fn set(&mut self, long: &str, values: Vec<String>, source: Source) -> bool {
        let Some(arg) = file::option(self.command, long) else {
            return false;
        };
        let long = arg.get_long().unwrap_or(long).to_owned();
        if self.typed(arg) || self.values.contains_key(&long) {
            return true;
        }
        let mut args = Vec::new();
        for value in values {
            match arg.get_action() {
                ArgAction::SetTrue => args.extend((value == "true").then(|| OsString::from(format!("--{long}")))),
                ArgAction::Count => {
                    let times = value.parse().unwrap_or(usize::from(value == "true"));
                    args.extend(std::iter::repeat_n(OsString::from(format!("--{long}")), times));
                }
                _ => args.push(format!("--{long}={value}").into()),
            }
        }
        self.values.insert(long, (args, source));
        true
    }

    fn apply(&mut self, applied: llama::Applied, source: &Source, origin: &mut Origin) {
        match applied {
            llama::Applied::Options(options) => {
                for (long, value) in options {
                    self.set(&long, vec![value.unwrap_or_else(|| "true".into())], source.clone());
                }
            }
            llama::Applied::Settled(so) => origin.settled.push((source.to_string(), so)),
        }
    }

    /// llama.cpp's variables.
    fn environment(&mut self, environment: &Environment, origin: &mut Origin) -> Result<(), String> {
        if !READ_ENVIRONMENT.contains(&self.command.get_name()) {
            return Ok(());
        }
        let serve = self.command.get_name() == "serve";
        let mut known = Vec::new();
        for flag in llama::flags().iter().filter(|flag| !flag.env.is_empty()) {
            let negated = flag.env.replace("LLAMA_ARG_", "LLAMA_ARG_NO_");
            known.extend([flag.env.to_owned(), negated.clone()]);
            let value = match environment.get(&negated) {
                Some(_) if !flag.off.is_empty() && negated != flag.env => Some((negated, "false")),
                _ => environment.get(flag.env).map(|value| (flag.env.to_owned(), value)),
            };
            let ours = matches!(
                flag.meaning,
                llama::Meaning::Ours(_) | llama::Meaning::Switch(_) | llama::Meaning::Inverse(_)
            );
            // other programs read some of these too
            let theirs = serve && flag.env.starts_with("LLAMA_");
            let Some((name, value)) = value.filter(|(_, value)| !value.is_empty() && (ours || theirs)) else {
                continue;
            };
            let source = Source::Variable(name);
            let applied = flag
                .apply_value(value)
                .map_err(|instead| format!("{source}={value} is not possible here: {instead}"))?;
            if let Some(applied) = applied {
                self.apply(applied, &source, origin);
            }
        }
        let strange = environment
            .names("LLAMA_ARG_")
            .filter(|name| !known.iter().any(|known| known == name));
        origin.unused.extend(strange.map(str::to_owned));
        Ok(())
    }

    /// Whether Ollama's clients are to be served.
    fn ollama(&self, profile: Option<&Settings>, file: Option<&File>) -> bool {
        let in_file = || {
            let mut entries = file.into_iter().flat_map(|file| &file.entries);
            entries.any(|entry| entry.key == "ollama" && entry.value == file::Value::Bool(true))
        };
        let in_profile = || profile.is_some_and(|said| said.get("ollama") == Some("true"));
        self.given.get_flag("ollama") || in_profile() || in_file()
    }

    /// Ollama's variables.
    fn ollama_environment(&mut self, environment: &Environment, origin: &mut Origin) -> Result<(), String> {
        for (variable, option, value) in ollama::settings(environment)? {
            if !self.set(option, vec![value], Source::Variable(variable.to_owned())) {
                origin.unused.push(variable.to_owned());
            }
        }
        origin.unused.extend(ollama::unused(environment));
        Ok(())
    }

    /// A profile. What a layer above says otherwise is noted, because the profile's clients go by the profile.
    fn profile(&mut self, said: Settings, path: &Path, origin: &mut Origin) {
        let source = Source::Profile(path.to_owned());
        origin
            .notes
            .extend(said.notes.into_iter().map(|note| format!("{source}: {note}")));
        for (long, value) in said.options {
            if let Some(instead) = self.said_above(&long, &value) {
                origin
                    .notes
                    .push(format!("{source}: its --{long} {value} is not used: {instead}"));
            }
            self.set(&long, vec![value], source.clone());
        }
    }

    /// What a layer above says about an option, where it is not `value`.
    fn said_above(&self, long: &str, value: &str) -> Option<String> {
        let arg = file::option(self.command, long)?;
        if let Some((args, source)) = self.values.get(long) {
            let switch = format!("--{long}");
            let same = |arg: &OsString| *arg == *format!("--{long}={value}") || (value == "true" && *arg == *switch);
            return (!args.iter().any(same)).then(|| format!("{source} says otherwise"));
        }
        if !self.typed(arg) {
            return None;
        }
        let typed: Vec<String> = match (arg.get_action(), self.given.get_raw(arg.get_id().as_str())) {
            (ArgAction::SetTrue, _) | (_, None) => Vec::new(),
            (_, Some(values)) => values.map(|value| value.to_string_lossy().into_owned()).collect(),
        };
        match (self.given.value_source(arg.get_id().as_str()), typed.as_slice()) {
            (Some(ValueSource::CommandLine | ValueSource::EnvVariable), [typed]) => {
                (typed != value).then(|| format!("{typed} is asked for"))
            }
            (Some(ValueSource::CommandLine | ValueSource::EnvVariable), _) => None,
            _ => Some("an option that was given rules it out".into()),
        }
    }

    /// The configuration file: what it says for this command, then what it says for all.
    fn file(&mut self, file: &File, origin: &mut Origin) -> Result<()> {
        let own = file
            .entries
            .iter()
            .filter(|entry| entry.command.as_deref() == Some(self.command.get_name()));
        let shared = file.entries.iter().filter(|entry| entry.command.is_none());
        for entry in own.chain(shared) {
            let source = Source::File {
                path: file.path.clone(),
                line: entry.line,
            };
            let values = match &entry.value {
                file::Value::List(values) => values.iter().map(file::Value::text).collect(),
                value => vec![value.text()],
            };
            if self.set(&entry.key, values, source.clone()) || self.command.get_name() != "serve" {
                continue;
            }
            if let Some((flag, negated)) = llama::find(&format!("--{}", entry.key)) {
                let value = entry.value.text();
                let applied = match llama::truth(&value) {
                    Some(yes) if negated => flag.apply_value(&(!yes).to_string()),
                    _ => flag.apply_value(&value),
                };
                let applied = applied.map_err(|instead| {
                    anyhow::anyhow!("{source}: {} = {value} is not possible here: {instead}", entry.key)
                })?;
                if let Some(applied) = applied {
                    self.apply(applied, &source, origin);
                }
            }
        }
        Ok(())
    }

    /// All of it, as arguments.
    fn arguments(self, origin: &mut Origin) -> Vec<OsString> {
        let mut arguments = Vec::new();
        for (long, (args, source)) in self.values {
            arguments.extend(args);
            origin.sources.insert(long, source);
        }
        arguments
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

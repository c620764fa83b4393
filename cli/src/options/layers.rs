//! What the layers below the command line say.

use super::file::{self, File};
use super::{Environment, Origin, READ_ENVIRONMENT, Source, ollama};
use crate::args::llama;
use crate::profile::Settings;
use anyhow::Result;
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Command};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

/// By option; the first to speak wins.
pub(super) struct Layers<'a> {
    command: &'a Command,
    given: &'a ArgMatches,
    values: BTreeMap<String, (Vec<OsString>, Source)>,
}

impl<'a> Layers<'a> {
    /// None yet, for a command that was given these options.
    pub(super) fn new(command: &'a Command, given: &'a ArgMatches) -> Self {
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
    pub(super) fn environment(&mut self, environment: &Environment, origin: &mut Origin) -> Result<(), String> {
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
    pub(super) fn ollama(&self, profile: Option<&Settings>, file: Option<&File>) -> bool {
        let in_file = || {
            let mut entries = file.into_iter().flat_map(|file| &file.entries);
            entries.any(|entry| entry.key == "ollama" && entry.value == file::Value::Bool(true))
        };
        let in_profile = || profile.is_some_and(|said| said.get("ollama") == Some("true"));
        self.given.get_flag("ollama") || in_profile() || in_file()
    }

    /// Ollama's variables.
    pub(super) fn ollama_environment(&mut self, environment: &Environment, origin: &mut Origin) -> Result<(), String> {
        for (variable, option, value) in ollama::settings(environment)? {
            if !self.set(option, vec![value], Source::Variable(variable.to_owned())) {
                origin.unused.push(variable.to_owned());
            }
        }
        origin.unused.extend(ollama::unused(environment));
        Ok(())
    }

    /// A profile. What a layer above says otherwise is noted, because the profile's clients go by the profile.
    pub(super) fn profile(&mut self, said: Settings, path: &Path, origin: &mut Origin) {
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
    pub(super) fn file(&mut self, file: &File, origin: &mut Origin) -> Result<()> {
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
    pub(super) fn arguments(self, origin: &mut Origin) -> Vec<OsString> {
        let mut arguments = Vec::new();
        for (long, (args, source)) in self.values {
            arguments.extend(args);
            origin.sources.insert(long, source);
        }
        arguments
    }
}

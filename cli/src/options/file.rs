//! The configuration file: TOML, whose keys are the long names of options.
//!
//! ```toml
//! ctx-size = 32768                # for every command that has the option
//! [serve]                         # for this command only
//! port = 8080
//! [models."qwen3-8b"]             # for this model, see `ModelOverrides`
//! cache-type-v = "turbo3"
//! ```

use super::model_overrides::ModelOverrides;
use super::nearest;
use crate::args::llama;
use anyhow::{Context as _, Result, anyhow, bail};
use clap::{Arg, ArgAction, Command};
use std::any::TypeId;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// A value, numbers as they were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// true or false.
    Bool(bool),
    /// A whole number.
    Integer(String),
    /// Any other number.
    Float(String),
    /// A string.
    Text(String),
    /// Several.
    List(Vec<Value>),
}

impl Value {
    /// What it is called in errors.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Bool(_) => "true or false",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
        }
    }

    /// As one would write it on the command line.
    pub fn text(&self) -> String {
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Integer(text) | Self::Float(text) | Self::Text(text) => text.clone(),
            Self::List(values) => values.iter().map(Self::text).collect::<Vec<_>>().join(","),
        }
    }
}

/// One line of the file.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The command it is for; `None`: all.
    pub command: Option<String>,
    /// The key, with dashes.
    pub key: String,
    /// Its value.
    pub value: Value,
    /// Its line, from 1.
    pub line: usize,
}

/// A file, checked against the options there are.
#[derive(Debug, Clone, Default)]
pub struct File {
    /// Where it lies.
    pub path: PathBuf,
    /// What it says of options.
    pub entries: Vec<Entry>,
    /// What it says of models.
    pub models: Vec<ModelOverrides>,
}

impl File {
    /// Reads the file at `path`, for the program `root`.
    ///
    /// # Errors
    /// A file that cannot be read or is no TOML, unknown keys and values of a wrong type, with their line.
    pub fn read(path: &Path, root: &Command) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the configuration file {}", path.display()))?;
        Self::parse(&text, path, root)
    }

    /// As [`read`](Self::read), of a text.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(text: &str, path: &Path, root: &Command) -> Result<Self> {
        let at = |span: Range<usize>| Place {
            path,
            line: line(text, span.start),
        };
        let table = DeTable::parse(text).map_err(|error| {
            let place = at(error.span().unwrap_or_default());
            anyhow!("{place}: {}", error.message())
        })?;
        let mut file = Self {
            path: path.to_owned(),
            ..Self::default()
        };
        for (key, value) in table.get_ref() {
            let place = at(key.span());
            match value.get_ref() {
                DeValue::Table(models) if key.get_ref() == "models" => {
                    for (name, model) in models {
                        let place = at(name.span());
                        let Some(model) = model.get_ref().as_table() else {
                            bail!("{place}: `models.{}` must be a table", name.get_ref());
                        };
                        let mut overrides = ModelOverrides::new(name.get_ref());
                        for (key, value) in model {
                            let (key, place) = (dashed(key.get_ref()), at(key.span()));
                            let value = convert(value.get_ref(), place)?;
                            overrides
                                .set(&key, &value)
                                .map_err(|error| anyhow!("{place}: {error}"))?;
                        }
                        file.models.push(overrides);
                    }
                }
                DeValue::Table(table) => {
                    let Some(command) = root.find_subcommand(key.get_ref().as_ref()) else {
                        let names = root.get_subcommands().map(|command| command.get_name().to_owned());
                        let near = did_you_mean(key.get_ref(), names.chain(["models".to_owned()]));
                        bail!("{place}: unknown table [{}]{near}", key.get_ref());
                    };
                    for (key, value) in table {
                        let place = at(key.span());
                        let value = convert(value.get_ref(), place)?;
                        let key = dashed(key.get_ref());
                        check(&key, &value, &[command]).map_err(|error| anyhow!("{place}: {error}"))?;
                        file.push(Some(command.get_name()), key, value, place.line);
                    }
                }
                value => {
                    let value = convert(value, place)?;
                    let key = dashed(key.get_ref());
                    let commands: Vec<&Command> = root.get_subcommands().collect();
                    check(&key, &value, &commands).map_err(|error| anyhow!("{place}: {error}"))?;
                    file.push(None, key, value, place.line);
                }
            }
        }
        Ok(file)
    }

    fn push(&mut self, command: Option<&str>, key: String, value: Value, line: usize) {
        self.entries.push(Entry {
            command: command.map(str::to_owned),
            key,
            value,
            line,
        });
    }
}

/// A line of a file, for errors.
#[derive(Clone, Copy)]
struct Place<'a> {
    path: &'a Path,
    line: usize,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.line)
    }
}

fn line(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

fn dashed(key: &str) -> String {
    key.replace('_', "-")
}

fn convert(value: &DeValue<'_>, place: Place<'_>) -> Result<Value> {
    Ok(match value {
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Integer(number) => Value::Integer(
            i128::from_str_radix(number.as_str(), number.radix())
                .map_err(|_| anyhow!("{place}: `{}` is not a number", number.as_str()))?
                .to_string(),
        ),
        DeValue::Float(number) => Value::Float(number.as_str().to_owned()),
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Array(values) => Value::List(
            values
                .iter()
                .map(|value| convert(value.get_ref(), place))
                .collect::<Result<_>>()?,
        ),
        DeValue::Datetime(_) => bail!("{place}: no option takes a date; put it in quotes"),
        DeValue::Table(_) => bail!("{place}: a table is not expected here"),
    })
}

fn did_you_mean(name: &str, known: impl Iterator<Item = String>) -> String {
    nearest(name, known).map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

/// The error for a key that is none.
pub fn unknown_key(key: &str, known: impl Iterator<Item = String>) -> String {
    format!("unknown key `{key}`{}", did_you_mean(key, known))
}

/// Options that make no sense in a file.
const COMMAND_LINE_ONLY: [&str; 6] = ["config", "no-config", "help", "version", "print-config", "profile"];

/// The option of `command` that a key names.
pub fn option<'a>(command: &'a Command, key: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| {
        let aliases = arg.get_all_aliases().unwrap_or_default();
        arg.get_long() == Some(key) || aliases.contains(&key)
    })
}

/// Whether the key is an option of one of the commands, and its value of the right type.
fn check(key: &str, value: &Value, commands: &[&Command]) -> Result<(), String> {
    if COMMAND_LINE_ONLY.contains(&key) {
        return Err(format!("`{key}` belongs on the command line"));
    }
    let mut found = false;
    for command in commands {
        if let Some(arg) = option(command, key) {
            fits(key, value, arg)?;
            found = true;
        }
    }
    let serve = commands.iter().any(|command| command.get_name() == "serve");
    if found || (serve && llama::find(&format!("--{key}")).is_some()) {
        return Ok(());
    }
    let ours = commands.iter().flat_map(|command| command.get_arguments());
    let ours = ours.filter_map(|arg| arg.get_long()).map(str::to_owned);
    Err(unknown_key(key, ours))
}

/// Whether a value is of the type that an option takes.
fn fits(key: &str, value: &Value, arg: &Arg) -> Result<(), String> {
    let many = matches!(arg.get_action(), ArgAction::Append) || arg.get_value_delimiter().is_some();
    if let (Value::List(values), true) = (value, many) {
        return values.iter().try_for_each(|value| fits(key, value, arg));
    }
    let ty = arg.get_value_parser().type_id();
    let is = |types: &[TypeId]| types.iter().any(|known| ty == *known);
    let wants = if matches!(arg.get_action(), ArgAction::Count) {
        matches!(value, Value::Bool(_) | Value::Integer(_))
            .then_some(())
            .ok_or("true, false or a whole number")
    } else if is(&[TypeId::of::<bool>()]) {
        matches!(value, Value::Bool(_)).then_some(()).ok_or("true or false")
    } else if is(&[TypeId::of::<f32>(), TypeId::of::<f64>()]) {
        matches!(value, Value::Integer(_) | Value::Float(_))
            .then_some(())
            .ok_or("a number")
    } else if is(&[
        TypeId::of::<u8>(),
        TypeId::of::<u16>(),
        TypeId::of::<u32>(),
        TypeId::of::<u64>(),
        TypeId::of::<usize>(),
        TypeId::of::<i32>(),
        TypeId::of::<i64>(),
    ]) {
        matches!(value, Value::Integer(_)).then_some(()).ok_or("a whole number")
    } else if is(&[TypeId::of::<String>(), TypeId::of::<PathBuf>()]) {
        matches!(value, Value::Text(_)).then_some(()).ok_or("a string")
    } else {
        // a type of our own, whose parser says what it takes
        (!matches!(value, Value::Bool(_) | Value::List(_)))
            .then_some(())
            .ok_or("a string or a number")
    };
    wants.map_err(|wanted| format!("`{key}` takes {wanted}, not {}", value.kind()))
}

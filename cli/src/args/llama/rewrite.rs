//! A command line with llama.cpp's spellings, as one with ours.

use super::{Applied, find, flags};
use clap::{ArgAction, Command};
use std::ffi::{OsStr, OsString};

/// A command line in our spelling.
#[derive(Debug, Default)]
pub struct Rewritten {
    /// The arguments.
    pub args: Vec<OsString>,
    /// Flags that ask for what is so anyway, and why it is.
    pub settled: Vec<(String, &'static str)>,
}

/// Rewrites what follows the name of the subcommand `command`. Values are joined to their options by `=`, so that they
/// may begin with a dash.
///
/// # Errors
/// Flags that are unknown, with the nearest one; flags that cannot be served, with what to do instead.
pub fn expand(args: Vec<OsString>, command: &Command) -> Result<Rewritten, String> {
    let mut out = Rewritten::default();
    let mut args = args.into_iter().peekable();
    while let Some(arg) = args.next() {
        let Some(text) = arg.to_str().filter(|text| is_option(text)) else {
            if arg == "--" {
                out.args.push(arg);
                out.args.extend(args);
                break;
            }
            out.args.push(arg);
            continue;
        };
        let (name, joined) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        // llama.cpp takes underscores for dashes in long names
        let name = if name.starts_with("--") {
            name.replace('_', "-")
        } else {
            name.to_owned()
        };
        let ours = name.strip_prefix("--").and_then(|long| option(command, long));
        let known = find(&name);
        if let Some(ours) = ours.filter(|_| known.is_none() || joined.is_some() || name == "--help") {
            let wants = ours.get_action().takes_values() && joined.is_none() && !ours.is_require_equals_set();
            push(
                &mut out.args,
                &name,
                joined.map(OsString::from).or_else(|| args.next_if(|_| wants)),
            );
            continue;
        }
        let Some((flag, negated)) = known else {
            if clap_knows(command, &name) {
                out.args.push(arg);
                continue;
            }
            return Err(unknown_option(&name, command));
        };
        if name == "-h" {
            out.args.push(arg);
            continue;
        }
        if flag.values == 0 && joined.is_some() {
            return Err(format!("{name} takes no value"));
        }
        let value = match joined {
            Some(value) => Some(OsString::from(value)),
            None if flag.values > 0 => args.next(),
            None => None,
        };
        let text = value.as_deref().map(OsStr::to_string_lossy);
        match flag.apply(negated, text.as_deref()) {
            Ok(Applied::Options(options)) => {
                for (long, given) in options {
                    // a value from the command line is passed on as it is, also when it is no Unicode
                    let value = if flag.values > 0 && given.is_some() {
                        value.clone()
                    } else {
                        given.map(OsString::from)
                    };
                    push(&mut out.args, &format!("--{long}"), value);
                }
            }
            Ok(Applied::Settled(so)) => out.settled.push((name, so)),
            Err(instead) => {
                let value = text.map(|text| format!(" {text}")).unwrap_or_default();
                return Err(format!("{name}{value} is not possible here: {instead}"));
            }
        }
    }
    Ok(out)
}

fn push(args: &mut Vec<OsString>, name: &str, value: Option<OsString>) {
    let mut arg = OsString::from(name);
    if let Some(value) = value {
        arg.push("=");
        arg.push(value);
    }
    args.push(arg);
}

/// Whether it looks like an option, not like a negative number or standard input.
fn is_option(text: &str) -> bool {
    text.starts_with("--") && text.len() > 2
        || text
            .strip_prefix('-')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic()))
}

/// Our option of that name.
fn option<'a>(command: &'a Command, long: &str) -> Option<&'a clap::Arg> {
    command.get_arguments().find(|arg| {
        arg.get_long() == Some(long) || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&long))
    })
}

/// One-letter options that clap reads by itself: `-v`, several as `-vv`, and `-c4096`.
fn clap_knows(command: &Command, name: &str) -> bool {
    let Some(letters) = name.strip_prefix('-').filter(|rest| !rest.starts_with('-')) else {
        return false;
    };
    let mut chars = letters.chars();
    let Some(first) = chars.next() else { return false };
    let Some(arg) = command.get_arguments().find(|arg| arg.get_short() == Some(first)) else {
        return false;
    };
    match arg.get_action() {
        ArgAction::Count => chars.all(|c| c == first),
        action if action.takes_values() => chars.all(|c| c.is_ascii_digit()),
        _ => chars.next().is_none(),
    }
}

/// The error for an option that does not exist, with the nearest one that does.
pub fn unknown_option(name: &str, command: &Command) -> String {
    let theirs = flags()
        .iter()
        .flat_map(|flag| flag.on.iter().chain(flag.off))
        .map(|name| (*name).to_owned());
    let ours = command
        .get_arguments()
        .filter_map(|arg| arg.get_long())
        .map(|long| format!("--{long}"));
    match crate::options::nearest(name, theirs.chain(ours)) {
        Some(near) => format!("unknown option {name}; did you mean {near}?"),
        None => format!(
            "unknown option {name}; `turboquant {} --help` lists them all",
            command.get_name()
        ),
    }
}

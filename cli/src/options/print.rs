//! All options as a configuration file.

use super::origin::Origin;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::any::TypeId;

/// Not shown: what is no setting.
const HIDDEN: [&str; 6] = ["config", "no-config", "print-config", "profile", "help", "version"];

/// One line for each option: `name = value  # where it comes from`. Options without a value are comments. Secrets are
/// left out.
pub fn lines(command: &Command, given: &ArgMatches, origin: &Origin) -> Vec<String> {
    let mut lines = vec![format!("[{}]", command.get_name())];
    for arg in command.get_arguments() {
        let Some(long) = arg.get_long().filter(|long| !HIDDEN.contains(long)) else {
            continue;
        };
        let id = arg.get_id().as_str();
        let from = match (origin.sources.get(long), given.value_source(id)) {
            (Some(source), _) => source.to_string(),
            (None, Some(ValueSource::CommandLine)) => "command line".to_owned(),
            (None, Some(ValueSource::EnvVariable)) => arg
                .get_env()
                .map_or_else(|| "environment".into(), |name| name.to_string_lossy().into_owned()),
            _ => "default".to_owned(),
        };
        let values: Vec<String> = match arg.get_action() {
            ArgAction::Count => vec![given.get_count(id).to_string()],
            ArgAction::SetTrue => vec![given.get_flag(id).to_string()],
            _ => given
                .get_raw(id)
                .into_iter()
                .flatten()
                .map(|value| value.to_string_lossy().into_owned())
                .collect(),
        };
        lines.push(match (values.as_slice(), secret(long)) {
            ([], _) => format!("# {long} is not set"),
            (_, true) => format!("# {long} is set and not shown  # {from}"),
            ([value], false) if !matches!(arg.get_action(), ArgAction::Append) => {
                format!("{long} = {}  # {from}", quoted(arg, value))
            }
            (values, false) => {
                let values: Vec<String> = values.iter().map(|value| quoted(arg, value)).collect();
                format!("{long} = [{}]  # {from}", values.join(", "))
            }
        });
    }
    lines
}

fn secret(long: &str) -> bool {
    matches!(long, "api-key" | "hf-token")
}

/// The value as TOML has it.
fn quoted(arg: &Arg, value: &str) -> String {
    let ty = arg.get_value_parser().type_id();
    if ty == TypeId::of::<bool>() {
        // on, yes and the like, where an option takes them; a file has true and false
        let value = value.to_ascii_lowercase();
        return (!matches!(value.as_str(), "false" | "off" | "no" | "n" | "f" | "0")).to_string();
    }
    let text = ty == TypeId::of::<String>() || ty == TypeId::of::<std::path::PathBuf>();
    let bare = matches!(value, "true" | "false") || value.parse::<f64>().is_ok_and(f64::is_finite);
    if bare && !text {
        value.to_owned()
    } else {
        format!("\"{}\"", value.escape_default())
    }
}

//! `turboquant doctor`: what is wrong here, and what to do.

use crate::args::doctor::DoctorArgs;
use crate::doctor::look::{self, Request};
use crate::doctor::{Level, Report, examine};
use crate::store::Store;
use anyhow::Result;
use std::process::ExitCode;

/// Looks, judges, prints; exit code 1 if there is a problem.
///
/// # Errors
/// A facts file that is wrong, an engine that does not start.
pub fn run(args: &DoctorArgs) -> Result<ExitCode> {
    let facts = look::facts(&Request {
        facts: args.facts.clone(),
        model: args.model.clone(),
        models: args.store.models_dir.clone().unwrap_or_else(Store::default_folder),
        slots: args.slot_save_path.clone(),
    })?;
    let report = examine(&facts);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        if !facts.machine.label.is_empty() {
            println!("Machine: {}\n", facts.machine.label);
        }
        print!("{}", text(&report));
        if facts.here.is_none() {
            println!(
                "These are facts from a file; ports, folders, limits and power of this machine were not looked at."
            );
        }
    }
    Ok(if report.worst == Level::Problem {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Level, finding, and indented what it means and what to do.
fn text(report: &Report) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        text += &format!("{:8} {}\n", finding.level, finding.what);
        if !finding.means.is_empty() {
            text += &format!("         {}\n", finding.means);
        }
        for sentence in &finding.remedy {
            text += &format!("         -> {sentence}\n");
        }
    }
    let counts: Vec<String> = [
        (Level::Problem, "problem"),
        (Level::Warning, "warning"),
        (Level::Note, "note"),
    ]
    .into_iter()
    .map(|(level, word)| (report.count(level), word))
    .filter(|(count, _)| *count > 0)
    .map(|(count, word)| format!("{count} {word}{}", if count == 1 { "" } else { "s" }))
    .collect();
    text + "\n"
        + &match counts.as_slice() {
            [] => "All is well.\n".to_owned(),
            counts => format!("{}.\n", counts.join(", ")),
        }
}

//! `turboquant rm`: deletes downloads and aliases.

use crate::args::store::RmArgs;
use anyhow::Result;
use std::process::ExitCode;

/// Deletes one name after the other.
///
/// # Errors
/// A name that is not there, or stands for a file that the user put there himself. Those before it are deleted then.
pub fn run(args: &RmArgs) -> Result<ExitCode> {
    let store = args.store.open()?;
    for model in &args.models {
        store.delete(model)?;
        println!("deleted {model}");
    }
    Ok(ExitCode::SUCCESS)
}

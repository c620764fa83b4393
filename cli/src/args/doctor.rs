//! Options of `doctor`.

use super::store::StoreArgs;
use clap::Args;
use std::path::PathBuf;

/// Everything that `doctor` takes.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// Print JSON (docs/schema/doctor.schema.json) instead of text.
    #[arg(long)]
    pub json: bool,
    /// A model file to examine: whether it is whole, and whether it would fit. [-m]
    #[arg(short, long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// Facts about another machine (JSON), as `plan` takes them: memory and devices are judged by them, and what only this
    /// machine can tell (ports, folders, limits, power) is left out.
    #[arg(long, value_name = "FILE")]
    pub facts: Option<PathBuf>,
    /// Folder that `serve --slot-save-path` would use.
    #[arg(long, value_name = "DIR")]
    pub slot_save_path: Option<PathBuf>,
    #[command(flatten)]
    pub store: StoreArgs,
}

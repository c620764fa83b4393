//! Arguments of `verify`.

use clap::Args;
use std::path::PathBuf;

/// What to check, and where the result goes.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Only this device, by the name that `turboquant kv` prints (MTL0, CUDA0, CPU).
    #[arg(long, value_name = "NAME")]
    pub device: Option<String>,
    /// Every kernel, but fewer problems and vectors for each.
    #[arg(long)]
    pub quick: bool,
    /// Print JSON instead of tables.
    #[arg(long)]
    pub json: bool,
    /// Also write a Markdown report to paste into an issue. It names versions and hardware, no user and no path. While the
    /// check runs, the file says which kernel is running, in case the driver ends the process.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

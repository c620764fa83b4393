//! Options that the measuring subcommands share.

use clap::Args as ClapArgs;
use std::path::PathBuf;

/// Where results go.
#[derive(Debug, Clone, ClapArgs)]
pub struct OutputArgs {
    /// Print JSON instead of tables.
    #[arg(long)]
    pub json: bool,
    /// Also write the record as JSON to a file, anew after each result, so that nothing measured is lost.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

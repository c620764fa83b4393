//! How the program writes its log.

use clap::{Args, ValueEnum};

/// Options of the log, for every command.
#[derive(Clone, Copy, Debug, Args)]
pub struct LogArgs {
    /// Form of the log on standard error: text, or one JSON object per line, with its time.
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        env = "TURBOQUANT_LOG_FORMAT",
        default_value_t
    )]
    pub log_format: LogFormat,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

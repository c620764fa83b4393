//! How the program writes its log.

use clap::{Args, ValueEnum};

/// Options of the log, for every command.
#[derive(Clone, Copy, Debug, Args)]
pub struct LogArgs {
    /// Lines of the log, on standard error: text for people, or JSON with a time, one object per line.
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

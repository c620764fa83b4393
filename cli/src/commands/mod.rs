//! One module per subcommand.

pub mod bench;
pub mod ceiling;
pub mod doctor;
pub mod gate;
pub mod inspect;
pub mod kv;
pub mod list;
pub mod model;
pub mod needle;
pub mod perplexity;
pub mod plan;
pub mod profile;
pub mod prompts;
pub mod pull;
pub mod report;
pub mod rm;
pub mod run;
mod run_images;
pub mod select;
pub mod sensitivity;
pub mod serve;
pub mod session;
pub mod verify;

use crate::args::{Args, Command};
use crate::options::Origin;
use anyhow::{Context, Result};
use llama_turboquant::Backend;
use llama_turboquant::engine::{attention, codec};
use std::process::ExitCode;

/// Runs what was typed.
///
/// # Errors
/// The subcommand's.
pub fn run(args: Args, origin: &Origin) -> Result<ExitCode> {
    Backend::init()?;
    if let Some(name) = &args.codec {
        codec::Implementation::named(name)
            .and_then(|it| it.select())
            .context("--codec (TURBOQUANT_CODEC)")?;
    }
    if let Some(name) = &args.attention_kernels {
        attention::Implementation::named(name)
            .and_then(|it| it.select())
            .context("--attention-kernels (TURBOQUANT_ATTENTION)")?;
    }
    match args.command {
        Command::Run(args) => run::run(&args),
        Command::Serve(args) => serve::command::run(&args, origin),
        Command::Kv(args) => kv::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Gate(args) => gate::run(&args),
        Command::Ceiling(args) => ceiling::run(&args),
        Command::Select(args) => select::run(&args),
        Command::Sensitivity(args) => sensitivity::run(&args),
        Command::Perplexity(args) => perplexity::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Prompts(args) => prompts::run(&args),
        Command::Needle(args) => needle::run(&args),
        Command::Session(args) => session::run(&args),
        Command::Profile(args) => profile::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Model(args) => model::run(&args),
        Command::Pull(args) => pull::run(&args),
        Command::List(args) => list::run(&args),
        Command::Rm(args) => rm::run(&args),
    }
}

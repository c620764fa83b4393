//! Options of `plan`.

use super::ModelArgs;
use clap::Args;
use std::path::PathBuf;

/// Say how much memory a model takes, by device and purpose, before any of it is taken.
#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Requests that are served at the same time; they share the context. [-np, --parallel]
    #[arg(long, alias = "parallel", value_name = "N", default_value_t = 1)]
    pub slots: u32,
    /// GGUF file of a draft model for speculative decoding: its weights, an f16 cache and scratch are added. [-md]
    #[arg(long, alias = "model-draft", value_name = "FILE")]
    pub draft: Option<PathBuf>,
    /// Memory to be left free on every device: bytes, or text such as "1.5 GiB".
    #[arg(long, value_name = "SIZE", default_value = "0")]
    pub margin: String,
    /// Plan for the machine that this file describes instead of the one at hand (docs/facts.md).
    #[arg(long, value_name = "FILE")]
    pub facts: Option<PathBuf>,
    /// Load the model, fill the context, and compare the plan with what the engine and the process then occupy. Takes as
    /// long as a prompt as long as the context.
    #[arg(long, conflicts_with_all = ["facts", "draft", "mmproj"])]
    pub measure: bool,
    /// Print JSON instead of tables (docs/schema/plan.schema.json).
    #[arg(long)]
    pub json: bool,
}

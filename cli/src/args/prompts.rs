//! `turboquant prompts`.

use super::EngineArgs;
use super::measure::OutputArgs;
use crate::measuring::caches;
use clap::{Args as ClapArgs, ValueEnum};
use llama_turboquant::KvSpec;
use std::path::PathBuf;

/// Prompts that are built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BuiltIn {
    /// Ten practical tasks and a tool call, for real models.
    Practical,
    /// What the embedded model was trained for.
    Tiny,
    /// 120 requests with tools, of which one, or none, fits; the embedded model was trained for such.
    Tools,
}

/// Ask practical prompts of several KV caches (or servers) and compare the answers.
///
/// Every prompt has a check that a program can make, and every cache answers greedily from the same seed. The first cache is
/// the reference. A prompt is DEGRADED where the reference passes and the candidate does not; where the reference fails,
/// nothing can be lost, and the prompt is not decidable. The criterion: at least 9 of 10 decidable prompts are kept. The exit
/// code does not tell (`gate` does); it is 0 when everything was asked.
///
/// Without -m the embedded model is asked the small set it was trained for; with -m FILE a real model is asked the practical
/// one.
#[derive(Debug, Clone, ClapArgs)]
#[command(after_help = "Examples:\n  \
    turboquant prompts --kv f16,turbo4,turbo3,turbo2\n  \
    turboquant prompts -m MODEL.gguf --only word_problem,early_recall --show all\n  \
    turboquant prompts --url http://127.0.0.1:8080 --url http://127.0.0.1:8081\n  \
    turboquant prompts --url http://127.0.0.1:8080 --out f16.json    and later, with another cache:\n  \
    turboquant prompts --url http://127.0.0.1:8080 --against f16.json")]
pub struct PromptsArgs {
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Caches to ask, the reference first; TYPE, K/V, or either with @MODE (layer-adaptive): turbo4  q8_0/turbo4  turbo2@0
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = caches::parse, default_value = "f16,turbo4",
          conflicts_with = "url")]
    pub kv: Vec<KvSpec>,
    /// Built-in prompts to ask; default: tiny for the embedded model, else practical.
    #[arg(long, value_name = "NAME")]
    pub set: Option<BuiltIn>,
    /// Ask the prompts of a file instead; its form is that of benchmarks/test_prompts.json.
    #[arg(long, value_name = "FILE", conflicts_with = "set")]
    pub prompts: Option<PathBuf>,
    /// Only the prompts with these ids.
    #[arg(long, value_name = "ID,ID", value_delimiter = ',')]
    pub only: Vec<String>,
    /// List the prompts and end.
    #[arg(long)]
    pub list: bool,
    /// Show the answers to these prompts side by side (`all`: to all); degraded ones are shown in any case.
    #[arg(long, value_name = "ID,ID", value_delimiter = ',')]
    pub show: Vec<String>,
    /// Compare with the first cache of a record that --out wrote, instead of the first cache asked.
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
    /// Seed of the samplers. They are greedy, so it matters only where a server draws in spite of temperature 0. [-s]
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    pub seed: u32,
    /// Most tokens of context; longer prompts are shortened where they can be, which is said. 0: what the model was trained
    /// with; for servers, no limit. [-c]
    #[arg(short = 'c', long, value_name = "N", default_value_t = 0)]
    pub ctx_size: u32,
    /// Tokens computed at once. [-ub]
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub ubatch_size: u32,
    /// Let the model think before it answers, where its template has a switch.
    #[arg(long, conflicts_with = "url")]
    pub think: bool,
    /// Ask a server with an OpenAI API instead of a model here; twice: the second against the first. One alone, without
    /// --against, is asked twice and so compared with itself.
    #[arg(long, value_name = "URL", conflicts_with = "model")]
    pub url: Vec<String>,
    /// Key the server wants.
    #[arg(
        long,
        value_name = "KEY",
        env = "TURBOQUANT_PROMPTS_API_KEY",
        hide_env_values = true,
        requires = "url"
    )]
    pub api_key: Option<String>,
    /// Model to ask the server for; default: the first it lists.
    #[arg(long, value_name = "NAME", requires = "url")]
    pub model_name: Option<String>,
    /// Seconds to wait for an answer of a server.
    #[arg(long, value_name = "S", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: u64,
    #[command(flatten)]
    pub output: OutputArgs,
}

//! Practical prompts: does a compressed cache still do what people ask of a model? Every prompt has a check that a program
//! can make, every cache answers greedily from the same seed, and a prompt counts as degraded only where the reference
//! passes and the candidate does not ([`Verdict`]).
//!
//! ```no_run
//! use llama_turboquant::measure::{Options, prompts};
//! use llama_turboquant::{KvSpec, Model};
//!
//! # fn main() -> llama_turboquant::Result<()> {
//! let set = prompts::PromptSet::from_json(&std::fs::read_to_string("benchmarks/test_prompts.json")?)?;
//! let caches = ["f16", "turbo4"].map(|name| name.parse::<KvSpec>());
//! let caches = caches.into_iter().map(|spec| {
//!     let spec = spec?;
//!     Ok(prompts::NamedCache { name: spec.to_string(), kv: spec.config() })
//! });
//! let caches = caches.collect::<llama_turboquant::Result<Vec<_>>>()?;
//! let options = prompts::RunOptions::new(Options::default());
//! let outcomes = prompts::run(&Model::load("model.gguf")?, &set, &caches, &options, |_, _| {})?;
//! for summary in outcomes.summaries() {
//!     println!("{}: {} of {} decidable prompts kept", summary.cache, summary.kept, summary.decidable);
//! }
//! # Ok(())
//! # }
//! ```

mod check;
mod code;
mod generated;
mod local;
mod outcome;
mod prepare;
mod rules;
mod run;
mod schema;
mod set;

pub use check::{Answer, Checker, NumberCheck, Pattern, ToolCallCheck};
pub use code::CodeCheck;
pub use generated::{Generated, Insertion, Kind};
pub use outcome::{AnswerOutcome, Difference, Outcome, Outcomes, Summary, Verdict, first_difference};
pub use prepare::{EstimatedSizer, GeneratedSize, ModelSizer, Prepared, Sizer, prepare};
pub use rules::{Count, Range, Rule, RulesCheck};
pub use run::{Answered, NamedCache, Place, Plan, Reply, Request, Responder, RunOptions, ask_all, run};
pub use set::{PLACEHOLDER, Prompt, PromptSet, Turn};

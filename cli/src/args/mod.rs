//! What can be typed. Declaration only; `settings` turns it into validated types.

pub mod bench;
pub mod bench_serve;
pub mod ceiling;
pub mod doctor;
mod engine;
pub mod gate;
pub mod lists;
pub mod llama;
pub mod log;
pub mod lora;
pub mod measure;
pub mod needle;
pub mod perplexity;
pub mod plan;
pub mod pool;
pub mod profile;
mod projector;
pub mod prompts;
pub mod report;
pub mod select;
pub mod sensitivity;
pub mod serve;
pub mod session;
mod slots;
pub mod store;
pub mod verify;

pub use bench::BenchArgs;
pub use engine::{EngineArgs, ModelArgs, SamplingArgs};
pub use projector::ProjectorArgs;
pub use serve::ServeArgs;
pub use slots::SlotArgs;

use clap::{Args as ClapArgs, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// Run and serve language models with a KV cache that is 4 to 7 times smaller.
///
/// Options have llama.cpp's names, its short ones (-ctk, -ngl, ...) included. Without -m a small embedded model is used.
#[derive(Debug, Parser)]
#[command(name = "turboquant", version, max_term_width = 110)]
pub struct Args {
    /// Say more: -v what the program does, -vv also the engine's own log.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
    /// Codec implementation to use instead of the fastest one this CPU runs (scalar, avx2, avx512, neon, neon_dotprod).
    #[arg(long, global = true, env = "TURBOQUANT_CODEC", value_name = "NAME")]
    pub codec: Option<String>,
    /// Attention kernels for compressed caches on the CPU instead of the fastest it runs (scalar, avx2, avx512, amx, ...);
    /// upstream: llama.cpp's own path, to compare with. `turboquant verify` lists those that run here.
    #[arg(
        long = "attention-kernels",
        global = true,
        env = "TURBOQUANT_ATTENTION",
        value_name = "NAME"
    )]
    pub attention_kernels: Option<String>,
    /// Configuration file (TOML) whose keys are the long names of options. Default: turboquant.toml in the user's
    /// configuration folder, if there is one. An empty name: none.
    #[arg(
        long,
        global = true,
        env = "TURBOQUANT_CONFIG",
        value_name = "FILE",
        value_parser = any_path
    )]
    pub config: Option<PathBuf>,
    /// Read no configuration file.
    #[arg(long, global = true)]
    pub no_config: bool,
    #[command(flatten)]
    pub log: log::LogArgs,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer a prompt (-p), or chat in the terminal.
    Run(Box<RunArgs>),
    /// Serve clients of the OpenAI API, and with --ollama those of Ollama, over HTTP.
    ///
    /// Options and environment variables have llama-server's names. Its options that are not listed here are accepted
    /// where they ask for what is so anyway; the others are refused, with what to do instead. An option beats a
    /// LLAMA_ARG_ variable, that an OLLAMA_ variable (read with --ollama only), that a profile (--profile), that the
    /// configuration file.
    Serve(Box<ServeArgs>),
    /// List the KV cache types: bits per value, size, and which device runs which pair.
    Kv(KvArgs),
    /// Show what in a model file decides its memory: layers, heads, window, KV bytes per token for each type.
    Inspect(InspectArgs),
    /// Say how much memory a model takes, by device and purpose, before any of it is taken. Exit code 1 if it does not fit.
    ///
    /// Nothing is chosen here: an open context is the one that the model was trained with, open types are turbo4 where the
    /// model can have it, and all layers are on the GPU. What `serve` would choose is in its log, and by the rule of
    /// docs/choosing.md.
    Plan(plan::PlanArgs),
    /// Check this build on this machine: the codec on this CPU, every kernel on every device, and a model.
    ///
    /// Each registered kernel runs on the device through the engine's own graphs: SET_ROWS, CPY and GET_ROWS of every type must
    /// give the codec's bytes, attention over every pair and head size must agree with float64 arithmetic. Then the embedded
    /// model predicts on the device what it predicts on the CPU, with f16, turbo4, turbo3 and turbo2 caches. A device that
    /// refuses what this build claims for it has failed. About a minute on a graphics processor.
    ///
    /// Exit code 0: nothing failed; 1: something did; 130: stopped with Ctrl-C.
    Verify(verify::VerifyArgs),
    /// Measure speed and memory over KV caches, with llama-bench's options and output.
    Bench(Box<BenchArgs>),
    /// Score a text with any KV caches: perplexity as llama-perplexity has it, and divergence from an exact cache.
    Perplexity(perplexity::PerplexityArgs),
    /// Find which layers and which side, K or V, need the bits, and make a layer map of a given size.
    Sensitivity(sensitivity::SensitivityArgs),
    /// Say which level of KV cache compression fits a machine, and why.
    Select(select::SelectArgs),
    /// Find the longest context before memory refuses, by plan and by trial, for each cache.
    Ceiling(ceiling::CeilingArgs),
    /// Ship or stop: everything a cache must reach against f16, as a table. Exit code 0 pass, 1 fail, 2 stop.
    Gate(gate::GateArgs),
    /// Make one page with charts and tables from the results of measurements.
    Report(report::ReportArgs),
    /// Ask practical prompts of several KV caches (or servers) and compare the answers.
    Prompts(prompts::PromptsArgs),
    /// Find facts in long prompts: by length, depth and cache.
    Needle(needle::NeedleArgs),
    /// Hold long conversations: recall and divergence by turn, drift after turn 30.
    Session(session::SessionArgs),
    /// Write what a client needs to use this server, and what the server has to be started with, into one file.
    ///
    /// The cache, the context and the slots are chosen for the model and the machine; options that are given are obeyed or
    /// refused. `turboquant serve --profile FILE` starts what the file describes.
    Profile(profile::ProfileArgs),
    /// Look at this build and machine: devices, memory, ports, folders, limits; what to do about each finding. Exit code 1 if
    /// there is a problem.
    Doctor(doctor::DoctorArgs),
    /// Make models.
    #[command(subcommand)]
    Model(ModelCommand),
    /// Download a model from a hub: org/repo:QUANT.
    Pull(store::PullArgs),
    /// List the models that can be named: downloaded, created, in the models folder.
    List(store::ListArgs),
    /// Delete models: downloads with their files, aliases.
    Rm(store::RmArgs),
}

#[derive(Debug, ClapArgs)]
pub struct RunArgs {
    /// The prompt; without it, chat. [-p]
    #[arg(short, long)]
    pub prompt: Option<String>,
    /// Read the prompt from a file (`-`: standard input). [-f]
    #[arg(short, long, value_name = "FILE", conflicts_with = "prompt")]
    pub file: Option<PathBuf>,
    /// Picture that comes before the (first) prompt: PNG, JPEG, GIF, BMP or WebP; may be repeated. With --mmproj.
    #[arg(long, value_name = "FILE")]
    pub image: Vec<PathBuf>,
    /// System message. [-sys]
    #[arg(long, value_name = "TEXT")]
    pub system_prompt: Option<String>,
    /// Continue the prompt as text, without the chat template. [-no-cnv]
    #[arg(long, alias = "no-conversation")]
    pub raw: bool,
    /// Tokens to generate at most; negative: until the model ends. [-n]
    #[arg(short = 'n', long, value_name = "N", default_value_t = -1, allow_negative_numbers = true)]
    pub predict: i64,
    #[command(flatten)]
    pub remote: store::RemoteArgs,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub lora: lora::LoraArgs,
    #[command(flatten)]
    pub sampling: SamplingArgs,
}

#[derive(Debug, ClapArgs)]
pub struct KvArgs {
    /// Values per head to check devices with.
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub head_dim: u32,
    /// Print JSON instead of tables.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, ClapArgs)]
pub struct InspectArgs {
    /// GGUF file.
    pub file: PathBuf,
    /// Context lengths to show the KV cache for.
    #[arg(long, value_delimiter = ',', default_values_t = [8192_u32, 32768, 131_072])]
    pub contexts: Vec<u32>,
    /// Print JSON instead of tables.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Write a model of any shape with random weights, to measure or test without a download.
    Synth(SynthArgs),
}

#[derive(Debug, ClapArgs)]
pub struct SynthArgs {
    /// File to write.
    pub out: PathBuf,
    /// Architecture: llama, qwen2, qwen3, gemma3, ...; an unknown one lists them all.
    #[arg(long, default_value = "llama")]
    pub arch: String,
    /// Layers; modes of --layer-adaptive need 8.
    #[arg(long, default_value_t = 8)]
    pub layers: u32,
    /// Query heads.
    #[arg(long, default_value_t = 8)]
    pub heads: u32,
    /// KV heads; query heads must be a multiple.
    #[arg(long, default_value_t = 2)]
    pub kv_heads: u32,
    /// Values per head.
    #[arg(long, default_value_t = 128)]
    pub head_dim: u32,
    /// Width of the residual stream.
    #[arg(long, default_value_t = 512)]
    pub embd: u32,
    /// Width of the feed-forward part.
    #[arg(long, default_value_t = 1024)]
    pub ff: u32,
    /// Tokens of the vocabulary, at least 300.
    #[arg(long, default_value_t = 1024)]
    pub vocab: u32,
    /// Type of the weights: f32, f16, q8_0 or q4_0.
    #[arg(long = "type", default_value = "f16")]
    pub weight_type: String,
    /// Equal seeds give equal files.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// A path, also an empty one.
fn any_path(text: &str) -> Result<PathBuf, std::convert::Infallible> {
    Ok(PathBuf::from(text))
}

/// llama.cpp's short options of several letters, which clap does not know.
const SHORT: &[(&str, &str)] = &[
    ("-ctk", "--cache-type-k"),
    ("-ctv", "--cache-type-v"),
    ("-ngl", "--gpu-layers"),
    ("-np", "--parallel"),
    ("-cram", "--cache-ram"),
    ("-cms", "--checkpoint-min-step"),
    ("-ctxcp", "--ctx-checkpoints"),
    ("-tb", "--threads-batch"),
    ("-ub", "--ubatch-size"),
    ("-nkvo", "--no-kv-offload"),
    ("-sys", "--system-prompt"),
    ("-no-cnv", "--raw"),
    ("--n-predict", "--predict"),
    ("-pg", "--pg"),
    ("-fa", "--flash-attn"),
    ("-mmp", "--mmap"),
    ("-lm", "--load-mode"),
    ("-oe", "--output-err"),
    ("-ncmoe", "--n-cpu-moe"),
    ("-sm", "--split-mode"),
    ("-mg", "--main-gpu"),
    ("-dev", "--device"),
    ("-lzm", "--lazy-mode"),
    ("-dio", "--direct-io"),
    ("-embd", "--embeddings"),
    ("-ts", "--tensor-split"),
    ("-ot", "--override-tensor"),
    ("-nopo", "--no-op-offload"),
    ("-fitt", "--fit-target"),
    ("-fitc", "--fit-ctx"),
    ("-hf", "--hf-repo"),
    ("-hfr", "--hf-repo"),
    ("-hff", "--hf-file"),
    ("-hft", "--hf-token"),
    ("-rpc", "--rpc"),
];

/// Spells out llama.cpp's short options of several letters.
pub fn expand_short_options(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    args.into_iter()
        .map(|arg| {
            let text = arg.to_string_lossy();
            let (name, value) = text
                .split_once('=')
                .map_or((text.as_ref(), None), |(n, v)| (n, Some(v)));
            match (SHORT.iter().find(|(short, _)| *short == name), value) {
                (Some((_, long)), None) => (*long).into(),
                (Some((_, long)), Some(value)) => format!("{long}={value}").into(),
                (None, _) => arg,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(expand_short_options(line.split(' ').map(OsString::from)))
    }

    #[test]
    fn the_declaration_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn llama_cpp_short_options_work() {
        let args = parse("turboquant serve -m x.gguf -c 4096 -ctk q8_0 -ctv=turbo3 -ngl 10 -np 2 -t 4").unwrap();
        let Command::Serve(serve) = args.command else {
            panic!("serve expected")
        };
        assert_eq!(
            (serve.model.cache_type_k.as_str(), serve.model.cache_type_v.as_str()),
            ("q8_0", "turbo3")
        );
        assert_eq!(
            (
                serve.model.engine.gpu_layers,
                serve.serving.parallel,
                serve.model.engine.threads
            ),
            (Some(10), Some(2), 4)
        );
        let args = parse("turboquant run -p hi -n 5 --temp 0 --seed -1").unwrap();
        let Command::Run(run) = args.command else {
            panic!("run expected")
        };
        assert_eq!(
            (run.predict, run.sampling.temp, run.sampling.seed),
            (5, Some(0.0), Some(-1))
        );
    }

    #[test]
    fn the_log_is_text_unless_json_is_asked_for() {
        let format = |line: &str| parse(line).unwrap().log.log_format;
        assert_eq!(format("turboquant serve"), log::LogFormat::Text);
        assert_eq!(format("turboquant serve --log-format json"), log::LogFormat::Json);
        assert_eq!(format("turboquant --log-format json kv"), log::LogFormat::Json);
        assert_eq!(parse("turboquant serve --log-format xml").unwrap_err().exit_code(), 2);
    }

    #[test]
    fn numbers_out_of_range_are_usage_errors() {
        for line in [
            "turboquant serve -c -5",
            "turboquant serve --port 70000",
            "turboquant run -t 99999999999",
            "turboquant serve -np x",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}

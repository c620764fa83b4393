//! Options of `serve`. They have llama-server's names where it has them.

use super::lora::ServeLoraArgs;
use super::pool::PoolArgs;
use super::store::RemoteArgs;
use super::{ModelArgs, SamplingArgs, SlotArgs};
use crate::commands::serve::backend::KeepAlive;
use crate::commands::serve::keep_alive;
use clap::{ArgAction, Args as ClapArgs};
use std::path::PathBuf;
use std::time::Duration;

/// Everything that `serve` takes.
#[derive(Debug, Clone, ClapArgs)]
#[command(args_override_self = true)]
pub struct ServeArgs {
    #[command(flatten, next_help_heading = "Listening")]
    pub listen: ListenArgs,
    #[command(flatten, next_help_heading = "Access")]
    pub access: AccessArgs,
    #[command(flatten, next_help_heading = "Serving")]
    pub serving: ServingArgs,
    #[command(flatten, next_help_heading = "Models on offer")]
    pub pool: PoolArgs,
    #[command(flatten)]
    pub remote: RemoteArgs,
    #[command(flatten, next_help_heading = "Prompts that are kept")]
    pub slots: SlotArgs,
    #[command(flatten, next_help_heading = "Model and cache")]
    pub model: ModelArgs,
    #[command(flatten, next_help_heading = "LoRA adapters")]
    pub lora: ServeLoraArgs,
    #[command(flatten, next_help_heading = "Requests that leave it open")]
    pub answers: AnswerArgs,
    #[command(flatten)]
    pub sampling: SamplingArgs,
    #[command(flatten)]
    pub more_sampling: MoreSamplingArgs,
    /// Start with what a profile says (written by `turboquant profile`, or by hand in one of its forms). An option on the
    /// command line or a variable beats it, it beats the configuration file.
    #[arg(long, value_name = "FILE")]
    pub profile: Option<PathBuf>,
    /// Print the options as a configuration file, each with where it comes from, and end.
    #[arg(long)]
    pub print_config: bool,
}

/// Where to listen, and how.
#[derive(Debug, Clone, ClapArgs)]
pub struct ListenArgs {
    /// Address or name to listen on; 0.0.0.0: all of this machine's, so set --api-key then. [default: 127.0.0.1]
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// Port to listen on; 0: any free one. Given together with --ollama it is for clients of both APIs, and the port of
    /// Ollama is opened only if --ollama-host (OLLAMA_HOST) names it. [default: 8080]
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Serve clients of Ollama too, on its port, and read Ollama's environment variables.
    #[arg(long)]
    pub ollama: bool,
    /// Address for clients of Ollama, in any form that OLLAMA_HOST has; with --ollama. It is opened besides that of --port;
    /// only where that is given and this has no port, this is just the host for it. [default: that of --host, port 11434]
    #[arg(long, value_name = "HOST:PORT", requires = "ollama")]
    pub ollama_host: Option<String>,
    /// Private key for TLS (PEM); with --ssl-cert-file. There is no plain HTTP then.
    #[arg(long, value_name = "FILE", requires = "ssl_cert_file")]
    pub ssl_key_file: Option<PathBuf>,
    /// Certificate for TLS, with its chain (PEM).
    #[arg(long, value_name = "FILE", requires = "ssl_key_file")]
    pub ssl_cert_file: Option<PathBuf>,
    /// Seconds a client may take to go on with a request it has begun to send, and to take a part of its answer. For the head of
    /// a request, and between two, it has as long, but 30 at most. [-to]
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
    /// Seconds that running answers may take to end when the server is stopped; new requests get 503. A second Ctrl-C or
    /// SIGTERM does not wait.
    #[arg(long, value_name = "S", default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub drain: u64,
    /// Threads that read requests and write answers.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads_http: u16,
    /// Connections at once. When more come, those that were idle for longest are closed; where none is, they wait. The limit of
    /// open files is raised to what the system permits.
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,
    /// Seconds of silence after which a stream sends a comment, so that proxies keep it open.
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub sse_ping_interval: u64,
}

/// Who may call.
#[derive(Debug, Clone, ClapArgs)]
pub struct AccessArgs {
    /// Keys that clients must send one of; may be repeated.
    #[arg(long, value_name = "KEY,...", value_delimiter = ',')]
    pub api_key: Vec<String>,
    /// File with keys, one in a line; lines that begin with # are comments.
    #[arg(long, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,
    /// Web pages that may call, besides those of this machine, as in `https://chat.example`; *: all.
    #[arg(long, value_name = "ORIGIN,...", value_delimiter = ',')]
    pub cors_origins: Vec<String>,
    /// Host names by which clients may address the server, besides IP addresses and local names; *: any. Without it, any
    /// name will do where the server listens on an address that others reach.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub allowed_hosts: Vec<String>,
    /// Largest body of a request.
    #[arg(long, value_name = "MIB", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub body_limit: u32,
}

/// How requests are served.
#[derive(Debug, Clone, ClapArgs)]
pub struct ServingArgs {
    /// Requests served at once; they share the context. Default: 4, or 1 where four do not fit. [-np]
    #[arg(long, value_name = "N")]
    pub parallel: Option<u32>,
    /// Requests that may wait, for each model; more are refused with 429.
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub queue: usize,
    /// Name of the model for clients; default: its file name. [-a]
    #[arg(short, long, value_name = "NAME")]
    pub alias: Option<String>,
    /// How long a request waits for its model to load, in seconds or as 10m, 1h30m; 0: as long as it takes.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = limit)]
    pub load_timeout: Duration,
    /// Fetch images that requests name by http and https URLs, from public addresses only. Without it they are refused:
    /// whoever may call could otherwise make this machine connect elsewhere.
    #[arg(long)]
    pub allow_remote_images: bool,
    /// Serve GET /slots, which tells all clients how busy each slot is; --no-slots: refuse it.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value_t = true, action = ArgAction::Set, hide_possible_values = true)]
    pub slots: bool,
    /// GET /metrics; --no-metrics: not.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value_t = true, action = ArgAction::Set, hide_possible_values = true)]
    pub metrics: bool,
    /// Serve the web page at / to browsers; --no-webui: not. Other clients get the line "Ollama is running" there either way.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value_t = true, action = ArgAction::Set, hide_possible_values = true)]
    pub webui: bool,
    /// Folder of records that `bench --output json` and `gate --out` (and the other measuring commands) have written: the
    /// web page and GET /results show its .json files. Nothing in it is changed, and nothing outside it is read.
    #[arg(long, value_name = "DIR")]
    pub results: Option<PathBuf>,
    /// Send reasoning as `reasoning` too, besides `reasoning_content`, for clients of chat completions that read only that.
    #[arg(long)]
    pub reasoning_alias: bool,
}

/// Defaults for requests.
#[derive(Debug, Clone, ClapArgs)]
pub struct AnswerArgs {
    /// Tokens of an answer at most; negative: until the context is full. [-n]
    #[arg(short = 'n', long, alias = "n-predict", value_name = "N", default_value_t = -1, allow_negative_numbers = true)]
    pub predict: i64,
    /// Reuse what is cached of a prompt's beginning; --no-cache-prompt: never, even where a request asks for it.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value_t = true, action = ArgAction::Set, hide_possible_values = true)]
    pub cache_prompt: bool,
    /// Chat template (Jinja) instead of the model's.
    #[arg(long, value_name = "JINJA", conflicts_with = "chat_template_file")]
    pub chat_template: Option<String>,
    /// File with the chat template.
    #[arg(long, value_name = "FILE")]
    pub chat_template_file: Option<PathBuf>,
    /// Variables for the chat template: a JSON object.
    #[arg(long, value_name = "JSON")]
    pub chat_template_kwargs: Option<String>,
    /// Tokens of reasoning; 0: none, -1: as many as it takes.
    #[arg(long, value_name = "N", default_value_t = -1, allow_negative_numbers = true,
          value_parser = clap::value_parser!(i32).range(-1..))]
    pub reasoning_budget: i32,
    /// What the model is told when the budget is used up.
    #[arg(long, value_name = "TEXT")]
    pub reasoning_budget_message: Option<String>,
    /// How hard to reason, in the words of the template: low, medium, high, ...
    #[arg(long, value_name = "LEVEL")]
    pub reasoning_effort: Option<String>,
    /// Go on after the model's end of text.
    #[arg(long)]
    pub ignore_eos: bool,
}

/// Samplers that only servers have defaults for.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct MoreSamplingArgs {
    /// Only tokens within N standard deviations of the best; -1: off.
    #[arg(long, alias = "top-nsigma", value_name = "N", allow_negative_numbers = true)]
    pub top_n_sigma: Option<f32>,
    /// XTC: probability of dropping all but the least probable of the probable tokens; 0: off.
    #[arg(long, value_name = "P")]
    pub xtc_probability: Option<f32>,
    /// XTC: what counts as probable.
    #[arg(long, value_name = "P")]
    pub xtc_threshold: Option<f32>,
    /// Only tokens of typical information content; 1: off.
    #[arg(long, alias = "typical", value_name = "P")]
    pub typical_p: Option<f32>,
    /// Tokens that penalties look back; 0: none, -1: the context.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub repeat_last_n: Option<i32>,
    /// Penalty on tokens that have occurred; 0: off.
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub presence_penalty: Option<f32>,
    /// Penalty on tokens, for each time they have occurred; 0: off.
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub frequency_penalty: Option<f32>,
    /// DRY: penalty on going on with a repetition; 0: off.
    #[arg(long, value_name = "X")]
    pub dry_multiplier: Option<f32>,
    /// DRY: growth of that penalty with each token.
    #[arg(long, value_name = "X")]
    pub dry_base: Option<f32>,
    /// DRY: tokens of a repetition that cost nothing.
    #[arg(long, value_name = "N")]
    pub dry_allowed_length: Option<i32>,
    /// DRY: tokens it looks back; 0: none, -1: the context.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub dry_penalty_last_n: Option<i32>,
    /// DRY: text that ends a repetition; may be given several times. none: nothing does.
    #[arg(long, value_name = "TEXT")]
    pub dry_sequence_breaker: Vec<String>,
    /// Adaptive: probability to steer towards; negative: off.
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub adaptive_target: Option<f32>,
    /// Adaptive: how slowly it adapts, from 0 to 0.99.
    #[arg(long, value_name = "X")]
    pub adaptive_decay: Option<f32>,
    /// Temperature varies by this much with the entropy; 0: not.
    #[arg(long, value_name = "T")]
    pub dynatemp_range: Option<f32>,
    /// Exponent of that variation.
    #[arg(long, value_name = "X")]
    pub dynatemp_exp: Option<f32>,
    /// Mirostat: 0 off, 1, or 2.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=2))]
    pub mirostat: Option<u8>,
    /// Mirostat: learning rate (eta).
    #[arg(long, value_name = "X")]
    pub mirostat_lr: Option<f32>,
    /// Mirostat: target entropy (tau).
    #[arg(long, value_name = "X")]
    pub mirostat_ent: Option<f32>,
    /// Samplers in their order, as in `top_k;top_p;temperature`.
    #[arg(long, value_name = "NAME;...")]
    pub samplers: Option<String>,
}

/// As `keep_alive` of a request. Negative is for ever, which is 0 here.
fn limit(text: &str) -> Result<Duration, String> {
    keep_alive::from_text(text).map(|time| match time {
        KeepAlive::For(time) => time,
        KeepAlive::Forever => Duration::ZERO,
    })
}

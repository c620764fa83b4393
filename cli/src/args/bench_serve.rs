//! The options of `bench serve`.

use super::ModelArgs;
use super::measure::OutputArgs;
use super::slots::SlotArgs;
use crate::load::{Api, Mix};
use clap::Args as ClapArgs;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Each client sends its next request when it has the answer to the one before (a closed loop). With --rate requests come as
those of people who know nothing of each other (a Poisson process), whatever the server does; latencies then count from when
a request was due, so that a server that stalls does not look quick because nobody asked it meanwhile.

  turboquant bench serve                                          4 clients, 30 s, the embedded model served by this process
  turboquant bench serve --url http://127.0.0.1:8080 --clients 16 --duration 60
  turboquant bench serve --url http://127.0.0.1:8080 --rate 2.5 --duration 300
  turboquant bench serve --url http://127.0.0.1:8080 --clients 64 --duration 600 --disconnect 0.33 --retry 100 --verify 100 \\
      --server-pid $(pidof turboquant) --out load.json
  turboquant bench serve --url http://127.0.0.1:11434 --api ollama --model-name qwen3:8b

The same seed sends the same requests to every server: llama-server, Ollama, vLLM. Exit code 0 when it ran to its end, whatever
it found; 130 after Ctrl-C, with the report of what was until then.";

/// Load a server with many clients, and report latencies, throughput, errors and fairness.
///
/// Works against any server with OpenAI's or Ollama's API; without --url the model of -m, or the embedded one, is served by this
/// process on a free port.
#[derive(Debug, Clone, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub struct BenchServeArgs {
    /// The server, such as http://127.0.0.1:8080. Default: one is started here, with the options of the model below.
    #[arg(long, value_name = "URL", conflicts_with_all = ["model", "parallel", "queue", "cache_ram"])]
    pub url: Option<String>,
    /// The API that is spoken.
    #[arg(long, value_enum, default_value = "openai")]
    pub api: Api,
    /// Model to ask the server for; default: the first it lists.
    #[arg(long, value_name = "NAME", requires = "url")]
    pub model_name: Option<String>,
    /// File with the key that the server wants: the first line that is not empty and does not begin with #.
    #[arg(long, value_name = "FILE", requires = "url")]
    pub api_key_file: Option<PathBuf>,
    /// Clients at once; with --rate, the most requests at once.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub clients: u32,
    /// Requests per second that come whatever the server does, instead of one per client after the other.
    #[arg(long, value_name = "R")]
    pub rate: Option<f64>,
    /// Seconds in which requests are begun; those that run then are waited for. Default: 30, without --requests.
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=604_800))]
    pub duration: Option<u64>,
    /// End after so many requests; with --duration, whichever comes first.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub requests: Option<u64>,
    /// Sizes of requests, and how often each comes: words of the prompt, x, most tokens of the answer, and : a weight. A word is
    /// one to two tokens; the report has the server's own count.
    #[arg(long, value_name = "LIST", default_value = "24x32:3,300x128:1")]
    pub mix: Mix,
    /// Let models end their answers. Without it `ignore_eos` asks for full length, which llama-server, vLLM and this program
    /// know, so that servers are compared by the same work; some hosted APIs refuse the field.
    #[arg(long)]
    pub no_ignore_eos: bool,
    /// Have every prompt computed from nothing (`cache_prompt: false`, for llama-server and this program), so that with --verify
    /// answers can differ by the company they were computed in only.
    #[arg(long)]
    pub no_cache_prompt: bool,
    /// Temperature of the answers; 0: the most probable token.
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    pub temperature: f64,
    /// The share of clients, 0 to 1, that leave before their answer ends: a third of these while they wait, a third while the
    /// prompt is computed (servers that know `return_progress`; elsewhere with the first token), a third in the answer.
    #[arg(long, value_name = "FRACTION", default_value_t = 0.0)]
    pub disconnect: f64,
    /// Times a request that was refused (429, 503) is sent again, when the time of its Retry-After (1 s without one) is over.
    /// 0: it counts as refused, and its client goes on with the next at once, without obeying.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub retry: u32,
    /// Afterwards, ask N of the answered requests again, one after the other with the same seeds, and count the answers that
    /// are not the same.
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "100", default_value_t = 0, hide_default_value = true,
          value_parser = clap::value_parser!(u32).range(..=100_000))]
    pub verify: u32,
    /// The longest silence, in seconds, before a request counts as failed.
    #[arg(long, value_name = "S", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
    /// From which prompts, seeds, arrivals and departures follow. [-s]
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Process whose memory is watched, where the server of --url runs on this machine.
    #[arg(long, value_name = "PID", requires = "url", value_parser = clap::value_parser!(u32).range(1..))]
    pub server_pid: Option<u32>,
    /// Requests that the server started here answers at once. [-np]
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub parallel: u32,
    /// Requests that may wait there.
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub queue: usize,
    #[command(flatten)]
    pub slots: SlotArgs,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

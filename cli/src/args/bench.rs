//! The options of `bench`: llama-bench's by name and meaning, and ours.

use super::bench_serve::BenchServeArgs;
use super::lists::{Counts, Layers, PromptAndAnswer, Switches};
use crate::commands::bench::{AskedCache, Attention, Format, LoadMode, Shape};
use crate::measuring::caches;
use crate::settings::CacheType;
use clap::{Args as ClapArgs, Subcommand};
use llama_turboquant::KvSpec;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Options that take lists also take them repeated, and ranges: first-last, first-last+step, first-last*factor. All
combinations are measured. A test is named pp512 (a prompt of 512 tokens), tg128 (128 tokens generated), pp512+tg128, with
' @ d4096' where 4096 tokens were in the cache before.

  turboquant bench -m model.gguf --kv f16,q8_0,turbo4,turbo3 --ab f16     which cache is how fast, with intervals
  turboquant bench -m model.gguf --kv turbo4 -d 0,4096-65536*2 -r 3       how speed falls with depth
  turboquant bench -m model.gguf --kv auto --ab f16 -d 0,32768            the cache that `serve` would choose at that length
  turboquant bench --synthetic 32x32x8x128 --kv f16,turbo4 -n 32          a shape without a model file
  turboquant bench -m model.gguf -o json --out bench.json                 for scripts and for `turboquant report`

Known to llama-bench and not here: --numa --prio -C --cpu-strict --poll -ncmoe -sm -mg -dev -lzm -dio -embd -ts -ot -nopo
--no-host --repack -fitt -fitc -hf -hff -hft --offline -rpc, -fa off, -lm mlock and dio. With llama-bench's default as their
value they are accepted; anything else is an error that says why.";

/// What else is measured.
#[derive(Debug, Clone, Subcommand)]
pub enum BenchMode {
    /// Load a server with many clients: latencies, throughput, errors, fairness.
    Serve(Box<BenchServeArgs>),
}

#[derive(Debug, Clone, ClapArgs)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct BenchArgs {
    #[command(subcommand)]
    pub mode: Option<BenchMode>,
    /// GGUF files; without them the embedded model is used. [-m]
    #[arg(short, long, value_name = "FILE", value_delimiter = ',')]
    pub model: Vec<PathBuf>,
    /// Measure a random model instead: LAYERSxHEADSxKV_HEADSxHEAD_DIM[:key=value,..] with the keys arch (llama), type
    /// (q8_0; f32, f16, q4_0), embd (heads times head dim), ff (2 embd), vocab (8192), window and seed (1).
    #[arg(long, value_name = "SHAPE", conflicts_with = "model")]
    pub synthetic: Option<Shape>,
    /// Tokens of the prompts; 0: no prompt test. [-p]
    #[arg(short = 'p', long, value_name = "LIST", default_value = "512")]
    pub n_prompt: Vec<Counts>,
    /// Tokens to generate; 0: no generation test. [-n]
    #[arg(short = 'n', long, value_name = "LIST", default_value = "128")]
    pub n_gen: Vec<Counts>,
    /// Also a prompt and the answer to it in one test; may be repeated. [-pg]
    #[arg(long, value_name = "PP,TG")]
    pub pg: Vec<PromptAndAnswer>,
    /// Tokens in the cache before the clock starts, up to what the model was trained with. [-d]
    #[arg(short = 'd', long, value_name = "LIST", default_value = "0")]
    pub n_depth: Vec<Counts>,
    /// Tokens submitted at once. [-b]
    #[arg(short, long, value_name = "LIST", default_value = "2048")]
    pub batch_size: Vec<Counts>,
    /// Tokens computed at once. [-ub]
    #[arg(long, value_name = "LIST", default_value = "512")]
    pub ubatch_size: Vec<Counts>,
    /// Types of the K cache; all combinations with -ctv. auto: the one that is chosen for the model and this machine
    /// (docs/choosing.md) at the largest context of these tests, before anything is timed; rows name the type it came to. [-ctk]
    #[arg(long, value_name = "TYPES", value_delimiter = ',', default_value = "f16")]
    pub cache_type_k: Vec<CacheType>,
    /// Types of the V cache, likewise. [-ctv]
    #[arg(long, value_name = "TYPES", value_delimiter = ',', default_value = "f16")]
    pub cache_type_v: Vec<CacheType>,
    /// Caches one by one instead of -ctk and -ctv: TYPE, K/V, or either with @MODE (layer-adaptive); a type may be auto.
    #[arg(long, value_name = "CACHES", value_delimiter = ',', conflicts_with_all = ["cache_type_k", "cache_type_v"])]
    pub kv: Vec<AskedCache>,
    /// Layer-adaptive modes 0 to 7, each with every cache. Default: 7 when V is turbo2, else 0.
    #[arg(
        long,
        value_name = "MODES",
        value_delimiter = ',',
        env = "TURBO_LAYER_ADAPTIVE",
        hide_env_values = true
    )]
    pub layer_adaptive: Vec<String>,
    /// Let the caches take turns, run by run, and compare their speed with this one's (added if it is not among them).
    #[arg(long, value_name = "CACHE", value_parser = caches::parse)]
    pub ab: Option<KvSpec>,
    /// Threads; 0: the physical cores. [-t]
    #[arg(short, long, value_name = "LIST", default_value = "0")]
    pub threads: Vec<Counts>,
    /// Layers on the GPU; -1: all. [-ngl]
    #[arg(
        long,
        alias = "n-gpu-layers",
        value_name = "LIST",
        default_value = "-1",
        allow_hyphen_values = true
    )]
    pub gpu_layers: Vec<Layers>,
    /// Flash attention: on, off or auto. The engine uses it wherever it can; `off` is refused. [-fa]
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "auto")]
    pub flash_attn: Vec<Attention>,
    /// 1: map the file, 0: read it into memory. [-mmp]
    #[arg(long, value_name = "LIST", conflicts_with = "load_mode")]
    pub mmap: Vec<Switches>,
    /// How the file is loaded: auto, mmap or none. [-lm]
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "auto")]
    pub load_mode: Vec<LoadMode>,
    /// 1: keep the KV cache in main memory. [-nkvo]
    #[arg(long, value_name = "LIST", default_value = "0")]
    pub no_kv_offload: Vec<Switches>,
    /// Let turbo K be used on model families that it is known to break (Qwen2, Qwen2.5).
    #[arg(long)]
    pub no_kv_guard: bool,
    /// Accept that a device that cannot run attention over a cache hands it to the CPU.
    #[arg(long)]
    pub allow_cpu_attention: bool,
    /// Runs of each test. [-r]
    #[arg(short, long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub repetitions: u32,
    /// Seconds to wait before each test.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub delay: u32,
    /// No warm-up before the timed runs.
    #[arg(long)]
    pub no_warmup: bool,
    /// What goes to standard output: md, csv, json, jsonl, sql or none. [-o]
    #[arg(short, long, value_name = "FORMAT", default_value = "md")]
    pub output: Format,
    /// What goes to standard error, likewise. [-oe]
    #[arg(long, value_name = "FORMAT", default_value = "none")]
    pub output_err: Format,
    /// More columns in the table: cache size, time to first token, latencies, memory, the device of attention.
    #[arg(long)]
    pub extra: bool,
    /// Also keep the rows as JSON in a file, written anew after each result, so that nothing measured is lost.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Say on standard error what is being run.
    #[arg(long)]
    pub progress: bool,
    /// List the devices and stop.
    #[arg(long)]
    pub list_devices: bool,
    #[command(flatten)]
    pub unsupported: UnsupportedArgs,
}

/// Declares options of llama-bench that are accepted with its default as the value only, and the list of what was given.
macro_rules! unsupported {
    ($($field:ident $(short $short:literal)? $name:literal default [$($default:literal),*] $why:literal)*) => {
        /// Options of llama-bench that this program has no equivalent of.
        #[derive(Debug, Clone, Default, ClapArgs)]
        pub struct UnsupportedArgs {
            $(
                #[arg(long = $name, $(short = $short,)? hide = true, allow_hyphen_values = true, num_args = 0..=1,
                      default_missing_value = "1")]
                $field: Option<String>,
            )*
        }

        impl UnsupportedArgs {
            /// The first option whose value asks for something that is not what happens anyway: the option, the value, why.
            pub fn refused(&self) -> Option<(&'static str, &str, &'static str)> {
                $(
                    if let Some(value) = &self.$field
                        && ![$($default),*].contains(&value.as_str())
                    {
                        return Some((concat!("--", $name), value, $why));
                    }
                )*
                None
            }
        }
    };
}

unsupported! {
    numa "numa" default [""] "the engine is started without a NUMA strategy; run the program under numactl"
    prio "prio" default ["0"] "threads keep the priority of the process; start the program with nice"
    cpu_mask short 'C' "cpu-mask" default ["0x0"] "threads are not bound to cores; start the program with taskset"
    cpu_strict "cpu-strict" default ["0"] "threads are not bound to cores; start the program with taskset"
    poll "poll" default ["50"] "the engine's threads always wait with level 50"
    n_cpu_moe "n-cpu-moe" default ["0"] "layers are placed as a whole; use --gpu-layers"
    split_mode "split-mode" default ["layer"] "models are spread over devices by layers only"
    main_gpu "main-gpu" default ["0"] "models are spread over all devices; hide some (CUDA_VISIBLE_DEVICES) to choose"
    device "device" default ["auto"] "models are spread over all devices; hide some (CUDA_VISIBLE_DEVICES), or use --gpu-layers 0 for the CPU"
    lazy_mode "lazy-mode" default ["auto"] "the engine decides about lazy loading by itself"
    direct_io "direct-io" default ["0"] "files are mapped or read through the system's cache; use --load-mode"
    embeddings "embeddings" default ["0"] "this measures generation; embeddings have no KV cache to compare"
    tensor_split "tensor-split" default ["0", "0.00"] "models are spread over devices as the engine chooses"
    override_tensor "override-tensor" default ["none"] "tensors go where their layer is"
    no_op_offload "no-op-offload" default ["0"] "the engine decides by itself which operations go to a device"
    no_host "no-host" default ["0"] "the engine chooses its buffers by itself"
    repack "repack" default ["1"] "the engine always repacks weights where that is faster"
    fit_target "fit-target" default ["0"] "a model that does not fit is refused with the numbers, not shrunk; use --gpu-layers"
    fit_ctx "fit-ctx" default ["0"] "a context that does not fit is refused with the numbers, not shrunk"
    hf_repo "hf-repo" default [] "nothing is downloaded; name a file with -m"
    hf_file "hf-file" default [] "nothing is downloaded; name a file with -m"
    hf_token "hf-token" default [] "nothing is downloaded; name a file with -m"
    offline "offline" default ["1"] "nothing is ever downloaded"
    rpc "rpc" default [] "remote devices cannot be added here"
}

//! Options of `turboquant select`.

use clap::{Args as ClapArgs, value_parser};
use llama_turboquant::choose::select::Level;
use std::path::PathBuf;

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Levels, best first: turbo4, turbo3, turbo2; q4_0 where a model or device can have none of them. The first whose \
headroom fits is taken (4, 3, 2 and 1.5 GB); if none does, turbo2, with a warning. Sizes are in GB of 2^30 bytes, as memory is sold.

Examples:
  turboquant select --model model.gguf --context 65536
  turboquant select --model-size 16.5 --context 131072 --json     (a 27B model at Q4_K_M)
  turboquant select --model-size 16.5 --facts mac-36gb.json       (a machine that is not here; docs/facts.md)

The whole choice (context, slots and layers on devices, too) is made by `turboquant serve`; docs/choosing.md explains both."
)]
pub struct SelectArgs {
    /// Size of the model's weights in GB, where there is no file yet.
    #[arg(long, value_name = "GB", value_parser = size_gb, allow_negative_numbers = true,
          required_unless_present_any = ["model", "detect_only"])]
    pub model_size: Option<f64>,
    /// Context in tokens. Default: 32768, or what the model was trained with if that is less. [-c]
    #[arg(short = 'c', long, value_name = "N", value_parser = value_parser!(u32).range(1..=i64::from(i32::MAX)), allow_negative_numbers = true)]
    pub context: Option<u32>,
    /// Layers with a KV cache, for --model-size. The defaults of the three are a 27B class model's: 160 KiB per token as f16.
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = value_parser!(u32).range(1..=512), allow_negative_numbers = true)]
    pub layers: u32,
    /// KV heads, for --model-size.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = value_parser!(u32).range(1..=1024), allow_negative_numbers = true)]
    pub kv_heads: u32,
    /// Values per head, for --model-size.
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = value_parser!(u32).range(1..=8192), allow_negative_numbers = true)]
    pub head_dim: u32,
    /// GGUF file: sizes and shapes are read from it, layer by layer, so sliding windows, recurrent layers and MLA count as what
    /// they are. [-m]
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["model_size", "layers", "kv_heads", "head_dim"])]
    pub model: Option<PathBuf>,
    /// This level (turbo4, turbo3, turbo2, q4_0), even when it does not fit.
    #[arg(long, value_name = "LEVEL")]
    pub prefer: Option<Level>,
    /// Ignore graphics devices: everything in main memory.
    #[arg(long)]
    pub force_cpu: bool,
    /// Facts about a machine instead of this one's (JSON, docs/facts.md).
    #[arg(long, value_name = "FILE")]
    pub facts: Option<PathBuf>,
    /// Only say what the machine has.
    #[arg(long)]
    pub detect_only: bool,
    /// Print JSON (docs/schema/select.schema.json) instead of text.
    #[arg(long)]
    pub json: bool,
}

/// 1 PiB: nothing that holds weights has more.
const MOST_GB: f64 = 1_048_576.0;

fn size_gb(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(gb) if gb.is_finite() && gb > 0.0 && gb < MOST_GB => Ok(gb),
        Ok(_) => Err("a model has more than 0 and less than 1048576 GB".into()),
        Err(_) => Err("not a number of GB, such as 16.5".into()),
    }
}

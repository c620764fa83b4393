//! Options about LoRA adapters, with llama-server's names.

use crate::loras::LoraFile;
use clap::Args;
use std::path::PathBuf;

/// Which adapters are loaded with the model.
#[derive(Debug, Clone, Default, Args)]
pub struct LoraArgs {
    /// LoRA adapters to load with the model of -m (GGUF, as convert_lora_to_gguf.py writes them), applied in full (scale 1).
    #[arg(long, value_name = "FNAME,...", value_delimiter = ',')]
    pub lora: Vec<PathBuf>,
    /// The same with a scale for each, as in style.gguf:0.5. Adapters are numbered from 0: first those of --lora, then these.
    #[arg(long, value_name = "FNAME:SCALE,...", value_delimiter = ',', value_parser = LoraFile::scaled)]
    pub lora_scaled: Vec<LoraFile>,
}

/// Which adapters are loaded, and whether they are applied.
#[derive(Debug, Clone, Default, Args)]
pub struct ServeLoraArgs {
    #[command(flatten)]
    pub adapters: LoraArgs,
    /// Load adapters with scale 0, whatever is said of them, until POST /lora-adapters or `lora` in a request scales them.
    #[arg(long)]
    pub lora_init_without_apply: bool,
}

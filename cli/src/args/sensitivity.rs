//! Options of `turboquant sensitivity`.

use super::EngineArgs;
use super::measure::OutputArgs;
use clap::Args as ClapArgs;
use std::path::PathBuf;

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Measures the divergence with one side of one layer compressed and all else f16, gives the bits to the places \
that need them, and measures the map it makes against uniform types. Use the map with `--layer-map FILE` of run and serve."
)]
pub struct SensitivityArgs {
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Text to measure on; default: 300 KB held out from the embedded model. [-f]
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Tokens of a chunk. [-c]
    #[arg(short = 'c', long, value_name = "N", default_value_t = 512)]
    pub ctx_size: u32,
    /// Chunks, spread over the text.
    #[arg(long, value_name = "N", default_value_t = 6)]
    pub chunks: usize,
    /// Type that is put in one place at a time.
    #[arg(long, value_name = "TYPE", default_value = "turbo3")]
    pub probe: String,
    /// Mean bits per value, scales included, that the map may have.
    #[arg(long, value_name = "BITS", default_value_t = 4.125)]
    pub bits: f64,
    /// Types the map is made of.
    #[arg(
        long,
        value_name = "TYPES",
        value_delimiter = ',',
        default_value = "q8_0,turbo4,turbo3,turbo2"
    )]
    pub types: Vec<String>,
    /// Write the map to this file.
    #[arg(long, value_name = "FILE")]
    pub map_out: Option<PathBuf>,
    #[command(flatten)]
    pub output: OutputArgs,
}

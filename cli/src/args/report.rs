//! Options of `turboquant report`.

use clap::Args as ClapArgs;
use std::path::PathBuf;

/// One page from any number of results: charts, tables, and what they were measured on.
#[derive(Debug, Clone, ClapArgs)]
#[command(
    after_help = "Reads what perplexity, needle, prompts, session, sensitivity, ceiling and gate write with --out FILE, and what \
bench (or llama-bench) prints with -o json or -o jsonl. The page is one file: it needs no network and no JavaScript.\n\n\
  turboquant bench --kv f16,turbo4,turbo3 -d 0,2048,4096 -o json > bench.json\n  \
  turboquant perplexity --kv turbo4,turbo3 --out perplexity.json\n  \
  turboquant report bench.json perplexity.json --out report.html"
)]
pub struct ReportArgs {
    /// Records: JSON files, of any kind and in any order.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Page to write.
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    pub out: PathBuf,
    /// Also write each chart as an SVG file into this directory; it is made if it does not exist.
    #[arg(long, value_name = "DIR")]
    pub svg_dir: Option<PathBuf>,
    /// Title of the page.
    #[arg(long, value_name = "TEXT", default_value = "KV cache measurements")]
    pub title: String,
}

//! From `--kv f16,q8_0/turbo4` to the caches that are compared.

use llama_turboquant::{Error, KvSpec};

/// Value parser of a list of caches, for clap: `#[arg(value_delimiter = ',', value_parser = caches::parse)]`.
///
/// # Errors
/// The mistake, with the valid names.
pub fn parse(text: &str) -> Result<KvSpec, Error> {
    text.trim().parse()
}

/// Each cache once, in order.
pub fn unique<C: Copy + PartialEq>(mut caches: Vec<C>) -> Vec<C> {
    let mut seen = Vec::new();
    caches.retain(|cache| {
        let new = !seen.contains(cache);
        seen.push(*cache);
        new
    });
    caches
}

/// The help's list of what a cache can be written as.
pub const HELP: &str = "TYPE, K/V, or either with @MODE (layer-adaptive): turbo4  q8_0/turbo4  turbo2@0";

//! The caches that were asked for.

use crate::args::BenchArgs;
use crate::measuring::caches;
use crate::settings::CacheType;
use anyhow::{Result, bail};
use llama_turboquant::{KvSpec, LayerPolicy};

/// A cache as it is asked for: where a type is `auto` it is chosen for the model and this machine.
pub type AskedCache = KvSpec<CacheType>;

/// The cache, if no type is left open.
pub fn fixed(asked: AskedCache) -> Option<KvSpec> {
    match (asked.k, asked.v) {
        (CacheType::Fixed(k), CacheType::Fixed(v)) => Some(KvSpec { k, v, mode: asked.mode }),
        _ => None,
    }
}

fn asked_as(KvSpec { k, v, mode }: KvSpec) -> AskedCache {
    KvSpec {
        k: CacheType::Fixed(k),
        v: CacheType::Fixed(v),
        mode,
    }
}

fn valid_mode(text: &str) -> Option<u8> {
    text.parse().ok().filter(|mode| LayerPolicy::mode(*mode).is_ok())
}

/// The caches of `args`, a baseline that is not among them first.
///
/// # Errors
/// Modes that do not exist or are said twice.
pub(super) fn asked(args: &BenchArgs) -> Result<Vec<AskedCache>> {
    let mut modes = Vec::new();
    for text in args
        .layer_adaptive
        .iter()
        .map(|text| text.trim())
        .filter(|text| !text.is_empty())
    {
        let Some(mode) = valid_mode(text) else {
            bail!("--layer-adaptive (TURBO_LAYER_ADAPTIVE) takes modes from 0 to 7, not `{text}`");
        };
        modes.push(Some(mode));
    }
    let mut pairs = args.kv.clone();
    if pairs.is_empty() {
        for &k in &args.cache_type_k {
            pairs.extend(args.cache_type_v.iter().map(|&v| AskedCache { k, v, mode: None }));
        }
    }
    if let Some(cache) = pairs.iter().find(|cache| cache.mode.is_some() && !modes.is_empty()) {
        bail!("--kv {cache} and --layer-adaptive both name a mode; use one of them");
    }
    if modes.is_empty() {
        modes.push(None);
    }
    let mut all: Vec<AskedCache> = args
        .ab
        .map(asked_as)
        .into_iter()
        .filter(|base| !with_modes(&pairs, &modes).contains(base))
        .collect();
    all.extend(with_modes(&pairs, &modes));
    Ok(caches::unique(all))
}

fn with_modes(pairs: &[AskedCache], modes: &[Option<u8>]) -> Vec<AskedCache> {
    let each = |pair: &AskedCache| {
        let pair = *pair;
        modes.iter().map(move |mode| AskedCache {
            mode: mode.or(pair.mode),
            ..pair
        })
    };
    pairs.iter().flat_map(each).collect()
}

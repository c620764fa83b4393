//! The caches that were asked for.

use crate::args::BenchArgs;
use crate::measuring::caches;
use crate::settings::CacheType;
use anyhow::{Error, Result, anyhow, bail};
use llama_turboquant::{KvSpec, LayerPolicy};
use std::fmt;
use std::str::FromStr;

/// A cache as it is asked for: [`KvSpec`], but where a type is `auto` it is chosen for the model and this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskedCache {
    /// Type of K.
    pub k: CacheType,
    /// Type of V.
    pub v: CacheType,
    /// Layer-adaptive mode, 0 to 7.
    pub mode: Option<u8>,
}

impl AskedCache {
    /// The cache, if no type is left open.
    pub fn fixed(self) -> Option<KvSpec> {
        match (self.k, self.v) {
            (CacheType::Fixed(k), CacheType::Fixed(v)) => Some(KvSpec { k, v, mode: self.mode }),
            _ => None,
        }
    }
}

impl From<KvSpec> for AskedCache {
    fn from(KvSpec { k, v, mode }: KvSpec) -> Self {
        Self {
            k: CacheType::Fixed(k),
            v: CacheType::Fixed(v),
            mode,
        }
    }
}

impl FromStr for AskedCache {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        let (types, mode) = match text.split_once('@') {
            None => (text, None),
            Some((types, mode)) => {
                let number = valid_mode(mode).ok_or_else(|| {
                    anyhow!("KV cache `{text}`: `{mode}` is no layer-adaptive mode; modes are 0 to 7")
                })?;
                (types, Some(number))
            }
        };
        let (k, v) = types.split_once('/').unwrap_or((types, types));
        let side = |name: &str| name.parse().map_err(|e| anyhow!("KV cache `{text}`: {e}"));
        Ok(Self {
            k: side(k)?,
            v: side(v)?,
            mode,
        })
    }
}

impl fmt::Display for AskedCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.k)?;
        if self.v != self.k {
            write!(f, "/{}", self.v)?;
        }
        match self.mode {
            Some(mode) => write!(f, "@{mode}"),
            None => Ok(()),
        }
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
        .map(AskedCache::from)
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

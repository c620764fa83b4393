//! Combinations that do not work, or that are known to ruin a model, said before anything is allocated.

use super::KvType;
use crate::engine::ModelMeta;
use std::fmt;

/// A combination that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KvIssue {
    /// No block of the type divides the head size.
    #[error(
        "KV type {ty} cannot store heads of {head_dim} values (layer {layer}): its blocks are {blocks}; types that work: {works}"
    )]
    HeadDim {
        /// The type asked for.
        ty: KvType,
        /// Values per head.
        head_dim: u32,
        /// The first layer concerned.
        layer: usize,
        /// The block sizes of the type.
        blocks: String,
        /// Names of types that can store such heads.
        works: String,
    },
    /// The model keeps compressed latents (MLA) instead of K and V.
    #[error(
        "KV type {ty} does not work with {architecture}: its cache holds MLA latents, which the engine does not rotate, and \
         turbo codebooks need rotated values. Use q8_0 or f16"
    )]
    Mla {
        /// The type asked for.
        ty: KvType,
        /// The model's architecture.
        architecture: String,
    },
    /// The model has a sparse-attention indexer that reads raw keys.
    #[error(
        "KV type {ty} does not work with {architecture}: its sparse-attention indexer keeps raw keys in a cache of the same \
         type. Use q8_0 or f16"
    )]
    Indexer {
        /// The type asked for.
        ty: KvType,
        /// The model's architecture.
        architecture: String,
    },
    /// A device would hand attention over to the CPU.
    #[error(
        "device {device} cannot run attention over a {k}/{v} cache (head size {head_dim}); the whole cache would be copied to \
         the CPU at every token. {}Pairs that run there: {works}. To accept the slow path, pass --allow-cpu-attention \
         (KvCacheConfig::allow_cpu_attention); to keep the cache in main memory, --no-kv-offload",
        because(.faults)
    )]
    DeviceFallback {
        /// The device's name.
        device: String,
        /// Type of K.
        k: KvType,
        /// Type of V.
        v: KvType,
        /// Values per head.
        head_dim: u32,
        /// Pairs that the device runs.
        works: String,
        /// What the device could not build of our kernels ([`DeviceInfo::faults`](crate::DeviceInfo::faults)).
        faults: Vec<String>,
    },
}

/// What a device could not build, and that we want to know: kernels that another machine's compiler took.
fn because(faults: &[String]) -> String {
    if faults.is_empty() {
        return String::new();
    }
    format!(
        "It could not build its kernels: {}. `turboquant verify --report` writes what a bug report needs; until then take \
         another pair. ",
        faults.join("; ")
    )
}

/// Something the user should know about the cache that was made; the context works.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KvNotice {
    /// K was raised to q8_0 to protect a model family with huge K biases.
    KeyGuard {
        /// The model's architecture.
        architecture: String,
        /// What was asked for.
        asked: KvType,
    },
    /// The family loses quality with any quantized K.
    SensitiveKeys {
        /// The model's architecture.
        architecture: String,
        /// The type of K.
        k: KvType,
    },
    /// A layer-adaptive mode was chosen by default.
    DefaultMode {
        /// The mode.
        mode: u8,
    },
    /// Attention runs on the CPU although the layer is on a device; the user accepted it.
    CpuAttention {
        /// The device's name.
        device: String,
    },
}

impl fmt::Display for KvNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyGuard { architecture, asked } => write!(
                f,
                "{architecture} has huge K biases that break every rotated low-bit K (perplexity rises a hundredfold); K is kept at \
                 q8_0 instead of {asked}. Override with --no-kv-guard"
            ),
            Self::SensitiveKeys { architecture, k } => write!(
                f,
                "{architecture} is known to lose quality with a quantized K ({k}); compare with `-ctk f16` before relying on it"
            ),
            Self::DefaultMode { mode } => write!(
                f,
                "V is turbo2: layer-adaptive mode {mode} keeps the V of the first and last layers at q8_0. \
                 TURBO_LAYER_ADAPTIVE=0 or --layer-adaptive 0 turns it off"
            ),
            Self::CpuAttention { device } => {
                write!(
                    f,
                    "attention of the layers on {device} runs on the CPU: expect it to be slow"
                )
            }
        }
    }
}

/// Families whose K biases break rotated low-bit keys.
pub(crate) fn needs_key_guard(meta: &ModelMeta) -> bool {
    matches!(meta.architecture.as_str(), "qwen2" | "qwen2moe" | "qwen2vl")
}

/// Families that lose quality with any quantized K.
pub(crate) fn has_sensitive_keys(meta: &ModelMeta) -> bool {
    meta.architecture == "gpt-oss" || meta.architecture.starts_with("gemma4")
}

/// Refuses turbo types where the engine cannot rotate what the cache holds.
pub(super) fn check_cache_kind(meta: &ModelMeta, ty: KvType) -> Result<(), KvIssue> {
    let architecture = meta.architecture.clone();
    if !ty.is_turbo() {
        Ok(())
    } else if meta.mla {
        Err(KvIssue::Mla { ty, architecture })
    } else if meta.indexer {
        Err(KvIssue::Indexer { ty, architecture })
    } else {
        Ok(())
    }
}

pub(super) fn head_dim_issue(ty: KvType, head_dim: u32, layer: usize) -> KvIssue {
    let works: Vec<&str> = KvType::ALL
        .into_iter()
        .filter(|other| other.layout(head_dim).is_some())
        .map(KvType::name)
        .collect();
    let blocks: Vec<String> = ty.layouts().map(|layout| layout.block.to_string()).collect();
    KvIssue::HeadDim {
        ty,
        head_dim,
        layer,
        blocks: blocks.join(" and "),
        works: works.join(", "),
    }
}

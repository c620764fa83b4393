//! What a user asks of a KV cache, and what that means for a model's layers.

use super::guard::{KvIssue, KvNotice, check_cache_kind, has_sensitive_keys, head_dim_issue, needs_key_guard};
use super::{CacheShape, KvBytes, KvType, LayerPolicy};
use crate::engine::ModelMeta;
use crate::{Error, Result};

/// The KV cache of a context: a type for K, a type for V, and how they spread over the layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvCacheConfig {
    /// Type of K.
    pub k: KvType,
    /// Type of V.
    pub v: KvType,
    /// Which layers get more (or, in a list of their own, other) bits.
    pub layers: LayerPolicy,
    /// One buffer for all sequences instead of one each.
    pub unified: bool,
    /// Full-size caches for sliding-window layers: needed to reuse a prefix after the window moved on.
    pub swa_full: bool,
    /// Keep the cache on the device of its layer (false: in main memory).
    pub offload: bool,
    /// Protect model families that a low-bit K is known to break.
    pub guard: bool,
    /// Accept attention on the CPU for layers on a device that cannot run it.
    pub allow_cpu_attention: bool,
}

impl Default for KvCacheConfig {
    fn default() -> Self {
        Self::uniform(KvType::F16)
    }
}

/// The types of one layer that has a KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct LayerTypes {
    /// The layer's number in the model.
    pub layer: usize,
    /// Type of its K.
    pub k: KvType,
    /// Type of its V.
    pub v: KvType,
}

/// A [`KvCacheConfig`] applied to a model: a type for each side of each KV layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedKv {
    /// The layers that have a KV cache, in order.
    pub layers: Vec<LayerTypes>,
    /// What the user should know.
    pub notices: Vec<KvNotice>,
}

impl KvCacheConfig {
    /// The same type for K and V.
    pub fn uniform(ty: KvType) -> Self {
        Self::asymmetric(ty, ty)
    }

    /// A type for K and another for V.
    pub fn asymmetric(k: KvType, v: KvType) -> Self {
        Self {
            k,
            v,
            layers: LayerPolicy::Auto,
            unified: false,
            swa_full: false,
            offload: true,
            guard: true,
            allow_cpu_attention: false,
        }
    }

    /// With another layer policy.
    #[must_use]
    pub fn with_layers(mut self, layers: LayerPolicy) -> Self {
        self.layers = layers;
        self
    }

    /// Applies the policy and the guards to a model. Nothing is allocated.
    ///
    /// # Errors
    /// A type that cannot store this model's heads, or a cache that turbo types cannot work with.
    pub fn resolve(&self, meta: &ModelMeta) -> Result<ResolvedKv> {
        let mut notices = Vec::new();
        let kv_layers: Vec<usize> = (0..meta.layers.len()).filter(|&layer| meta.layers[layer].kv).collect();
        let mut types = self.layers.resolve(self.k, self.v, kv_layers.len())?;
        if self.guard && needs_key_guard(meta) {
            // by layer, because a map of its own can ask for turbo K where `k` does not
            let turbo = types.iter().map(|(k, _)| *k).find(|k| k.is_turbo());
            if let Some(asked) = turbo {
                notices.push(KvNotice::KeyGuard {
                    architecture: meta.architecture.clone(),
                    asked,
                });
            }
            for (k, _) in types.iter_mut().filter(|(k, _)| k.is_turbo()) {
                *k = KvType::Q8_0;
            }
        }
        let quantized = types.iter().map(|(k, _)| *k).find(|k| k.is_quantized());
        if let Some(k) = quantized.filter(|_| has_sensitive_keys(meta)) {
            notices.push(KvNotice::SensitiveKeys {
                architecture: meta.architecture.clone(),
                k,
            });
        }
        if self.layers == LayerPolicy::Auto
            && let Some(mode @ 1..) = self.layers.effective_mode(self.v)
            && types.iter().any(|(_, v)| *v != self.v)
        {
            notices.push(KvNotice::DefaultMode { mode });
        }
        let layers: Vec<LayerTypes> = kv_layers
            .into_iter()
            .zip(types)
            .map(|(layer, (k, v))| LayerTypes { layer, k, v })
            .collect();
        for types in &layers {
            let layer = &meta.layers[types.layer];
            for (ty, head_dim) in [(types.k, layer.head_dim_k), (types.v, layer.head_dim_v)] {
                check_cache_kind(meta, ty)?;
                if ty.layout(head_dim).is_none() {
                    return Err(head_dim_issue(ty, head_dim, types.layer).into());
                }
            }
        }
        Ok(ResolvedKv { layers, notices })
    }

    /// Bytes the engine will allocate for this cache, to the byte.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub fn bytes(&self, meta: &ModelMeta, n_ctx: u32) -> Result<KvBytes> {
        let shape = CacheShape {
            n_ctx,
            n_ubatch: 512,
            n_seq_max: 1,
            unified: self.unified,
            swa_full: self.swa_full,
        };
        Ok(self.resolve(meta)?.bytes(meta, &shape))
    }

    /// All reasons why this cache cannot work with a model.
    ///
    /// # Errors
    /// The issues, at least one.
    pub fn validate(&self, meta: &ModelMeta) -> Result<(), Vec<KvIssue>> {
        match self.resolve(meta) {
            Err(Error::UnsupportedKv(issue)) => Err(vec![issue]),
            _ => Ok(()),
        }
    }
}

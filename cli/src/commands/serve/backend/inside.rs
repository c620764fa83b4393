//! What an engine tells about its inside, for those who watch it.

use serde_json::{Map, Value};

/// What an engine has counted since it started; None: it does not count that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Models loaded.
    pub loads: Option<u64>,
    /// Models unloaded, for whatever reason.
    pub unloads: Option<u64>,
    /// Batches decoded, over all models.
    pub decodes: Option<u64>,
    /// Slots that had tokens in them, summed over these batches.
    pub decoded_slots: Option<u64>,
}

/// What there is to say about a loaded model beyond its card.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inside {
    /// What its template can do, by llama.cpp's names: `supports_tools`, `supports_system_role`, ...
    pub template_caps: Map<String, Value>,
    /// Types of K and V by layer, by their ggml names; layers without a cache are left out.
    pub kv_layers: Vec<KvLayer>,
    /// Which pairs of types run on which device, for heads of this model's size.
    pub kv_supported: Vec<KvDevice>,
    /// Bytes that one more token would cost in a cache of f16, over all layers; None: it has no cache.
    pub kv_bytes_per_token_f16: Option<f64>,
}

/// The cache of one layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvLayer {
    /// Number of the layer, from 0.
    pub layer: u32,
    /// Type of K.
    pub type_k: String,
    /// Type of V.
    pub type_v: String,
}

/// The caches that one device runs attention over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvDevice {
    /// Name of the device: `CPU`, `CUDA0`.
    pub device: String,
    /// Types of K and V.
    pub pairs: Vec<(String, String)>,
}

//! What a model is, as the engine reads it from its file.

use super::model::Token;
use serde::{Deserialize, Serialize};

/// Facts about a model that planning, guards and clients need.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // names are the field's standard terms; units are tokens, values or bytes
pub struct ModelMeta {
    pub architecture: String,
    pub name: String,
    /// One line: architecture, size class, weight type.
    pub description: String,
    pub n_params: u64,
    /// Bytes of all tensors.
    pub size: u64,
    /// Hash of the metadata and of one small tensor: tells a fine-tune from its base.
    pub fingerprint: String,
    pub n_ctx_train: u32,
    pub n_embd: u32,
    /// Values of an embedding that comes out.
    pub n_embd_out: u32,
    pub n_layer: u32,
    /// Layers including those of a built-in draft head.
    pub n_layer_all: u32,
    pub n_vocab: u32,
    /// Window of sliding-window layers, 0 if there are none.
    pub n_swa: u32,
    pub swa: bool,
    /// The cache holds MLA latents.
    pub mla: bool,
    /// The model has a sparse-attention indexer.
    pub indexer: bool,
    pub recurrent: bool,
    pub hybrid: bool,
    pub encoder: bool,
    pub decoder: bool,
    pub softcap: bool,
    /// Positions can be shifted (plain RoPE).
    pub can_shift: bool,
    pub layers: Vec<LayerMeta>,
    pub bos: Token,
    pub eos: Token,
    pub eot: Token,
    pub add_bos: bool,
    /// The file carries a chat template.
    pub chat_template: bool,
    /// How the embeddings of a text's tokens become one.
    pub pooling: Pooling,
    /// Scores the classifier of a reranking model gives, 0 without one.
    pub n_cls_out: u32,
    pub fim: FimTokens,
}

/// How the embeddings of a text's tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Pooling {
    /// The model does not say: it was not made for embeddings.
    None,
    Mean,
    /// The first token's.
    Cls,
    /// The last token's.
    Last,
    /// A classifier scores the text.
    Rank,
}

/// The tokens of fill-in-the-middle prompts; negative: the model has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct FimTokens {
    pub prefix: Token,
    pub suffix: Token,
    pub middle: Token,
    pub pad: Token,
    pub repo: Token,
    /// Between files.
    pub separator: Token,
}

/// One layer, as far as memory and attention depend on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct LayerMeta {
    /// Has a KV cache of its own in the main context.
    pub kv: bool,
    pub recurrent: bool,
    /// Bytes of recurrent state per sequence.
    pub recurrent_bytes: u64,
    /// Sliding-window attention.
    pub swa: bool,
    pub rope: bool,
    /// Dimensions that RoPE rotates.
    pub n_rot: u32,
    pub n_head: u32,
    pub n_head_kv: u32,
    pub head_dim_k: u32,
    pub head_dim_v: u32,
    /// The device that holds the layer.
    pub device: String,
}

impl ModelMeta {
    /// The layers that have a KV cache, with their numbers.
    pub fn kv_layers(&self) -> impl Iterator<Item = (usize, &LayerMeta)> {
        self.layers.iter().enumerate().filter(|(_, layer)| layer.kv)
    }
}

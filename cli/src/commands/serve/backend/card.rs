//! What is known of a loaded model.

use serde_json::Value;

use super::Abilities;

/// A loaded model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelCard {
    /// The name clients use.
    pub id: String,
    /// When the model was made available, in seconds since 1970.
    pub created: u64,
    /// Entries in the vocabulary; token ids from requests are checked against it.
    pub n_vocab: u32,
    /// Tokens one request may use, prompt and answer together.
    pub n_ctx: u32,
    /// Tokens all requests together may use.
    pub n_ctx_total: u32,
    /// Requests served at once.
    pub slots: u32,
    /// Tokens the model was trained for.
    pub n_ctx_train: u32,
    /// Width of the residual stream, and of an embedding.
    pub n_embd: u32,
    /// Weights in the model.
    pub n_params: u64,
    /// Bytes of the weights.
    pub size: u64,
    /// How the KV cache is stored.
    pub kv: KvCard,
    /// What the model can do.
    pub abilities: Abilities,
    /// LoRA adapters that are loaded with it; their numbers are below this one.
    pub loras: u32,
}

impl ModelCard {
    /// The same model for a request that may use no more than `n_ctx` tokens; None: all that it is loaded with.
    #[must_use]
    pub fn within(mut self, n_ctx: Option<u32>) -> Self {
        self.n_ctx = n_ctx.map_or(self.n_ctx, |n_ctx| n_ctx.min(self.n_ctx));
        self
    }

    /// The token a number from a request names, if the vocabulary has it. Ids go to C code that
    /// does not look.
    pub fn token(&self, value: &Value) -> Option<i32> {
        let token = value.as_u64().filter(|&token| token < u64::from(self.n_vocab))?;
        i32::try_from(token).ok()
    }
}

/// How the KV cache of a model is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct KvCard {
    /// Type of K, by its ggml name; of the majority of layers when a layer policy is in force.
    pub type_k: String,
    /// Type of V, likewise.
    pub type_v: String,
    /// Bytes one more token costs, over all layers. A fraction, because block formats share their
    /// scales.
    pub bytes_per_token: f64,
}

//! What is known of a model that is on offer, loaded or not.

use std::time::SystemTime;

use serde_json::{Map, Value};

/// A model on offer, as lists show it. Read from the head of its file.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// The name clients use.
    pub id: String,
    /// When its file was last written.
    pub modified: SystemTime,
    /// Bytes of its files.
    pub size: u64,
    /// Identity of the file, 64 hex digits: the SHA-256 that it was downloaded under or, without one, of its metadata and size.
    pub digest: String,
    /// Architecture, as GGUF names it: `llama`, `qwen3`.
    pub architecture: String,
    /// Type of most weights: `Q4_K_M`.
    pub quantization: String,
    /// Weights in the model.
    pub n_params: u64,
    /// Entries in the vocabulary.
    pub n_vocab: u32,
    /// Tokens the model was trained for.
    pub n_ctx_train: u32,
    /// Width of the residual stream.
    pub n_embd: u32,
    /// What it can do.
    pub abilities: Abilities,
}

/// What clients are told of an image that a model does not take, after where it was found.
pub const NO_IMAGES: &str = "is an image, which this model does not take: it is served without a projector (--mmproj)";

/// What a model can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// Go on with a text.
    pub completion: bool,
    /// Its template takes tools.
    pub tools: bool,
    /// Its template has a part for reasoning.
    pub thinking: bool,
    /// It has tokens for fill-in-the-middle prompts.
    pub insert: bool,
    /// It was made for embeddings.
    pub embedding: bool,
    /// It was made for reranking.
    pub rerank: bool,
    /// It takes images.
    pub vision: bool,
    /// It takes audio.
    pub audio: bool,
}

/// All there is to say about a model on offer.
#[derive(Clone, Debug, PartialEq)]
pub struct Details {
    /// What lists show.
    pub offer: Offer,
    /// The chat template, Jinja; None: it has none.
    pub template: Option<String>,
    /// A system prompt that was given to an alias.
    pub system: Option<String>,
    /// Options that were given to an alias, by Ollama's names.
    pub parameters: Map<String, Value>,
    /// The licence text, where the file has one.
    pub license: Option<String>,
    /// The file's metadata by GGUF's names, long arrays left out.
    pub metadata: Map<String, Value>,
    /// The file, for display.
    pub file: String,
    /// What an alias was made from.
    pub parent: Option<String>,
}

//! Texts in, numbers out: embeddings and reranking.

use llama_turboquant::CancelToken;

use super::Prompt;

/// Texts to embed.
#[derive(Clone, Debug)]
pub struct EmbedJob {
    /// Id of the model, as on its card.
    pub model: String,
    /// The texts; none is empty.
    pub inputs: Vec<Prompt>,
    /// Tokens that a text may have, as on the card of the request. None: as many as the model is loaded with.
    pub n_ctx: Option<u32>,
    /// Cut a text that is longer than the context. Otherwise it is an error.
    pub truncate: bool,
    /// Set when the client has gone.
    pub cancel: CancelToken,
}

/// Embeddings in the order of the texts.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    /// One vector of length 1 for each text.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens of all texts.
    pub n_tokens: u32,
}

/// Documents to order by what they have to do with a query.
#[derive(Clone, Debug)]
pub struct RerankJob {
    /// Id of the model, as on its card.
    pub model: String,
    /// What is looked for.
    pub query: String,
    /// Where.
    pub documents: Vec<String>,
    /// Set when the client has gone.
    pub cancel: CancelToken,
}

/// Scores in the order of the documents; larger is better.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// One for each document.
    pub scores: Vec<f32>,
    /// Tokens of all texts.
    pub n_tokens: u32,
}

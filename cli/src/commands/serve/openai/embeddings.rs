//! `/v1/embeddings`: the request and the answer.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use llama_turboquant::embed::normalize;
use serde::Serialize;
use serde_json::{Map, Value};

use super::prompts::prompts;
use crate::commands::serve::backend::{CancelToken, EmbedJob, Embeddings, ModelCard, Prompt};
use crate::commands::serve::body::Fields;
use crate::commands::serve::error::ApiError;

/// A valid request.
#[derive(Clone, Debug)]
pub struct EmbeddingsRequest {
    base64: bool,
    dimensions: Option<usize>,
}

impl EmbeddingsRequest {
    /// Checks a body that may have at most `limit` texts; returns the job with it. A text that is too long is an error: nothing
    /// is cut silently.
    pub fn parse(
        body: &Map<String, Value>,
        card: &ModelCard,
        limit: usize,
        cancel: CancelToken,
    ) -> Result<(Self, EmbedJob), ApiError> {
        let fields = Fields(body);
        let base64 = match fields.str("encoding_format")? {
            None | Some("float") => false,
            Some("base64") => true,
            Some(_) => return Err(ApiError::param("encoding_format", "must be 'float' or 'base64'")),
        };
        let dimensions = fields.int("dimensions", 1..=i64::from(u32::MAX))?;
        let inputs = prompts(fields, "input", card)?;
        if inputs
            .iter()
            .any(|input| matches!(input, Prompt::Text(text) if text.is_empty()))
        {
            return Err(ApiError::param("input", "must not have an empty string"));
        }
        if inputs.len() > limit {
            return Err(ApiError::param("input", format_args!("may have at most {limit} texts")));
        }
        let job = EmbedJob {
            model: card.id.clone(),
            inputs,
            n_ctx: Some(card.n_ctx),
            truncate: false,
            cancel,
        };
        Ok((Self { base64, dimensions }, job))
    }

    /// The answer as it was asked for: fewer dimensions are the first ones, scaled to length 1 again.
    pub fn answer(&self, model: &str, embeddings: Embeddings) -> Result<EmbeddingsAnswer, ApiError> {
        let mut data = Vec::with_capacity(embeddings.vectors.len());
        for (index, mut vector) in embeddings.vectors.into_iter().enumerate() {
            if let Some(dimensions) = self.dimensions {
                if dimensions > vector.len() {
                    let message = format!("must be at most {}, the size of this model's embeddings", vector.len());
                    return Err(ApiError::param("dimensions", message));
                }
                vector.truncate(dimensions);
                normalize(&mut vector);
            }
            data.push(Item {
                object: "embedding",
                index,
                embedding: if self.base64 {
                    Vector::Base64(encode(&vector))
                } else {
                    Vector::Float(vector)
                },
            });
        }
        Ok(EmbeddingsAnswer {
            object: "list",
            data,
            model: model.to_owned(),
            usage: Usage::of(embeddings.n_tokens),
        })
    }
}

/// Little-endian floats, whatever the machine.
fn encode(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
    STANDARD.encode(bytes)
}

/// The body of an answer.
#[derive(Debug, Serialize)]
pub struct EmbeddingsAnswer {
    object: &'static str,
    data: Vec<Item>,
    model: String,
    usage: Usage,
}

#[derive(Debug, Serialize)]
struct Item {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Vector {
    Float(Vec<f32>),
    Base64(String),
}

/// Tokens of an answer that generates none.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Usage {
    prompt_tokens: u32,
    total_tokens: u32,
}

impl Usage {
    /// For this many tokens of input.
    pub fn of(n_tokens: u32) -> Self {
        Self {
            prompt_tokens: n_tokens,
            total_tokens: n_tokens,
        }
    }
}

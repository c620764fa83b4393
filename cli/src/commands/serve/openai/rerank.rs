//! `/v1/rerank`: the request and the answer, as Jina and Cohere have them, and as Hugging Face's text-embeddings-inference
//! has it when the documents are called `texts`.

use serde_json::{Map, Value, json};

use super::embeddings::Usage;
use crate::commands::serve::backend::{CancelToken, ModelCard, RerankJob, Scores};
use crate::commands::serve::body::Fields;
use crate::commands::serve::error::ApiError;

/// A valid request.
#[derive(Clone, Debug)]
pub struct RerankRequest {
    top_n: usize,
    return_documents: bool,
    /// `texts` was sent, and its sender reads another answer.
    texts: bool,
}

impl RerankRequest {
    /// Checks a body that may have at most `limit` documents; returns the job with it.
    pub fn parse(
        body: &Map<String, Value>,
        card: &ModelCard,
        limit: usize,
        cancel: CancelToken,
    ) -> Result<(Self, RerankJob), ApiError> {
        let fields = Fields(body);
        let query = fields.str("query")?.filter(|query| !query.is_empty());
        let query = query.ok_or_else(|| ApiError::param("query", "is required"))?;
        let texts = fields.get("documents").is_none() && fields.get("texts").is_some();
        let name = if texts { "texts" } else { "documents" };
        let documents = fields
            .array(name)?
            .ok_or_else(|| ApiError::param(name, "is required"))?;
        if documents.is_empty() {
            return Err(ApiError::param(name, "must not be empty"));
        }
        if documents.len() > limit {
            return Err(ApiError::param(name, format_args!("may have at most {limit} entries")));
        }
        let documents: Vec<String> = documents
            .iter()
            .map(|document| text(document).map(str::to_owned))
            .collect::<Option<_>>()
            .ok_or_else(|| ApiError::param(name, "must be strings, or objects with a 'text'"))?;
        let top_n = fields.int("top_n", 1..=i64::from(u32::MAX))?;
        let wants_text = if texts { "return_text" } else { "return_documents" };
        let request = Self {
            top_n: top_n.unwrap_or(usize::MAX).min(documents.len()),
            return_documents: fields.bool(wants_text)?.unwrap_or(false),
            texts,
        };
        let job = RerankJob {
            model: card.id.clone(),
            query: query.to_owned(),
            documents,
            cancel,
        };
        Ok((request, job))
    }

    /// The answer: best first, equal scores in the order of the documents.
    pub fn answer(&self, model: &str, documents: &[String], scores: &Scores) -> Value {
        let mut order: Vec<(usize, f32)> = scores.scores.iter().copied().enumerate().collect();
        order.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        let results = order.into_iter().take(self.top_n).map(|(index, score)| {
            let mut result = json!({ "index": index, (if self.texts { "score" } else { "relevance_score" }): score });
            if let Some(document) = documents.get(index).filter(|_| self.return_documents) {
                if self.texts {
                    result["text"] = json!(document);
                } else {
                    result["document"] = json!({ "text": document });
                }
            }
            result
        });
        let results: Vec<Value> = results.collect();
        if self.texts {
            return json!(results);
        }
        json!({ "object": "list", "model": model, "results": results, "usage": Usage::of(scores.n_tokens) })
    }
}

fn text(document: &Value) -> Option<&str> {
    document.as_str().or_else(|| document.get("text")?.as_str())
}

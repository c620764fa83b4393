//! Embeddings and rerank scores of a loaded model. They have a context of their own, beside the slots': it is made at the
//! first request, grows with the longest text, and stays as long as the model.

use super::turn::Turn;
use super::{backend_error, saturate};
use crate::commands::serve::backend::{BackendError, EmbedJob, Embeddings, ModelMemory, Prompt, RerankJob, Scores};
use llama_turboquant::embed::{Embedder, EmbedderConfig, Overlong};
use llama_turboquant::engine::MemoryUse;
use llama_turboquant::{Context, Error, LoraSet, Model, Pooling};
use std::sync::{Mutex, Once, PoisonError};

/// The embedder of a loaded model, or why it has none.
pub(super) struct Vectors {
    embedder: Result<Turn<Embedder>, String>,
    memory: Mutex<ModelMemory>,
    told: Once,
}

impl Vectors {
    /// Of the model that `context` serves, with its cache types, threads and limit of tokens.
    pub(super) fn new(context: &Context, queue_limit: usize) -> Self {
        let served = context.config();
        let config = EmbedderConfig {
            max_tokens: context.n_ctx_seq(),
            n_threads: served.n_threads_batch,
            kv: served.kv.clone(),
            ..EmbedderConfig::default()
        };
        Self {
            embedder: Embedder::new(context.model(), config)
                .map(|embedder| Turn::new(embedder, queue_limit))
                .map_err(|error| error.to_string()),
            memory: Mutex::default(),
            told: Once::new(),
        }
    }

    /// What its context occupies now; the weights are counted with the model.
    pub(super) fn memory(&self) -> ModelMemory {
        *self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Embeds texts with these adapters. Blocks.
    pub(super) fn embed(&self, job: &EmbedJob, loras: &LoraSet) -> Result<Embeddings, BackendError> {
        self.embedder()?.run(&job.cancel, |embedder| {
            embedder.set_loras(loras).map_err(vector_error)?;
            self.note_pooling(embedder.model());
            let overlong = if job.truncate { Overlong::Cut } else { Overlong::Refuse };
            let most = job.n_ctx.map_or(usize::MAX, |n_ctx| n_ctx as usize);
            let most = most.min(embedder.max_tokens());
            let tokens = |input: &Prompt| {
                let mut tokens = match input {
                    Prompt::Text(text) => embedder.tokenize(text, overlong).map_err(vector_error)?,
                    Prompt::Tokens(tokens) => tokens.clone(),
                    Prompt::Infill(_) => return Err(BackendError::invalid("a place to fill cannot be embedded")),
                };
                if job.truncate {
                    embedder.cut_to(&mut tokens, most);
                }
                match tokens.len() {
                    n if n > most => Err(BackendError::ContextOverflow {
                        n_prompt: saturate(n),
                        n_ctx: saturate(most),
                    }),
                    _ => Ok(tokens),
                }
            };
            let texts: Vec<_> = job.inputs.iter().map(tokens).collect::<Result<_, _>>()?;
            let answer = embedder.embed(&texts, &job.cancel);
            self.measure(embedder)?;
            let answer = answer.map_err(vector_error)?;
            Ok(Embeddings {
                vectors: answer.vectors,
                n_tokens: saturate(answer.n_tokens),
            })
        })
    }

    /// Scores documents with these adapters. Blocks.
    pub(super) fn rerank(&self, job: &RerankJob, loras: &LoraSet) -> Result<Scores, BackendError> {
        self.embedder()?.run(&job.cancel, |embedder| {
            embedder.set_loras(loras).map_err(vector_error)?;
            let documents: Vec<&str> = job.documents.iter().map(String::as_str).collect();
            let answer = embedder.rank(&job.query, &documents, &job.cancel);
            self.measure(embedder)?;
            let answer = answer.map_err(vector_error)?;
            Ok(Scores {
                scores: answer.scores,
                n_tokens: saturate(answer.n_tokens),
            })
        })
    }

    fn embedder(&self) -> Result<&Turn<Embedder>, BackendError> {
        self.embedder
            .as_ref()
            .map_err(|why| BackendError::NotSupported(why.clone()))
    }

    fn measure(&self, embedder: &Embedder) -> Result<(), BackendError> {
        let used = embedder.memory_use().map_err(backend_error)?;
        let memory = used.as_ref().map(occupied).unwrap_or_default();
        *self.memory.lock().unwrap_or_else(PoisonError::into_inner) = memory;
        Ok(())
    }

    fn note_pooling(&self, model: &Model) {
        if model.meta().pooling == Pooling::None {
            self.told.call_once(|| {
                tracing::warn!(
                    "this model was not made for embeddings: a text gets the mean of its tokens' vectors, which knows its topic \
                     but little more"
                );
            });
        }
    }
}

/// Bytes of a context, weights left out.
pub(super) fn occupied(used: &MemoryUse) -> ModelMemory {
    let sum = |buffers: &std::collections::BTreeMap<String, u64>| buffers.values().sum();
    let gpu = [&used.kv, &used.compute].map(MemoryUse::on_cards);
    ModelMemory {
        weights: 0,
        kv: sum(&used.kv),
        compute: sum(&used.compute),
        gpu: gpu.iter().sum(),
    }
}

/// What the model cannot do is no mistake in the request.
fn vector_error(error: Error) -> BackendError {
    match error {
        Error::Unsupported(why) => BackendError::NotSupported(why),
        other => backend_error(other),
    }
}

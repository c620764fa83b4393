//! Log-probabilities of the tokens of a prompt, for `echo` together with `logprobs`. The slots compute no logits inside a
//! prompt and skip what their cache holds of it, so this is a pass of its own, in a context of its own.

use super::turn::Turn;
use super::{backend_error, embed};
use crate::commands::serve::backend::{BackendError, ModelMemory, TokenLogprob};
use llama_turboquant::engine::sampler::Logprobs;
use llama_turboquant::{Batch, CancelToken, Context, ContextConfig, KvCacheConfig, LoraSet, Model, Result, Token};
use std::sync::{Mutex, PoisonError};

/// Tokens of the smallest context.
const SMALLEST: usize = 512;

/// Bytes of logits a batch may have.
const LOGITS: u64 = 64 << 20;

/// Scores the prompts of a loaded model, one at a time.
pub(super) struct Scorer {
    model: Model,
    threads: u32,
    kv: KvCacheConfig,
    context: Turn<Option<Context>>,
    memory: Mutex<ModelMemory>,
}

impl Scorer {
    /// With the cache types of the context that serves: the numbers are those of the model as it is served.
    pub(super) fn new(served: &Context, queue_limit: usize) -> Self {
        Self {
            model: served.model().clone(),
            threads: served.config().n_threads_batch,
            kv: served.config().kv.clone(),
            context: Turn::new(None, queue_limit),
            memory: Mutex::default(),
        }
    }

    /// What its context occupies now.
    pub(super) fn memory(&self) -> ModelMemory {
        *self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One entry per token of `prompt` under these adapters, with `top` alternatives each. The first has no probability: nothing is before it.
    /// Blocks.
    pub(super) fn score(
        &self,
        prompt: &[Token],
        loras: &LoraSet,
        top: usize,
        cancel: &CancelToken,
    ) -> Result<Vec<TokenLogprob>, BackendError> {
        self.context.run(cancel, |kept| {
            let mut context = match kept.take() {
                Some(context) if context.n_ctx() as usize >= prompt.len() => context,
                smaller => {
                    drop(smaller); // before the larger one is made
                    self.create(prompt.len()).map_err(backend_error)?
                }
            };
            context.set_loras(loras).map_err(backend_error)?;
            context.set_cancel(Some(cancel.clone()));
            let scores = self.compute(&mut context, prompt, top);
            context.set_cancel(None);
            context.memory().remove_all(0);
            if let Ok(used) = context.memory_use() {
                *self.memory.lock().unwrap_or_else(PoisonError::into_inner) = embed::occupied(&used);
            }
            *kept = Some(context);
            scores.map_err(backend_error)
        })
    }

    fn create(&self, n_prompt: usize) -> Result<Context> {
        let n_ctx = u32::try_from(n_prompt.next_power_of_two().max(SMALLEST)).unwrap_or(u32::MAX);
        let affordable = LOGITS / (4 * u64::from(self.model.meta().n_vocab.max(1)));
        let n_batch = u32::try_from(affordable.clamp(32, 512)).unwrap_or(512);
        self.model.context(ContextConfig {
            n_ctx,
            n_batch,
            n_ubatch: n_batch,
            n_seq_max: 1,
            n_threads: self.threads,
            n_threads_batch: self.threads,
            kv: self.kv.clone(),
            ..ContextConfig::default()
        })
    }

    fn compute(&self, context: &mut Context, prompt: &[Token], top: usize) -> Result<Vec<TokenLogprob>> {
        let mut scores = Vec::with_capacity(prompt.len());
        if let Some(&first) = prompt.first() {
            scores.push(super::answer::token_logprob(&self.model, first, None));
        }
        let n_batch = context.n_batch() as usize;
        let mut batch = Batch::new(n_batch);
        // the logits after the last token are the completion's
        let before = &prompt[..prompt.len().saturating_sub(1)];
        for (chunk, tokens) in before.chunks(n_batch).enumerate() {
            let start = chunk * n_batch;
            batch.clear();
            for (i, &token) in tokens.iter().enumerate() {
                batch.push(token, (start + i) as i32, 0, true);
            }
            context.decode(&batch)?;
            for entry in 0..tokens.len() {
                let next = prompt[start + entry + 1];
                let logprobs = Logprobs::read(context, entry, top, next)?;
                scores.push(super::answer::token_logprob(&self.model, next, Some(&logprobs)));
            }
        }
        Ok(scores)
    }
}

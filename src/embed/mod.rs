//! Texts in, numbers out: embeddings, and the scores of reranking models.
//!
//! An [`Embedder`] owns the context it needs: small, made at the first request, and grown only when a longer text comes. Several
//! texts are computed at once, as sequences of one batch.
//!
//! ```
//! use llama_turboquant::embed::{Embedder, EmbedderConfig, Overlong, cosine};
//! use llama_turboquant::engine::synth::SynthParams;
//! use llama_turboquant::{CancelToken, Model};
//!
//! # fn main() -> llama_turboquant::Result<()> {
//! # let folder = std::env::temp_dir().join(format!("embed-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! # let path = folder.join("tiny.gguf");
//! SynthParams { heads: 4, head_dim: 64, ..SynthParams::default() }.write(&path)?; // random weights: shapes, no sense
//! let mut embedder = Embedder::new(&Model::load(&path)?, EmbedderConfig::default())?;
//! let answer = embedder.embed_texts(&["a turtle", "a fox"], Overlong::Refuse, &CancelToken::new())?;
//!
//! assert_eq!(answer.vectors.len(), 2);
//! assert_eq!(answer.vectors[0].len(), embedder.dimensions());
//! assert!((cosine(&answer.vectors[0], &answer.vectors[0]) - 1.0).abs() < 1e-5); // of length 1
//! # drop(embedder);
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok(())
//! # }
//! ```
//!
//! # Pooling
//! The model says how the vectors of a text's tokens become one: their mean, the first, or the last. A model that does not say
//! is a language model not made for embeddings. It gets the mean: the last token's vector is mostly about the next word, the
//! first token's has seen nothing. Such vectors order texts by topic, roughly; a model made for the purpose does it well.

mod loras;
mod memory;
mod pair;
mod pooling;

pub use pooling::{cosine, normalize};

use crate::engine::MemoryUse;
use crate::{
    Batch, CancelToken, Context, ContextConfig, Error, KvCacheConfig, KvType, LoraSet, Model, Output, Pooling, Result,
    Token,
};
use memory::{Sizes, groups};
use pair::PairFormat;
use pooling::Pool;

/// How an [`Embedder`] works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbedderConfig {
    /// Tokens a text may have; 0, or more than the model was trained with: what it was trained with.
    pub max_tokens: u32,
    /// Texts computed at once, at most.
    pub max_texts: u32,
    /// Threads; 0: the physical cores this process may use.
    pub n_threads: u32,
    /// The cache of models that have one: language models, and those made from them. Encoders have none.
    pub kv: KvCacheConfig,
}

impl Default for EmbedderConfig {
    fn default() -> Self {
        Self {
            max_tokens: 0,
            max_texts: 8,
            n_threads: 0,
            kv: KvCacheConfig::uniform(KvType::F16),
        }
    }
}

/// What to do with a text that has more tokens than [`Embedder::max_tokens`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlong {
    /// [`Error::ContextFull`].
    Refuse,
    /// Leave out its end; a closing special token is kept.
    Cut,
}

/// Vectors of length 1, in the order of the texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    /// One for each text.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens of all texts, special ones included.
    pub n_tokens: usize,
}

/// Scores in the order of the documents; larger is better.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranking {
    /// The first output of the model's classifier for each document. Most models give a logit of any size, some (Qwen3) a
    /// probability.
    pub scores: Vec<f32>,
    /// Tokens of all pairs of query and document.
    pub n_tokens: usize,
}

/// Embeds texts with one model, or ranks documents with a reranking one. One call at a time.
#[derive(Debug)]
pub struct Embedder {
    model: Model,
    config: EmbedderConfig,
    max_tokens: usize,
    /// The whole of a text has to be in one graph.
    whole: bool,
    context: Option<Context>,
    loras: LoraSet,
}

impl Embedder {
    /// An embedder over `model`. Allocates nothing yet.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a model of an encoder and a decoder (T5): neither half alone embeds.
    pub fn new(model: &Model, config: EmbedderConfig) -> Result<Self> {
        let meta = model.meta();
        if meta.encoder && meta.decoder {
            return Err(Error::Unsupported(format!(
                "{} models have an encoder and a decoder, and embed with neither; load one made for embeddings",
                meta.architecture
            )));
        }
        let trained = meta.n_ctx_train.max(1);
        let max_tokens = match config.max_tokens {
            0 => trained,
            // learned positions end there, and the engine does not check
            n => n.min(trained),
        };
        Ok(Self {
            model: model.clone(),
            max_tokens: max_tokens as usize,
            whole: matches!(meta.pooling, Pooling::Mean | Pooling::Cls | Pooling::Rank) || !is_causal(model)?,
            config,
            context: None,
            loras: LoraSet::default(),
        })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Values of a vector.
    pub fn dimensions(&self) -> usize {
        self.model.meta().n_embd_out as usize
    }

    /// Tokens a text may have, special ones included.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// What the context has allocated, weights included; `None` while there is none.
    ///
    /// # Errors
    /// As [`Context::memory_use`].
    pub fn memory_use(&self) -> Result<Option<MemoryUse>> {
        self.context.as_ref().map(Context::memory_use).transpose()
    }

    /// The tokens that stand for a text: with those the model wants around it, and with special tokens read where they are
    /// spelled out, as some models (Qwen3-Embedding) have their users write the closing one.
    ///
    /// # Errors
    /// As [`Model::tokenize`]; [`Error::ContextFull`] for a text that is too long, unless it is to be cut.
    pub fn tokenize(&self, text: &str, overlong: Overlong) -> Result<Vec<Token>> {
        let mut tokens = self.model.tokenize(text, true, true)?;
        if overlong == Overlong::Cut {
            self.cut(&mut tokens);
        }
        self.check_length(tokens.len())?;
        Ok(tokens)
    }

    /// Shortens tokens to [`max_tokens`](Self::max_tokens); a closing special token is kept.
    pub fn cut(&self, tokens: &mut Vec<Token>) {
        self.cut_to(tokens, self.max_tokens);
    }

    /// Shortens tokens to `n`; a closing special token is kept.
    pub fn cut_to(&self, tokens: &mut Vec<Token>, n: usize) {
        if tokens.len() <= n {
            return;
        }
        let last = tokens.last().copied();
        tokens.truncate(n);
        if let (Some(end), Some(last)) = (tokens.last_mut(), last)
            && self.model.is_control(last)
        {
            *end = last;
        }
    }

    /// Embeds texts. An empty text is embedded as what the model puts around it; if that is nothing, it is an error.
    ///
    /// # Errors
    /// As [`tokenize`](Self::tokenize) and [`embed`](Self::embed).
    pub fn embed_texts(&mut self, texts: &[&str], overlong: Overlong, cancel: &CancelToken) -> Result<Embeddings> {
        let texts: Vec<Vec<Token>> = texts
            .iter()
            .map(|text| self.tokenize(text, overlong))
            .collect::<Result<_>>()?;
        self.embed(&texts, cancel)
    }

    /// Embeds texts given as tokens.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a reranking model; [`Error::ContextFull`] for a text that is too long; [`Error::Invalid`] for
    /// one without tokens, or with some that do not exist; [`Error::Cancelled`]; as [`Context::new`] and [`Context::decode`].
    pub fn embed(&mut self, texts: &[Vec<Token>], cancel: &CancelToken) -> Result<Embeddings> {
        let pooling = match self.model.meta().pooling {
            Pooling::Rank => {
                return Err(Error::Unsupported(
                    "this model scores pairs of query and document and has no embeddings; load one made for embeddings"
                        .into(),
                ));
            }
            pooling => pooling,
        };
        let mut vectors = Vec::with_capacity(texts.len());
        self.each_group(texts, cancel, |embedder, group, context| {
            vectors.extend(embedder.pooled(context, group, pooling)?);
            Ok(())
        })?;
        for vector in &mut vectors {
            normalize(vector);
            if vector.iter().any(|value| !value.is_finite()) {
                return Err(Error::Engine("the model gave an embedding that is not a number".into()));
            }
        }
        let n_tokens = texts.iter().map(Vec::len).sum();
        Ok(Embeddings { vectors, n_tokens })
    }

    /// Scores documents by what they have to do with `query`. Query and document become one text as the model's `rerank`
    /// template has it or, without one, with the tokens that the tokenizer puts between two texts.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a model without a classifier, with what to load; otherwise as [`embed`](Self::embed).
    pub fn rank(&mut self, query: &str, documents: &[&str], cancel: &CancelToken) -> Result<Ranking> {
        if self.model.meta().pooling != Pooling::Rank {
            return Err(Error::Unsupported(
                "this model has no classifier to score documents with; load a reranking model (pooling type rank), such as \
                 bge-reranker-v2-m3 or Qwen3-Reranker"
                    .into(),
            ));
        }
        let format = PairFormat::of(&self.model)?;
        let pairs: Vec<Vec<Token>> = documents
            .iter()
            .map(|document| format.tokenize(&self.model, query, document))
            .collect::<Result<_>>()?;
        let mut scores = Vec::with_capacity(pairs.len());
        self.each_group(&pairs, cancel, |_, group, context| {
            decode_whole(context, group)?;
            for seq in 0..group.len() {
                let score = context.rank(seq as i32).and_then(|scores| scores.first());
                match score {
                    Some(score) if score.is_finite() => scores.push(*score),
                    _ => return Err(Error::Engine("the model's classifier gave no score".into())),
                }
            }
            Ok(())
        })?;
        let n_tokens = pairs.iter().map(Vec::len).sum();
        Ok(Ranking { scores, n_tokens })
    }

    fn check_length(&self, n_prompt: usize) -> Result<()> {
        if n_prompt > self.max_tokens {
            return Err(Error::ContextFull {
                n_prompt,
                n_ctx: self.max_tokens,
            });
        }
        Ok(())
    }

    /// Calls `compute` for as many texts at a time as fit, in order, each time with an empty cache.
    fn each_group(
        &mut self,
        texts: &[Vec<Token>],
        cancel: &CancelToken,
        mut compute: impl FnMut(&Self, &[Vec<Token>], &mut Context) -> Result<()>,
    ) -> Result<()> {
        let mut longest = 0;
        for text in texts {
            if text.is_empty() {
                return Err(Error::Invalid("a text to embed has no tokens".into()));
            }
            self.check_length(text.len())?;
            longest = longest.max(text.len());
        }
        if texts.is_empty() {
            return Ok(());
        }
        let mut context = self.take_context(longest)?;
        context.set_loras(&self.loras)?;
        context.set_cancel(Some(cancel.clone()));
        let mut result = Ok(());
        for group in groups(texts, context.n_ctx() as usize, context.config().n_seq_max as usize) {
            if cancel.is_cancelled() {
                result = Err(Error::Cancelled);
                break;
            }
            let texts = &texts[group];
            result = compute(self, texts, &mut context);
            for seq in 0..texts.len() {
                context.memory().remove_all(seq as i32);
            }
            if result.is_err() {
                break;
            }
        }
        context.set_cancel(None);
        self.context = Some(context);
        result
    }

    /// A context that takes a text of `longest` tokens: the one there is, or a larger one.
    fn take_context(&mut self, longest: usize) -> Result<Context> {
        if let Some(context) = self.context.take()
            && context.n_ctx() as usize >= longest
        {
            return Ok(context);
        }
        let context = self.create_context(longest)?;
        // A model without a cache sees nothing of an earlier batch.
        if !self.whole && context.memory_use()?.kv.is_empty() {
            self.whole = true;
            drop(context);
            return self.create_context(longest);
        }
        Ok(context)
    }

    fn create_context(&self, longest: usize) -> Result<Context> {
        let meta = self.model.meta();
        let sizes = Sizes::new(longest, self.whole, meta.n_vocab);
        let mut kv = self.config.kv.clone();
        kv.unified = true; // texts of all lengths share the cells
        self.model.context(ContextConfig {
            n_ctx: sizes.n_ctx,
            n_batch: sizes.n_batch,
            // non-causal attention has to see all of a batch, which the engine asserts
            n_ubatch: sizes.n_batch,
            n_seq_max: self.config.max_texts.max(1),
            n_threads: self.config.n_threads,
            n_threads_batch: self.config.n_threads,
            kv,
            output: match meta.pooling {
                Pooling::Rank => Output::Rank,
                _ => Output::Embeddings,
            },
        })
    }

    /// The pooled vectors of texts that fit the context together.
    fn pooled(&self, context: &mut Context, texts: &[Vec<Token>], pooling: Pooling) -> Result<Vec<Vec<f32>>> {
        let mut pools: Vec<Pool> = texts
            .iter()
            .map(|text| Pool::new(pooling, text.len(), self.dimensions()))
            .collect();
        let entries = texts
            .iter()
            .enumerate()
            .flat_map(|(seq, text)| text.iter().enumerate().map(move |(pos, &token)| (seq, pos, token)));
        let entries: Vec<(usize, usize, Token)> = entries.collect();
        let mut batch = Batch::new(entries.len().min(context.n_batch() as usize));
        for chunk in entries.chunks(context.n_batch() as usize) {
            batch.clear();
            for &(seq, pos, token) in chunk {
                batch.push(token, pos as i32, seq as i32, true);
            }
            context.decode(&batch)?;
            for (entry, &(seq, pos, _)) in chunk.iter().enumerate() {
                if pools[seq].wants(pos) {
                    let vector = context.embedding(entry).ok_or_else(|| {
                        Error::Engine(format!("{} models give no embeddings", self.model.meta().architecture))
                    })?;
                    pools[seq].add(vector);
                }
            }
        }
        Ok(pools.into_iter().map(Pool::finish).collect())
    }
}

/// Whether a token sees only those before it, as far as the file says.
fn is_causal(model: &Model) -> Result<bool> {
    let key = format!("{}.attention.causal", model.meta().architecture);
    Ok(model.metadata()?.get(&key).and_then(|value| value.as_str()) != Some("false"))
}

/// All tokens of all texts in one batch.
fn decode_whole(context: &mut Context, texts: &[Vec<Token>]) -> Result<()> {
    let mut batch = Batch::new(texts.iter().map(Vec::len).sum());
    for (seq, text) in texts.iter().enumerate() {
        for (pos, &token) in text.iter().enumerate() {
            batch.push(token, pos as i32, seq as i32, true);
        }
    }
    context.decode(&batch)
}

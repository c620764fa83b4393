//! One loaded model: its scheduler, its template, and the jobs it takes.

use super::adapters::Adapters;
use super::answer::{self, ChatAnswer, Part, TextAnswer};
use super::embed::{self, Vectors};
use super::score::Scorer;
use super::slots::SlotSettings;
use super::turn::Turn;
use super::{RETRY_AFTER, backend_error, inside, request, saturate, submit_error};
use crate::commands::serve::backend::{
    Abilities, BackendError, ChatJob, ChatPrompt, CompletionJob, EmbedJob, Embeddings, EventStream, Inside, KvCard,
    ModelCard, ModelMemory, PartSender, PromptCacheUse, RerankJob, Running, Scores, SlotStatus, TextPiece, TokenPiece,
    TokenizeJob,
};
use crate::commands::serve::state::unix_time;
use crate::settings::{ModelSettings, human_bytes};
use anyhow::Context as _;
use llama_turboquant::engine::MemoryUse;
use llama_turboquant::engine::chat::{ChatRequest, ChatTemplate};
use llama_turboquant::kv::LayerTypes;
use llama_turboquant::scheduler::{Job, Scheduler, SchedulerConfig, SlotState};
use llama_turboquant::vision::{Projector, ProjectorPlan};
use llama_turboquant::{CancelToken, Context, KvType, Model, ModelMeta, Pooling};
use serde_json::{Value, json};
use std::sync::Arc;

/// Architectures that llama.cpp gives no cache, because they read a text as a whole: encoders and diffusion models. They do
/// not write one word after the other.
const CACHELESS: [&str; 16] = [
    "bert",
    "jina-bert-v2",
    "jina-bert-v3",
    "nomic-bert",
    "nomic-bert-moe",
    "neo-bert",
    "eurobert",
    "wavtokenizer-dec",
    "modern-bert",
    "gemma-embedding",
    "gemma-embedding2",
    "dream",
    "llada",
    "llada-moe",
    "rnd1",
    "clef",
];

/// A loaded model with its scheduler and template.
pub(super) struct Loaded {
    pub(super) scheduler: Scheduler,
    pub(super) template: Option<ChatTemplate>,
    /// With what it sees images.
    pub(super) projector: Option<Projector>,
    /// Requests whose images are read and encoded.
    pub(super) images: Turn<()>,
    /// Images of requests may be fetched from elsewhere.
    pub(super) remote_images: bool,
    pub(super) card: ModelCard,
    pub(super) inside: Inside,
    /// Types of the cache, layer by layer.
    pub(super) kv: Vec<LayerTypes>,
    pub(super) memory: ModelMemory,
    pub(super) slots: SlotSettings,
    pub(super) adapters: Adapters,
    pub(super) vectors: Vectors,
    scorer: Scorer,
}

impl Loaded {
    /// Loads a model that clients will know as `name`, with `template` instead of its own where there is one; at most
    /// `queue_limit` of its jobs wait. Blocks.
    pub(super) fn load(
        name: String,
        template: Option<&str>,
        settings: &ModelSettings,
        queue_limit: usize,
        slots: &SlotSettings,
        projector_plan: Option<&ProjectorPlan>,
        cancel: &CancelToken,
    ) -> anyhow::Result<Self> {
        let model = settings.engine.load(cancel)?;
        let projector = settings.projector.as_ref();
        let projector = projector.map(|projector| projector.load(&model)).transpose()?;
        // what was said of this model beats what was said for all
        let template = match template.or(settings.chat_template.as_deref()) {
            Some(jinja) => Some(
                ChatTemplate::with_override(&model, jinja)
                    .context("the chat template that was given for this model")?,
            ),
            None if model.meta().chat_template => Some(ChatTemplate::from_model(&model)?),
            None => None,
        };
        let adapters = Adapters::load(&settings.loras, &model)?;
        let context = settings.create_context(&model)?;
        let mut memory = with_adapters(occupied(&context)?, &adapters);
        if let Some(plan) = projector_plan {
            memory.weights += plan.bytes();
            memory.gpu += MemoryUse::on_cards(&plan.devices);
        }
        let mut card = card(name, &model, &context, template.as_ref())?;
        // whatever else is known of it: the engine would assert on prompts longer than a batch
        card.abilities.completion &= memory.kv > 0;
        card.abilities.vision = projector.is_some();
        card.loras = adapters.count();
        let kv = context.kv().layers.clone();
        Ok(Self {
            inside: inside::look(&model, &context, template.as_ref())?,
            vectors: Vectors::new(&context, queue_limit),
            scorer: Scorer::new(&context, queue_limit),
            scheduler: Scheduler::with(
                context,
                SchedulerConfig {
                    queue_limit,
                    prompt_cache: slots.prompt_cache,
                    checkpoints: slots.checkpoints,
                    checkpoint_min_step: slots.checkpoint_min_step,
                },
            ),
            slots: slots.clone(),
            adapters,
            template,
            projector,
            images: Turn::new((), queue_limit),
            remote_images: false,
            card,
            kv,
            memory,
        })
    }

    /// One line about what is served.
    pub(super) fn describe(&self) -> String {
        format!(
            "{}: {} tokens of context, {} slots, KV cache {}/{} ({}, {:.0} bytes per token)",
            self.card.id,
            self.card.n_ctx_total,
            self.card.slots,
            self.card.kv.type_k,
            self.card.kv.type_v,
            human_bytes(self.memory.kv),
            self.card.kv.bytes_per_token
        )
    }

    /// What it is doing now.
    pub(super) fn running(&self) -> Running {
        let status = self.scheduler.status();
        let slot = |slot: SlotState| SlotStatus {
            id: saturate(slot.id),
            busy: slot.busy,
            n_cached: saturate(slot.n_cached),
            n_prompt: saturate(slot.n_prompt),
            n_prompt_done: saturate(slot.n_prompt_done),
            n_decoded: saturate(slot.n_decoded),
        };
        Running {
            card: self.card.clone(),
            slots: self.scheduler.slots().into_iter().map(slot).collect(),
            queued: saturate(status.queued),
            queue_limit: saturate(status.queue_limit),
            memory: self.memory(),
            kv_cells_used: saturate(status.cells_used),
            prompt_cache: PromptCacheUse {
                limit: status.prompt_cache.limit,
                entries: saturate(status.prompt_cache.entries),
                tokens: status.prompt_cache.tokens as u64,
                bytes: status.prompt_cache.bytes,
                hits: status.prompt_cache.hits,
                tokens_saved: status.prompt_cache.tokens_saved,
                checkpoints: saturate(status.prompt_cache.checkpoints),
                checkpoint_bytes: status.prompt_cache.checkpoint_bytes,
            },
            expires: None,
        }
    }

    /// What it occupies, with the contexts that were made on demand.
    fn memory(&self) -> ModelMemory {
        let on_demand = [self.vectors.memory(), self.scorer.memory()];
        on_demand.into_iter().fold(self.memory, |sum, part| ModelMemory {
            weights: sum.weights,
            kv: sum.kv + part.kv,
            compute: sum.compute + part.compute,
            gpu: sum.gpu + part.gpu,
        })
    }

    pub(super) fn chat(self: Arc<Self>, job: ChatJob) -> Result<EventStream, BackendError> {
        self.start(move |loaded, sender| {
            let progress = job.generation.return_progress;
            let loras = loaded.adapters.wanted(job.generation.lora.as_deref())?;
            let chat = request::chat(loaded, job, sender.cancel_token())?;
            let (prompt, images) = chat.prompt.into_parts();
            let answer = ChatAnswer::new(loaded.scheduler.model().clone(), chat.parser);
            Ok(Job {
                prompt,
                images,
                params: chat.params.cancel(sender.cancel_token().clone()),
                loras,
                reuse_prefix: chat.reuse_prefix,
                progress,
                sink: answer::sink(answer, sender),
            })
        })
    }

    pub(super) fn complete(self: Arc<Self>, job: CompletionJob) -> Result<EventStream, BackendError> {
        self.start(move |loaded, sender| {
            let progress = job.generation.return_progress;
            let loras = loaded.adapters.wanted(job.generation.lora.as_deref())?;
            let (prompt, params, echo, reuse_prefix) = request::completion(loaded, job)?;
            let echo = match (echo, params.logprobs) {
                (None, _) => None,
                (Some(text), None) => Some(TextPiece {
                    text,
                    logprobs: Vec::new(),
                }),
                (Some(text), Some(top)) => {
                    let mut logprobs = loaded.scorer.score(&prompt, &loras, top, sender.cancel_token())?;
                    // a token that the tokenizer put before the text is no part of it, and offsets count the text
                    if let Some(first) = logprobs.first_mut()
                        && !text.starts_with(&first.token)
                    {
                        first.token.clear();
                        first.bytes.clear();
                    }
                    Some(TextPiece { text, logprobs })
                }
            };
            let answer = TextAnswer::new(loaded.scheduler.model().clone(), echo);
            Ok(Job {
                prompt,
                images: Vec::new(),
                params: params.cancel(sender.cancel_token().clone()),
                loras,
                reuse_prefix,
                progress,
                sink: answer::sink(answer, sender),
            })
        })
    }

    /// Prepares a job off the async runtime (templates and tokenizers take their time) and queues it.
    fn start(
        self: Arc<Self>,
        prepare: impl FnOnce(&Loaded, &PartSender<Part>) -> Result<Job, BackendError> + Send + 'static,
    ) -> Result<EventStream, BackendError> {
        if !self.card.abilities.completion {
            return Err(BackendError::NotSupported(
                "this model writes no text; it was made for embeddings or reranking: use /v1/embeddings or /v1/rerank"
                    .into(),
            ));
        }
        let status = self.scheduler.status();
        if status.queued >= status.queue_limit {
            return Err(BackendError::Overloaded {
                retry_after: RETRY_AFTER,
            });
        }
        // An answer has at most an event per token, so what a slow client costs is bounded by its context, and the engine
        // never waits for it.
        let (sender, stream) = answer::stream();
        tokio::task::spawn_blocking(move || {
            let queued = prepare(&self, &sender)
                .and_then(|job| self.scheduler.submit(job).map_err(|(error, _)| submit_error(error)));
            // if the client has gone, nobody needs to know
            sender.send(match queued {
                Ok(()) => Part::Accepted,
                Err(error) => Part::Failed(error),
            });
        });
        Ok(stream)
    }

    /// Embeds texts, with the adapters as they are scaled now. Blocks.
    pub(super) fn embed(&self, job: &EmbedJob) -> Result<Embeddings, BackendError> {
        self.vectors.embed(job, &self.adapters.wanted(None)?)
    }

    /// Scores documents, likewise. Blocks.
    pub(super) fn rerank(&self, job: &RerankJob) -> Result<Scores, BackendError> {
        self.vectors.rerank(job, &self.adapters.wanted(None)?)
    }

    /// The text that the template makes of a chat.
    pub(super) fn render(&self, prompt: ChatPrompt) -> Result<String, BackendError> {
        request::render(self, prompt)
    }

    /// Tokens of the prompt that the template makes of a chat.
    pub(super) fn count(&self, prompt: ChatPrompt) -> Result<usize, BackendError> {
        request::count(self, prompt)
    }

    pub(super) fn tokenize(&self, job: &TokenizeJob) -> Result<Vec<TokenPiece>, BackendError> {
        let model = self.scheduler.model();
        let tokens = model
            .tokenize(&job.content, job.add_special, job.parse_special)
            .map_err(backend_error)?;
        let piece = |id| {
            model
                .piece(id, true)
                .map(|bytes| TokenPiece { id, bytes })
                .map_err(backend_error)
        };
        tokens.into_iter().map(piece).collect()
    }

    pub(super) fn detokenize(&self, tokens: &[i32]) -> Result<String, BackendError> {
        self.scheduler.model().detokenize(tokens, true).map_err(backend_error)
    }
}

fn card(name: String, model: &Model, context: &Context, template: Option<&ChatTemplate>) -> anyhow::Result<ModelCard> {
    let meta = model.meta();
    Ok(ModelCard {
        id: name,
        created: unix_time(),
        n_vocab: meta.n_vocab,
        n_ctx: context.n_ctx_seq(),
        n_ctx_total: context.n_ctx(),
        slots: context.config().n_seq_max,
        n_ctx_train: meta.n_ctx_train,
        n_embd: meta.n_embd,
        n_params: meta.n_params,
        size: meta.size,
        kv: KvCard {
            type_k: majority(context.kv().layers.iter().map(|layer| layer.k)),
            type_v: majority(context.kv().layers.iter().map(|layer| layer.v)),
            bytes_per_token: context.kv_bytes().cache() as f64 / f64::from(context.n_ctx().max(1)),
        },
        abilities: abilities(meta, template)?,
        loras: 0,
    })
}

/// What a model can do, by its metadata and its template.
pub(super) fn abilities(meta: &ModelMeta, template: Option<&ChatTemplate>) -> anyhow::Result<Abilities> {
    let caps = template.map(ChatTemplate::info).transpose()?.map(|info| info.caps);
    let can = |what: &str| {
        caps.as_ref()
            .is_some_and(|caps| caps.get(what) == Some(&Value::Bool(true)))
    };
    // only a prompt tells; a template that refuses the simplest one makes none
    let hello = ChatRequest {
        messages: vec![json!({"role": "user", "content": "hello"})],
        ..ChatRequest::new()
    };
    let prompt = template.and_then(|template| template.apply(&hello).ok());
    Ok(Abilities {
        completion: meta.decoder && meta.pooling == Pooling::None && !CACHELESS.contains(&meta.architecture.as_str()),
        tools: can("supports_tools"),
        thinking: prompt.is_some_and(|prompt| prompt.supports_thinking()),
        insert: meta.fim.prefix >= 0 && meta.fim.suffix >= 0 && meta.fim.middle >= 0,
        embedding: !matches!(meta.pooling, Pooling::None | Pooling::Rank),
        rerank: meta.pooling == Pooling::Rank,
        vision: false,
        audio: false,
    })
}

/// What the engine says it has allocated.
fn occupied(context: &Context) -> anyhow::Result<ModelMemory> {
    let used = context.memory_use()?;
    let cache = embed::occupied(&used);
    Ok(ModelMemory {
        weights: used.model.values().sum(),
        gpu: cache.gpu + MemoryUse::on_cards(&used.model),
        ..cache
    })
}

/// The same with the weights of adapters.
fn with_adapters(memory: ModelMemory, adapters: &Adapters) -> ModelMemory {
    let (bytes, on_cards) = adapters.memory();
    ModelMemory {
        weights: memory.weights + bytes,
        gpu: memory.gpu + on_cards,
        ..memory
    }
}

/// The type that most layers have.
fn majority(types: impl Iterator<Item = KvType>) -> String {
    let types: Vec<KvType> = types.collect();
    let most = types
        .iter()
        .max_by_key(|ty| types.iter().filter(|other| other == ty).count());
    most.map_or_else(|| "none".into(), ToString::to_string)
}

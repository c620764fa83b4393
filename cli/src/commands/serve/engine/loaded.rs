//! One loaded model: its scheduler, its template, and the jobs it takes.

use super::answer::{ChatAnswer, TextAnswer};
use super::{RETRY_AFTER, backend_error, inside, request, saturate, submit_error};
use crate::commands::serve::backend::{
    Abilities, BackendError, ChatJob, ChatPrompt, CompletionJob, Event, EventSender, EventStream, Inside, KvCard,
    ModelCard, ModelMemory, Running, SlotStatus, TokenPiece, TokenizeJob,
};
use crate::commands::serve::state::unix_time;
use crate::settings::{ModelSettings, human_bytes};
use llama_turboquant::engine::chat::{ChatRequest, ChatTemplate};
use llama_turboquant::generate::GenParams;
use llama_turboquant::scheduler::{Job, JobSink, Scheduler};
use llama_turboquant::{CancelToken, Context, KvType, Model, ModelMeta, Pooling, Token};
use serde_json::{Value, json};
use std::sync::Arc;

/// A loaded model with its scheduler and template.
pub(super) struct Loaded {
    pub(super) scheduler: Scheduler,
    pub(super) template: Option<ChatTemplate>,
    pub(super) card: ModelCard,
    pub(super) inside: Inside,
    memory: ModelMemory,
}

impl Loaded {
    /// Loads a model that clients will know as `name`; at most `queue_limit` of its jobs wait. Blocks.
    pub(super) fn load(
        name: String,
        settings: &ModelSettings,
        queue_limit: usize,
        cancel: &CancelToken,
    ) -> anyhow::Result<Self> {
        let model = settings.engine.load(cancel)?;
        let template = if model.meta().chat_template {
            Some(ChatTemplate::from_model(&model)?)
        } else {
            None
        };
        let context = settings.create_context(&model)?;
        let memory = occupied(&context)?;
        let card = card(name, &model, &context, template.as_ref())?;
        let inside = inside::look(&model, &context, template.as_ref())?;
        Ok(Self {
            inside,
            scheduler: Scheduler::start(context, queue_limit),
            template,
            card,
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
        let slot = |id| SlotStatus {
            id: saturate(id),
            busy: id < status.busy,
            ..SlotStatus::default()
        };
        Running {
            card: self.card.clone(),
            slots: (0..status.slots).map(slot).collect(),
            queued: saturate(status.queued),
            queue_limit: saturate(status.queue_limit),
            memory: self.memory,
            kv_cells_used: 0,
            expires: None,
        }
    }

    pub(super) fn chat(self: Arc<Self>, job: ChatJob) -> Result<EventStream, BackendError> {
        self.start(move |loaded, sender| {
            let (prompt, params, parser, reuse_prefix) = request::chat(loaded, job)?;
            let mut answer = ChatAnswer::new(loaded.scheduler.model().clone(), parser, Arc::clone(sender));
            let sink = JobSink::new(move |event| answer.event(event));
            Ok(cancellable(prompt, params, reuse_prefix, sink, sender))
        })
    }

    pub(super) fn complete(self: Arc<Self>, job: CompletionJob) -> Result<EventStream, BackendError> {
        self.start(move |loaded, sender| {
            let (prompt, params, echo, reuse_prefix) = request::completion(loaded, job)?;
            let mut answer = TextAnswer::new(loaded.scheduler.model().clone(), echo, Arc::clone(sender));
            let sink = JobSink::new(move |event| answer.event(event));
            Ok(cancellable(prompt, params, reuse_prefix, sink, sender))
        })
    }

    /// Prepares a job off the async runtime (templates and tokenizers take their time) and queues it.
    fn start(
        self: Arc<Self>,
        prepare: impl FnOnce(&Loaded, &Arc<EventSender>) -> Result<Job, BackendError> + Send + 'static,
    ) -> Result<EventStream, BackendError> {
        let status = self.scheduler.status();
        if status.queued >= status.queue_limit {
            return Err(BackendError::Overloaded {
                retry_after: RETRY_AFTER,
            });
        }
        // An answer has at most a few events per token, so this channel cannot fill up: the engine never waits for a
        // client, and what a slow one costs is bounded by its context.
        let (sender, stream) = EventStream::channel(4 * self.card.n_ctx as usize + 64);
        let sender = Arc::new(sender);
        tokio::task::spawn_blocking(move || {
            let queued = prepare(&self, &sender)
                .and_then(|job| self.scheduler.submit(job).map_err(|(error, _)| submit_error(error)));
            if let Err(error) = queued {
                let _ = sender.try_send(Event::Failed(error)); // if the client has gone, nobody needs to know
            }
        });
        Ok(stream)
    }

    /// The text that the template makes of a chat.
    pub(super) fn render(&self, prompt: ChatPrompt) -> Result<String, BackendError> {
        request::render(self, prompt)
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
        completion: meta.decoder && meta.pooling == Pooling::None,
        tools: can("supports_tools"),
        thinking: prompt.is_some_and(|prompt| prompt.supports_thinking()),
        insert: meta.fim.prefix >= 0 && meta.fim.suffix >= 0 && meta.fim.middle >= 0,
        embedding: !matches!(meta.pooling, Pooling::None | Pooling::Rank),
        rerank: meta.pooling == Pooling::Rank,
        vision: false,
        audio: false,
    })
}

/// What the engine says it has allocated. A GPU's buffers have the device's name, the processor's begin with `CPU`.
fn occupied(context: &Context) -> anyhow::Result<ModelMemory> {
    let used = context.memory_use()?;
    let sum = |buffers: &std::collections::BTreeMap<String, u64>| buffers.values().sum();
    let gpu = [&used.model, &used.kv, &used.compute]
        .into_iter()
        .flatten()
        .filter(|(name, _)| !name.starts_with("CPU") && !name.ends_with("_Host"))
        .map(|(_, bytes)| bytes)
        .sum();
    Ok(ModelMemory {
        weights: sum(&used.model),
        kv: sum(&used.kv),
        compute: sum(&used.compute),
        gpu,
    })
}

/// The type that most layers have.
fn majority(types: impl Iterator<Item = KvType>) -> String {
    let types: Vec<KvType> = types.collect();
    let most = types
        .iter()
        .max_by_key(|ty| types.iter().filter(|other| other == ty).count());
    most.map_or_else(|| "none".into(), ToString::to_string)
}

/// A job that ends when its client has gone.
fn cancellable(prompt: Vec<Token>, params: GenParams, reuse_prefix: bool, sink: JobSink, client: &EventSender) -> Job {
    Job {
        prompt,
        params: params.cancel(client.cancel_token().clone()),
        reuse_prefix,
        sink,
    }
}

//! The engine behind the server: the library's scheduler, seen as a [`Backend`].

mod answer;
mod request;

use crate::commands::serve::backend::{
    Backend, BackendError, ChatJob, CompletionJob, Event, EventSender, EventStream, Health, KvCard, ModelCard,
    QueueStatus, TokenPiece, TokenizeJob,
};
use crate::commands::serve::state::unix_time;
use crate::settings::{ModelSettings, human_bytes};
use answer::{ChatAnswer, TextAnswer};
use llama_turboquant::engine::chat::ChatTemplate;
use llama_turboquant::generate::GenParams;
use llama_turboquant::scheduler::{Job, JobSink, Scheduler, SubmitError};
use llama_turboquant::{CancelToken, Error, KvType, Token};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// What a full queue tells clients to wait.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// One model, loaded or not yet.
pub struct Engine {
    name: String,
    queue_limit: usize,
    loading: CancelToken,
    state: RwLock<EngineState>,
}

enum EngineState {
    Loading,
    Failed(String),
    Ready(Arc<Loaded>),
}

/// A loaded model with its scheduler and template.
struct Loaded {
    scheduler: Scheduler,
    template: Option<ChatTemplate>,
    card: ModelCard,
    n_ctx: u32,
    kv_bytes: u64,
}

impl Engine {
    /// An engine that loads nothing yet. `name` is what clients see; at most `queue_limit` requests wait.
    pub fn new(name: String, queue_limit: usize) -> Self {
        Self {
            name,
            queue_limit,
            loading: CancelToken::new(),
            state: RwLock::new(EngineState::Loading),
        }
    }

    /// Loads the model and starts serving it. Blocks.
    ///
    /// # Errors
    /// What [`EngineSettings::load`](crate::settings::EngineSettings::load) and [`ModelSettings::create_context`] say.
    pub fn load(&self, settings: &ModelSettings) -> anyhow::Result<()> {
        let loaded = self.try_load(settings);
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        match loaded {
            Ok(loaded) => {
                *state = EngineState::Ready(Arc::new(loaded));
                Ok(())
            }
            Err(error) => {
                *state = EngineState::Failed(format!("{error:#}"));
                Err(error)
            }
        }
    }

    fn try_load(&self, settings: &ModelSettings) -> anyhow::Result<Loaded> {
        let model = settings.engine.load(&self.loading)?;
        let template = if model.meta().chat_template {
            Some(ChatTemplate::from_model(&model)?)
        } else {
            None
        };
        let context = settings.create_context(&model)?;
        let kv_bytes = context.kv_bytes().cache();
        let meta = model.meta();
        let card = ModelCard {
            id: self.name.clone(),
            created: unix_time(),
            n_vocab: meta.n_vocab,
            n_ctx: context.n_ctx_seq(),
            n_ctx_train: meta.n_ctx_train,
            n_embd: meta.n_embd,
            n_params: meta.n_params,
            size: meta.size,
            kv: KvCard {
                type_k: majority(context.kv().layers.iter().map(|layer| layer.k)),
                type_v: majority(context.kv().layers.iter().map(|layer| layer.v)),
                bytes_per_token: kv_bytes as f64 / f64::from(context.n_ctx().max(1)),
            },
            vision: false,
            audio: false,
        };
        let n_ctx = context.n_ctx();
        Ok(Loaded {
            scheduler: Scheduler::start(context, self.queue_limit),
            template,
            card,
            n_ctx,
            kv_bytes,
        })
    }

    /// Makes a [`load`](Self::load) that is running end early.
    pub fn cancel_loading(&self) {
        self.loading.cancel();
    }

    /// Refuses requests that come from now on (503), ends running jobs and the engine's thread. Blocks until they have ended.
    pub fn stop(&self) {
        if let Ok(loaded) = self.loaded() {
            *self.state.write().unwrap_or_else(PoisonError::into_inner) =
                EngineState::Failed("the server is stopping".into());
            loaded.scheduler.stop();
        }
    }

    /// One line about what is served.
    pub fn describe(&self) -> String {
        let Ok(loaded) = self.loaded() else {
            return format!("{}: not loaded", self.name);
        };
        format!(
            "{}: {} tokens of context, {} slots, KV cache {}/{} ({}, {:.0} bytes per token)",
            self.name,
            loaded.n_ctx,
            loaded.scheduler.status().slots,
            loaded.card.kv.type_k,
            loaded.card.kv.type_v,
            human_bytes(loaded.kv_bytes),
            loaded.card.kv.bytes_per_token
        )
    }

    fn loaded(&self) -> Result<Arc<Loaded>, BackendError> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            EngineState::Ready(loaded) => Ok(Arc::clone(loaded)),
            EngineState::Loading => Err(BackendError::Loading),
            EngineState::Failed(why) => Err(BackendError::Unavailable(why.clone())),
        }
    }

    /// Prepares a job off the async runtime (templates and tokenizers take their time) and queues it.
    fn start(
        &self,
        prepare: impl FnOnce(&Loaded, &Arc<EventSender>) -> Result<Job, BackendError> + Send + 'static,
    ) -> Result<EventStream, BackendError> {
        let loaded = self.loaded()?;
        let status = loaded.scheduler.status();
        if status.queued >= status.queue_limit {
            return Err(BackendError::Overloaded {
                retry_after: RETRY_AFTER,
            });
        }
        // An answer has at most a few events per token, so this channel cannot fill up: the engine never waits for a
        // client, and what a slow one costs is bounded by its context.
        let (sender, stream) = EventStream::channel(4 * loaded.card.n_ctx as usize + 64);
        let sender = Arc::new(sender);
        tokio::task::spawn_blocking(move || {
            let queued = prepare(&loaded, &sender)
                .and_then(|job| loaded.scheduler.submit(job).map_err(|(error, _)| submit_error(error)));
            if let Err(error) = queued {
                let _ = sender.try_send(Event::Failed(error)); // if the client has gone, nobody needs to know
            }
        });
        Ok(stream)
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

/// What a client is told of a failure of the engine.
fn backend_error(error: Error) -> BackendError {
    match error {
        Error::ContextFull { n_prompt, n_ctx } => BackendError::ContextOverflow {
            n_prompt: saturate(n_prompt),
            n_ctx: saturate(n_ctx),
        },
        Error::Invalid(_) | Error::Template(_) | Error::Grammar(_) | Error::Unsupported(_) => {
            BackendError::invalid(error.to_string())
        }
        Error::Cancelled => BackendError::Unavailable("the request was cancelled".into()),
        other => BackendError::internal("the engine failed", other.to_string()),
    }
}

fn submit_error(error: SubmitError) -> BackendError {
    match error {
        SubmitError::Full(_) => BackendError::Overloaded {
            retry_after: RETRY_AFTER,
        },
        SubmitError::Refused(error) => backend_error(error),
        other => BackendError::Unavailable(other.to_string()),
    }
}

fn saturate(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
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

impl Backend for Engine {
    fn health(&self) -> Health {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            EngineState::Loading => Health::Loading,
            EngineState::Failed(why) => Health::Failed(why.clone()),
            EngineState::Ready(loaded) => loaded.scheduler.stopped().map_or(Health::Ready, Health::Failed),
        }
    }

    fn models(&self) -> Vec<ModelCard> {
        self.loaded()
            .map(|loaded| vec![loaded.card.clone()])
            .unwrap_or_default()
    }

    fn status(&self) -> QueueStatus {
        let Ok(loaded) = self.loaded() else {
            return QueueStatus::default();
        };
        let status = loaded.scheduler.status();
        QueueStatus {
            slots: saturate(status.slots),
            busy: saturate(status.busy),
            queued: saturate(status.queued),
            queue_limit: saturate(status.queue_limit),
        }
    }

    fn chat(&self, job: ChatJob) -> Result<EventStream, BackendError> {
        self.start(move |loaded, sender| {
            let (prompt, params, parser, reuse_prefix) = request::chat(loaded, job)?;
            let mut answer = ChatAnswer::new(loaded.scheduler.model().clone(), parser, Arc::clone(sender));
            let sink = JobSink::new(move |event| answer.event(event));
            Ok(cancellable(prompt, params, reuse_prefix, sink, sender))
        })
    }

    fn complete(&self, job: CompletionJob) -> Result<EventStream, BackendError> {
        self.start(move |loaded, sender| {
            let (prompt, params, echo, reuse_prefix) = request::completion(loaded, job)?;
            let mut answer = TextAnswer::new(loaded.scheduler.model().clone(), echo, Arc::clone(sender));
            let sink = JobSink::new(move |event| answer.event(event));
            Ok(cancellable(prompt, params, reuse_prefix, sink, sender))
        })
    }

    fn tokenize(&self, job: TokenizeJob) -> Result<Vec<TokenPiece>, BackendError> {
        let loaded = self.loaded()?;
        let model = loaded.scheduler.model();
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

    fn detokenize(&self, _model: &str, tokens: &[i32]) -> Result<String, BackendError> {
        self.loaded()?
            .scheduler
            .model()
            .detokenize(tokens, true)
            .map_err(backend_error)
    }
}

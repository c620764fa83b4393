//! What the HTTP layer asks of an engine, and nothing more.
//!
//! Handlers turn JSON into a validated job, give it to a [`Backend`], and turn the [`Event`]s that
//! come back into the wire format of the endpoint. The trait knows no status codes and no JSON
//! shapes of answers, so that the same backend serves every API dialect, and tests run against a
//! scripted one without a model.

mod card;
mod event;
mod inside;
mod job;
mod lora;
mod offer;
mod running;
mod vectors;
mod wanted;

use std::time::Duration;

pub use card::{KvCard, ModelCard};
pub use event::{
    Alternative, Done, Event, EventSender, EventStream, Finish, PartSender, Progress, SendError, TextPiece, Timings,
    TokenLogprob, Usage,
};
pub use inside::{Counts, Inside, KvDevice, KvLayer};
pub use job::{ChatJob, ChatPrompt, CompletionJob, Constraint, Generation, Infill, Prompt, TokenPiece, TokenizeJob};
pub use llama_turboquant::CancelToken;
pub use lora::{LoraScale, LoraStatus};
pub use offer::{Abilities, Details, NO_IMAGES, Offer};
pub use running::{ModelMemory, PromptCacheUse, Running, SlotAction, SlotReport, SlotStatus};
pub use vectors::{EmbedJob, Embeddings, RerankJob, Scores};
pub use wanted::{KeepAlive, Lease, Opened, Wanted, kv_cache_type};

/// An engine behind the server.
///
/// `health`, `running`, `loading`, `chat` and `complete` are called from the async runtime and must not wait for the
/// engine: the last two enqueue the job, or refuse it, and return. All others run on a blocking thread and may take their
/// time.
///
/// # Contract of a stream
///
/// `Accepted`, `Started`, `Progress` if the job asked for it, then any number of `Text`, `Reasoning`, `ToolCallStart` and `ToolCallArguments`, then
/// exactly one of `Done` and `Failed`. `Failed` may come at any point, also first. In detail:
///
/// * `Accepted` is sent once the prompt is templated, tokenized and known to fit; the job may wait long after it. It comes
///   before the last event, but may be overtaken by others.
/// * `Started` is sent once the job has a slot; prefill may take long after it.
/// * Stop strings are the backend's work. The text of a stop string is never sent, not even a part
///   of it.
/// * A tool call is complete when the next one begins, or text does.
/// * Text is whole UTF-8: bytes of an unfinished character are held back until it is complete.
/// * A dropped [`EventStream`] cancels the job, wherever it is: queued, in prefill, or decoding.
pub trait Backend: Send + Sync + 'static {
    /// Whether requests can be served now.
    fn health(&self) -> Health;

    /// The models on offer, loaded or not. Blocks: files are read.
    fn offers(&self) -> Result<Vec<Offer>, BackendError>;

    /// All about one of them. Blocks.
    fn details(&self, name: &str) -> Result<Details, BackendError> {
        Err(BackendError::NotSupported(format!(
            "this backend does not describe models, `{name}` among them"
        )))
    }

    /// The model a request means, loaded, if need be by unloading others. Blocks for as long as that takes; `cancel` is set
    /// when the client has gone. Jobs name the model by the id on its card, and the caller keeps the lease until they are done.
    fn open(&self, wanted: &Wanted, cancel: &CancelToken) -> Result<Opened, BackendError>;

    /// Unloads a model when its running jobs have ended; false if it was not loaded.
    fn unload(&self, name: &str) -> Result<bool, BackendError> {
        Err(BackendError::NotSupported(format!(
            "this backend keeps its models, `{name}` among them"
        )))
    }

    /// The models that are loaded, and what they are doing.
    fn running(&self) -> Vec<Running>;

    /// What the engine has counted since it started. Must not wait.
    fn counts(&self) -> Counts {
        Counts::default()
    }

    /// More about a loaded model; None: it is not loaded, or there is no more to say. Must not wait.
    fn inside(&self, _model: &str) -> Option<Inside> {
        None
    }

    /// Names of the models that are being loaded. Does not wait.
    fn loading(&self) -> Vec<String> {
        Vec::new()
    }

    /// Does something with a slot of a loaded model. Blocks; a busy slot is an error.
    fn slot(&self, _model: &str, _slot: u32, _action: SlotAction) -> Result<SlotReport, BackendError> {
        Err(BackendError::NotSupported("this backend does not save slots".into()))
    }

    /// The LoRA adapters of a loaded model, by number. Must not wait.
    fn loras(&self, _model: &str) -> Result<Vec<LoraStatus>, BackendError> {
        Ok(Vec::new())
    }

    /// Scales the adapters of a loaded model for the jobs from now on that have no `lora` of their own; those that are not named
    /// are not applied.
    fn scale_loras(&self, _model: &str, _scales: &[LoraScale]) -> Result<(), BackendError> {
        Err(BackendError::NotSupported("this backend has no LoRA adapters".into()))
    }

    /// Starts a chat: the backend applies the model's template, and splits reasoning and tool calls
    /// from the text.
    fn chat(&self, job: ChatJob) -> Result<EventStream, BackendError>;

    /// Starts a plain completion: no template, and only `Text` events in between.
    fn complete(&self, job: CompletionJob) -> Result<EventStream, BackendError>;

    /// The text that the model's template makes of a chat. Blocks.
    fn render(&self, _model: &str, _prompt: ChatPrompt) -> Result<String, BackendError> {
        Err(BackendError::NotSupported("this backend has no templates".into()))
    }

    /// Tokens of the prompt that the template makes of a chat, images included. Blocks.
    fn count(&self, model: &str, prompt: ChatPrompt) -> Result<usize, BackendError> {
        let job = TokenizeJob {
            model: model.to_owned(),
            content: self.render(model, prompt)?,
            add_special: true,
            parse_special: true,
        };
        self.tokenize(job).map(|tokens| tokens.len())
    }

    /// Embeds texts. Blocks.
    fn embed(&self, _job: EmbedJob) -> Result<Embeddings, BackendError> {
        Err(BackendError::NotSupported("this backend does not embed".into()))
    }

    /// Scores documents. Blocks.
    fn rerank(&self, _job: RerankJob) -> Result<Scores, BackendError> {
        Err(BackendError::NotSupported("this backend does not rerank".into()))
    }

    /// Splits text into tokens.
    fn tokenize(&self, _job: TokenizeJob) -> Result<Vec<TokenPiece>, BackendError> {
        Err(BackendError::NotSupported("this backend does not tokenize".into()))
    }

    /// Joins tokens to text. Every id has been checked against the model's vocabulary.
    fn detokenize(&self, _model: &str, _tokens: &[i32]) -> Result<String, BackendError> {
        Err(BackendError::NotSupported("this backend does not detokenize".into()))
    }
}

/// Whether the backend can serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// The model is being loaded.
    Loading,
    /// Requests are served.
    Ready,
    /// The model could not be loaded, or the engine stopped for good; the text says why.
    Failed(String),
}

/// Why a job was not accepted or did not finish.
///
/// The HTTP layer maps this to a response in one place (`error.rs`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// The request cannot be served as it stands, for example because the chat template refuses it.
    #[error("{message}")]
    InvalidRequest {
        /// What is wrong, for the caller.
        message: String,
        /// The request field at fault, when one can be named.
        param: Option<String>,
    },
    /// The prompt does not fit. It is never cut silently.
    #[error("the prompt of {n_prompt} tokens exceeds the context of {n_ctx}")]
    ContextOverflow {
        /// Tokens in the prompt.
        n_prompt: u32,
        /// Tokens one sequence may hold.
        n_ctx: u32,
    },
    /// The queue is full.
    #[error("the queue is full")]
    Overloaded {
        /// When trying again makes sense.
        retry_after: Duration,
    },
    /// Others are in the way; the text says how.
    #[error("{message}")]
    Busy {
        /// What is in the way, for the caller.
        message: String,
        /// When trying again makes sense.
        retry_after: Duration,
    },
    /// No model of that name is on offer.
    #[error("model '{0}' not found")]
    UnknownModel(String),
    /// The model is not loaded yet.
    #[error("loading model")]
    Loading,
    /// The backend, or the loaded model, has no such ability.
    #[error("{0}")]
    NotSupported(String),
    /// The engine will not serve again without help, or is shutting down.
    #[error("{0}")]
    Unavailable(String),
    /// A disk is full.
    #[error("{message}: {detail}")]
    NoRoom {
        /// For the caller: what was not written, and how much room it takes.
        message: String,
        /// For the log: where.
        detail: String,
    },
    /// Something broke that is not the caller's doing.
    #[error("{message}: {detail}")]
    Internal {
        /// For the caller.
        message: String,
        /// For the log: what was attempted, on what, and the engine's own words.
        detail: String,
    },
}

impl BackendError {
    /// An [`BackendError::InvalidRequest`] that names no field.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::InvalidRequest {
            message: message.into(),
            param: None,
        }
    }

    /// An [`BackendError::Internal`] with separate texts for the caller and the log.
    pub fn internal(message: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Internal {
            message: message.into(),
            detail: detail.into(),
        }
    }
}

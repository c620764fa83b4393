//! The engine behind the server: the library's scheduler, seen as a [`Backend`].

mod answer;
mod inside;
mod loaded;
mod request;

use crate::commands::serve::backend::{
    Backend, BackendError, ChatJob, ChatPrompt, CompletionJob, EventStream, Health, Inside, Lease, Offer, Opened,
    Running, TokenPiece, TokenizeJob, Wanted,
};
use crate::settings::ModelSettings;
use llama_turboquant::scheduler::SubmitError;
use llama_turboquant::{CancelToken, Error};
use loaded::Loaded;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, UNIX_EPOCH};

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
        let loaded = Loaded::load(self.name.clone(), settings, self.queue_limit, &self.loading);
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
        self.loaded()
            .map_or_else(|_| format!("{}: not loaded", self.name), |loaded| loaded.describe())
    }

    fn loaded(&self) -> Result<Arc<Loaded>, BackendError> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            EngineState::Ready(loaded) => Ok(Arc::clone(loaded)),
            EngineState::Loading => Err(BackendError::Loading),
            EngineState::Failed(why) => Err(BackendError::Unavailable(why.clone())),
        }
    }
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

impl Backend for Engine {
    fn health(&self) -> Health {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            EngineState::Loading => Health::Loading,
            EngineState::Failed(why) => Health::Failed(why.clone()),
            EngineState::Ready(loaded) => loaded.scheduler.stopped().map_or(Health::Ready, Health::Failed),
        }
    }

    fn offers(&self) -> Result<Vec<Offer>, BackendError> {
        let Ok(loaded) = self.loaded() else {
            return Ok(Vec::new());
        };
        let (card, meta) = (&loaded.card, loaded.scheduler.model().meta());
        Ok(vec![Offer {
            id: card.id.clone(),
            modified: UNIX_EPOCH + Duration::from_secs(card.created),
            size: card.size,
            digest: meta.fingerprint.clone(),
            architecture: meta.architecture.clone(),
            quantization: String::new(),
            n_params: card.n_params,
            n_vocab: card.n_vocab,
            n_ctx_train: card.n_ctx_train,
            n_embd: card.n_embd,
            abilities: card.abilities,
        }])
    }

    fn open(&self, _wanted: &Wanted, _cancel: &CancelToken) -> Result<Opened, BackendError> {
        let loaded = self.loaded()?;
        Ok(Opened {
            card: loaded.card.clone(),
            load: Duration::ZERO,
            lease: Lease::new(()),
        })
    }

    fn running(&self) -> Vec<Running> {
        self.loaded().map(|loaded| vec![loaded.running()]).unwrap_or_default()
    }

    fn inside(&self, model: &str) -> Option<Inside> {
        let loaded = self.loaded().ok().filter(|loaded| loaded.card.id == model);
        loaded.map(|loaded| loaded.inside.clone())
    }

    fn chat(&self, job: ChatJob) -> Result<EventStream, BackendError> {
        self.loaded()?.chat(job)
    }

    fn complete(&self, job: CompletionJob) -> Result<EventStream, BackendError> {
        self.loaded()?.complete(job)
    }

    fn render(&self, _model: &str, prompt: ChatPrompt) -> Result<String, BackendError> {
        self.loaded()?.render(prompt)
    }

    fn tokenize(&self, job: TokenizeJob) -> Result<Vec<TokenPiece>, BackendError> {
        self.loaded()?.tokenize(&job)
    }

    fn detokenize(&self, _model: &str, tokens: &[i32]) -> Result<String, BackendError> {
        self.loaded()?.detokenize(tokens)
    }
}

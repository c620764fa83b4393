//! The engine behind the server: a pool of models, each with a scheduler of the library, seen as a [`Backend`].

mod adapters;
mod answer;
mod catalog;
mod demand;
mod embed;
mod heads;
mod images;
mod infill;
mod inside;
mod load;
mod loaded;
mod memory;
mod pool;
mod remote;
mod request;
mod residents;
mod score;
mod slots;
mod turn;

pub use catalog::{FixedCatalog, named};
pub use slots::{SlotSettings, is_plain};

use crate::commands::serve::backend::{
    Backend, BackendError, ChatJob, ChatPrompt, CompletionJob, Counts, Details, EmbedJob, Embeddings, EventStream,
    Health, Inside, KeepAlive, LoraScale, LoraStatus, Offer, Opened, RerankJob, Running, Scores, SlotAction,
    SlotReport, TokenPiece, TokenizeJob, Wanted,
};
use crate::commands::serve::keep_alive;
use crate::settings::ModelSettings;
use crate::store::{Catalog, Entry};
use llama_turboquant::scheduler::SubmitError;
use llama_turboquant::{CancelToken, Error};
use loaded::Loaded;
use pool::Pool;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a full queue tells clients to wait.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Asks how many bytes can be taken now; None: unknown.
pub type Available = Arc<dyn Fn() -> Option<u64> + Send + Sync>;

/// What the pool keeps to.
#[derive(Clone)]
pub struct Limits {
    /// Requests that may wait, for each model.
    pub queue: usize,
    /// Models that are loaded at the same time; 0: as many as fit the memory.
    pub models: usize,
    /// How long a model that a request has loaded stays when it is not used.
    pub keep_alive: KeepAlive,
    /// The same for the model that was loaded at the start.
    pub keep_start_up: KeepAlive,
    /// How long a request that needs another model gone waits for those who use it.
    pub patience: Duration,
    /// Memory that models can be given now.
    pub available: Available,
    /// Slots in files and in main memory.
    pub slots: SlotSettings,
    /// Images of requests may be fetched from elsewhere.
    pub remote_images: bool,
    /// Models that have settings of their own, by name.
    pub per_model: BTreeMap<String, PerModel>,
}

/// What was said of one model.
#[derive(Debug, Clone)]
pub struct PerModel {
    /// How to load it, but for the file.
    pub settings: ModelSettings,
    /// How long it stays loaded when no request has said so.
    pub keep_alive: Option<KeepAlive>,
}

impl Default for Limits {
    /// llama-server's number of models, Ollama's time for those that requests have loaded, and no end for the one of the
    /// start, as with llama-server.
    fn default() -> Self {
        Self {
            queue: 64,
            models: 4,
            keep_alive: keep_alive::DEFAULT,
            keep_start_up: KeepAlive::Forever,
            patience: Duration::from_secs(60),
            available: Arc::new(available),
            slots: SlotSettings::default(),
            remote_images: false,
            per_model: BTreeMap::new(),
        }
    }
}

/// Main memory, and what devices have of their own.
fn available() -> Option<u64> {
    let devices = llama_turboquant::Backend::init()
        .and_then(|backend| backend.devices())
        .ok()?;
    llama_turboquant::memory::available_bytes(&devices)
}

/// Models, loaded on demand. Dropping it stops them all.
pub struct Engine {
    pool: Arc<Pool>,
    /// How far the model of the start is.
    start_up: RwLock<Health>,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

impl Engine {
    /// An engine that loads the catalog's models as requests name them, with these settings but for the file. With
    /// `start_up`, the name of one of them, nothing is served before [`load_start_up`](Self::load_start_up) has run.
    ///
    /// # Errors
    /// If its thread cannot be started.
    pub fn new(
        catalog: Arc<dyn Catalog>,
        settings: ModelSettings,
        limits: Limits,
        start_up: Option<String>,
    ) -> anyhow::Result<Self> {
        let health = match &start_up {
            Some(_) => Health::Loading,
            None => Health::Ready,
        };
        let pool = Arc::new(Pool::new(catalog, settings, limits, start_up));
        let kept = Arc::clone(&pool);
        let keeper = std::thread::Builder::new()
            .name("turboquant-keeper".into())
            .spawn(move || keep(&kept))?;
        Ok(Self {
            pool,
            start_up: RwLock::new(health),
            keeper: Mutex::new(Some(keeper)),
        })
    }

    /// An engine of the one model that the settings name, loaded. Blocks.
    ///
    /// # Errors
    /// As [`new`](Self::new) and [`load_start_up`](Self::load_start_up).
    pub fn of_model(name: &str, settings: &ModelSettings, limits: Limits) -> anyhow::Result<Self> {
        let catalog = FixedCatalog::new(vec![named(name, settings.engine.file.clone())]);
        let engine = Self::new(Arc::new(catalog), settings.clone(), limits, Some(name.to_owned()))?;
        engine.load_start_up()?;
        Ok(engine)
    }

    /// Loads the model of the start, if there is one. Blocks.
    ///
    /// # Errors
    /// What keeps it from being loaded.
    pub fn load_start_up(&self) -> anyhow::Result<()> {
        let Some(name) = &self.pool.start_up else {
            return Ok(());
        };
        let opened = self.pool.open(&pool::exactly(name), &CancelToken::new());
        let (health, result) = match opened {
            Ok(_) => (Health::Ready, Ok(())),
            Err(error) => (Health::Failed(error.to_string()), Err(error.into())),
        };
        *self.start_up.write().unwrap_or_else(PoisonError::into_inner) = health;
        result
    }

    /// Refuses requests that come from now on (503), ends running jobs and loads, and frees all models. Blocks until they
    /// are gone.
    pub fn stop(&self) {
        self.pool.stop();
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(keeper) = keeper {
            let _ = keeper.join(); // a panic there has been reported, and there is nothing left to keep
        }
    }

    /// One line for each loaded model.
    pub fn describe(&self) -> String {
        let state = self.pool.lock();
        let lines: Vec<String> = state
            .models
            .values()
            .map(|resident| resident.loaded.describe())
            .collect();
        lines.join("\n")
    }

    fn loaded(&self, model: &str) -> Result<Arc<Loaded>, BackendError> {
        self.pool.resident(model)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Unloads models whose time is over, and frees those that others have given up, until the pool stops.
fn keep(pool: &Pool) {
    let mut state = pool.lock();
    loop {
        let next = state.expire();
        if let Some(loaded) = state.discarded.pop() {
            drop(state);
            pool.free(loaded);
            state = pool.lock();
        } else if state.stopped.is_some() {
            return;
        } else {
            let until = next.map(|next| next.saturating_duration_since(Instant::now()));
            // longer than a day is looked at again after a day
            let day = Duration::from_secs(86_400);
            state = pool.wait(state, until.unwrap_or(day).min(day));
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
        if let Some(why) = &self.pool.lock().stopped {
            return Health::Failed(why.clone());
        }
        self.start_up.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn offers(&self) -> Result<Vec<Offer>, BackendError> {
        let entries = self.pool.entries()?;
        let readable = self.pool.heads.readable(&entries);
        let offer = |(entry, head): (&Entry, Arc<heads::Head>)| {
            let mut offer = head.offer(entry);
            offer.abilities.vision = self.pool.projector_of(&entry.name).is_some();
            offer
        };
        Ok(readable.into_iter().map(offer).collect())
    }

    fn details(&self, name: &str) -> Result<Details, BackendError> {
        self.pool.details(name)
    }

    fn open(&self, wanted: &Wanted, cancel: &CancelToken) -> Result<Opened, BackendError> {
        self.pool.open(wanted, cancel)
    }

    fn unload(&self, name: &str) -> Result<bool, BackendError> {
        self.pool.unload(name)
    }

    fn running(&self) -> Vec<Running> {
        self.pool.running()
    }

    fn counts(&self) -> Counts {
        self.pool.counts()
    }

    fn loading(&self) -> Vec<String> {
        self.pool.loading()
    }

    fn slot(&self, model: &str, slot: u32, action: SlotAction) -> Result<SlotReport, BackendError> {
        self.loaded(model)?.slot(slot, action)
    }

    fn loras(&self, model: &str) -> Result<Vec<LoraStatus>, BackendError> {
        Ok(self.loaded(model)?.adapters.status())
    }

    fn scale_loras(&self, model: &str, scales: &[LoraScale]) -> Result<(), BackendError> {
        self.loaded(model)?.adapters.scale(scales)
    }

    fn inside(&self, model: &str) -> Option<Inside> {
        let loaded = self.loaded(model).ok();
        loaded.map(|loaded| loaded.inside.clone())
    }

    fn chat(&self, job: ChatJob) -> Result<EventStream, BackendError> {
        self.loaded(&job.generation.model)?.chat(job)
    }

    fn complete(&self, job: CompletionJob) -> Result<EventStream, BackendError> {
        self.loaded(&job.generation.model)?.complete(job)
    }

    fn render(&self, model: &str, prompt: ChatPrompt) -> Result<String, BackendError> {
        self.loaded(model)?.render(prompt)
    }

    fn count(&self, model: &str, prompt: ChatPrompt) -> Result<usize, BackendError> {
        self.loaded(model)?.count(prompt)
    }

    fn embed(&self, job: EmbedJob) -> Result<Embeddings, BackendError> {
        self.loaded(&job.model)?.embed(&job)
    }

    fn rerank(&self, job: RerankJob) -> Result<Scores, BackendError> {
        self.loaded(&job.model)?.rerank(&job)
    }

    fn tokenize(&self, job: TokenizeJob) -> Result<Vec<TokenPiece>, BackendError> {
        self.loaded(&job.model)?.tokenize(&job)
    }

    fn detokenize(&self, model: &str, tokens: &[i32]) -> Result<String, BackendError> {
        self.loaded(model)?.detokenize(tokens)
    }
}

//! What every handler can reach.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use crate::commands::serve::backend::{Backend, BackendError, CancelToken, ChatPrompt, Health, Opened, Wanted};
use crate::commands::serve::doors::Doors;
use crate::commands::serve::error::ApiError;
use crate::commands::serve::guard::{ApiKeys, HostCheck, Origins};
use crate::commands::serve::load_notice;
use crate::commands::serve::observe::{Meter, RequestTally};
use crate::commands::serve::results::ResultsFolder;
use crate::hub::Hub;
use crate::store::Store;

/// How the server behaves, apart from the engine.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Keys that open the API; with none, it is open to all.
    pub api_keys: ApiKeys,
    /// Web pages that may call the API.
    pub origins: Origins,
    /// Names by which the server may be addressed.
    pub host_check: HostCheck,
    /// Names by which it may be addressed besides addresses and local ones; `*`: any.
    pub allowed_hosts: Vec<String>,
    /// Largest request body, in bytes.
    pub body_limit: usize,
    /// How long a request waits for its model to load; zero: as long as it takes.
    pub load_timeout: Duration,
    /// Silence after which a stream sends a comment, so that proxies keep it open.
    pub ping_interval: Duration,
    /// Choices one request may ask for: prompts times `n`.
    pub max_choices: usize,
    /// Whether `GET /metrics` answers.
    pub metrics: bool,
    /// Whether `GET /slots` answers.
    pub slots: bool,
    /// Whether browsers get the web page.
    pub webui: bool,
    /// The folder of measurements that `GET /results` shows.
    pub results: Option<ResultsFolder>,
    /// Send reasoning as `reasoning` as well as `reasoning_content`, for clients that read the one
    /// or the other.
    pub reasoning_alias: bool,
    /// A line in the log for every request; without it only for who wants to see more (`-v`).
    pub log_requests: bool,
    /// Sent as `system_fingerprint`: names the build, so that a change in answers can be traced to
    /// it.
    pub fingerprint: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            api_keys: ApiKeys::default(),
            origins: Origins::default(),
            host_check: HostCheck::Off,
            allowed_hosts: Vec::new(),
            body_limit: 16 << 20,
            load_timeout: Duration::from_secs(300),
            ping_interval: Duration::from_secs(10),
            max_choices: 2048,
            metrics: true,
            slots: true,
            webui: true,
            results: None,
            reasoning_alias: false,
            log_requests: true,
            fingerprint: concat!("turboquant-", env!("CARGO_PKG_VERSION")).into(),
        }
    }
}

/// Shared by all requests; cheap to clone.
#[derive(Clone)]
pub struct AppState {
    /// The engine.
    pub backend: Arc<dyn Backend>,
    /// How the server behaves.
    pub settings: Arc<Settings>,
    /// What the server has counted.
    pub meter: Arc<Meter>,
    /// The folder of models, for servers that change it.
    pub store: Option<Arc<Store>>,
    /// Where models are pulled from; never without a store.
    pub hub: Option<Arc<Hub>>,
    /// Counts requests, and lets none in when the server stops.
    pub doors: Arc<Doors>,
    closing: Arc<watch::Sender<bool>>,
}

impl AppState {
    /// A state for a server that runs until [`close`](Self::close).
    pub fn new(backend: Arc<dyn Backend>, settings: Settings) -> Self {
        Self {
            backend,
            settings: Arc::new(settings),
            meter: Arc::default(),
            store: None,
            hub: None,
            doors: Arc::default(),
            closing: Arc::new(watch::Sender::new(false)),
        }
    }

    /// The same state for a server whose clients may pull, create and delete models.
    #[must_use]
    pub fn with_store(mut self, store: Arc<Store>, hub: Arc<Hub>) -> Self {
        self.store = Some(store);
        self.hub = Some(hub);
        self
    }

    /// The same state for a socket that others can or cannot reach. Only this machine reaches a loopback address, so that
    /// foreign names for it are a trick; elsewhere names are checked when they were given.
    pub fn for_socket(self, loopback: bool) -> Self {
        let names = self.settings.allowed_hosts.clone();
        let check = match loopback {
            _ if names.iter().any(|name| name == "*") => HostCheck::Off,
            false if names.is_empty() => return self,
            true if names.is_empty() => HostCheck::LocalNames,
            _ => HostCheck::Names(names),
        };
        self.with_host_check(check)
    }

    fn with_host_check(mut self, check: HostCheck) -> Self {
        self.settings = Arc::new(Settings {
            host_check: check,
            ..(*self.settings).clone()
        });
        self
    }

    /// Ends all running jobs, and refuses new ones.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Becomes true when the server closes.
    pub fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// Fails unless requests can be served.
    pub fn ready(&self) -> Result<(), ApiError> {
        match self.backend.health() {
            Health::Ready => Ok(()),
            Health::Loading => Err(BackendError::Loading.into()),
            Health::Failed(reason) => Err(BackendError::Unavailable(reason).into()),
        }
    }

    /// The model a request means, loaded.
    pub async fn open(&self, wanted: Wanted) -> Result<Opened, ApiError> {
        self.ready()?;
        let cancel = CancelToken::new();
        let token = cancel.clone();
        let opening = cancellable(self, cancel, move |backend| backend.open(&wanted, &token));
        let limit = self.settings.load_timeout;
        let opened = if limit.is_zero() {
            opening.await
        } else {
            tokio::time::timeout(limit, opening).await.unwrap_or_else(|_| {
                let why = format!("the model did not load within {} s (--load-timeout)", limit.as_secs());
                Err(BackendError::Unavailable(why).into())
            })
        };
        opened.inspect(load_notice::note)
    }

    /// Counts tokens that the request whose handler calls this used without a job.
    pub fn used(&self, n_tokens: u32) {
        self.meter.processed(n_tokens);
        if let Some(request) = RequestTally::current() {
            request.add(n_tokens, 0);
        }
    }

    /// Tokens of a chat, as its prompt would have.
    pub async fn count(&self, model: &Opened, prompt: ChatPrompt) -> Result<usize, ApiError> {
        let (backend, model) = (Arc::clone(&self.backend), model.card.id.clone());
        blocking(move || backend.count(&model, prompt)).await
    }
}

/// Runs a call that has no stream on a blocking thread; `cancel` is set when the client or the server goes.
pub async fn cancellable<T: Send + 'static>(
    state: &AppState,
    cancel: CancelToken,
    call: impl FnOnce(&dyn Backend) -> Result<T, BackendError> + Send + 'static,
) -> Result<T, ApiError> {
    let _gone = CancelOnDrop(cancel);
    let backend = Arc::clone(&state.backend);
    let mut closing = state.closing();
    tokio::select! {
        biased;
        _ = closing.wait_for(|closing| *closing) => {
            Err(BackendError::Unavailable("the server is shutting down".into()).into())
        }
        result = blocking(move || call(&*backend)) => result,
    }
}

/// A client that goes away makes axum drop the handler, and this with it.
struct CancelOnDrop(CancelToken);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Runs a call that takes its time without holding up the requests of others.
pub async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, BackendError> + Send + 'static,
) -> Result<T, ApiError> {
    // what it logs belongs to the request
    let span = tracing::Span::current();
    match tokio::task::spawn_blocking(move || span.in_scope(call)).await {
        Ok(result) => Ok(result?),
        Err(error) => Err(BackendError::internal("the engine failed", error.to_string()).into()),
    }
}

/// Seconds since 1970.
pub fn unix_time() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

//! What every handler can reach.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use crate::commands::serve::backend::{Backend, BackendError, CancelToken, Health, Opened, Wanted};
use crate::commands::serve::error::ApiError;
use crate::commands::serve::guard::{ApiKeys, HostCheck, Origins};
use crate::commands::serve::observe::Meter;

/// How the server behaves, apart from the engine.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Keys that open the API; with none, it is open to all.
    pub api_keys: ApiKeys,
    /// Web pages that may call the API.
    pub origins: Origins,
    /// Names by which the server may be addressed.
    pub host_check: HostCheck,
    /// Largest request body, in bytes.
    pub body_limit: usize,
    /// Silence after which a stream sends a comment, so that proxies keep it open.
    pub ping_interval: Duration,
    /// Choices one request may ask for: prompts times `n`.
    pub max_choices: usize,
    /// Whether `GET /metrics` answers.
    pub metrics: bool,
    /// Whether `GET /slots` answers.
    pub slots: bool,
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
            body_limit: 16 << 20,
            ping_interval: Duration::from_secs(10),
            max_choices: 2048,
            metrics: true,
            slots: true,
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
    closing: Arc<watch::Sender<bool>>,
}

impl AppState {
    /// A state for a server that runs until [`close`](Self::close).
    pub fn new(backend: Arc<dyn Backend>, settings: Settings) -> Self {
        Self {
            backend,
            settings: Arc::new(settings),
            meter: Arc::default(),
            closing: Arc::new(watch::Sender::new(false)),
        }
    }

    /// The same state for a socket that has to check host names.
    pub fn with_host_check(mut self, check: HostCheck) -> Self {
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
        let backend = Arc::clone(&self.backend);
        let cancel = CancelToken::new();
        let gone = CancelOnDrop(cancel.clone());
        let opened = blocking(move || backend.open(&wanted, &cancel)).await;
        drop(gone);
        opened
    }
}

/// A client that goes away while its model loads makes axum drop the handler, and this with it.
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

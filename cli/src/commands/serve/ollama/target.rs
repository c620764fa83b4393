//! Which model a request is about, and what was said about it when it was made.

use serde_json::{Map, Value};

use super::options::Options;
use crate::commands::serve::backend::{BackendError, KeepAlive, Opened, Wanted};
use crate::commands::serve::body::Fields;
use crate::commands::serve::error::ApiError;
use crate::commands::serve::keep_alive;
use crate::commands::serve::state::{AppState, blocking};

/// A model that exists, not loaded yet.
#[derive(Clone, Debug)]
pub struct Target {
    /// The name the client used; answers repeat it.
    pub name: String,
    /// The name the backend knows it by.
    pub id: String,
    /// A system prompt for requests that bring none.
    pub system: Option<String>,
    /// Options of the request, and those of the model where the request leaves them open.
    pub options: Options,
    wanted: Wanted,
}

impl Target {
    /// Reads `model`, `keep_alive` and `options`, and looks the model up.
    pub async fn find(state: &AppState, body: Fields<'_>) -> Result<Self, ApiError> {
        let name = name(body)?.to_owned();
        let keep_alive = match body.get("keep_alive") {
            None => None,
            Some(value) => Some(
                keep_alive::from_json(value)
                    .map_err(|why| ApiError::param("keep_alive", format_args!("is wrong: {why}")))?,
            ),
        };
        state.ready()?;
        let (id, system, parameters) = said(state, &name).await?;
        let options = Options::read(body, &parameters)?;
        let wanted = Wanted {
            name: Some(id.clone()),
            exact: true,
            n_ctx: options.n_ctx,
            kv: options.kv,
            keep_alive,
        };
        Ok(Self {
            name,
            id,
            system,
            options,
            wanted,
        })
    }

    /// Loads it, unless it is.
    pub async fn open(&self, state: &AppState) -> Result<Opened, ApiError> {
        state.open(self.wanted.clone()).await
    }

    /// Whether the request asks for the model to be unloaded when it is done.
    pub fn leaves_at_once(&self) -> bool {
        matches!(self.wanted.keep_alive, Some(KeepAlive::For(time)) if time.is_zero())
    }

    /// Unloads it.
    pub async fn unload(&self, state: &AppState) -> Result<(), ApiError> {
        let (backend, id) = (state.backend.clone(), self.id.clone());
        blocking(move || backend.unload(&id)).await.map(drop)
    }

    /// 400 for something this model cannot do, in Ollama's words.
    pub fn cannot(&self, what: &str) -> ApiError {
        ApiError::invalid(format!("\"{}\" does not support {what}", self.name))
    }
}

/// Reads `model`.
pub fn name(body: Fields<'_>) -> Result<&str, ApiError> {
    let name = body.str("model")?.filter(|name| !name.is_empty());
    name.ok_or_else(|| ApiError::param("model", "is required"))
}

/// The model's id, system prompt and options. A backend that describes no models has no aliases.
async fn said(state: &AppState, name: &str) -> Result<(String, Option<String>, Map<String, Value>), ApiError> {
    let (backend, asked) = (state.backend.clone(), name.to_owned());
    let details = blocking(move || match backend.details(&asked) {
        Err(BackendError::NotSupported(_)) => Ok(None),
        found => found.map(Some),
    });
    Ok(match details.await? {
        Some(details) => (
            details.offer.id,
            details.system.filter(|system| !system.is_empty()),
            details.parameters,
        ),
        None => (name.to_owned(), None, Map::new()),
    })
}

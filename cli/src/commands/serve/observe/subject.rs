//! Which model a look at the server means. Looking never loads one.

use crate::commands::serve::backend::{BackendError, Details, Offer, Running};
use crate::commands::serve::error::ApiError;
use crate::commands::serve::state::{AppState, blocking};

/// What a look is about.
#[derive(Debug)]
pub enum Subject {
    /// A loaded model, with what is known of its file.
    Loaded(Box<Running>, Option<Box<Details>>),
    /// A model that could be loaded.
    Unloaded(Box<Offer>, Option<Box<Details>>),
    /// The server as a whole: no model was named, and there is not just one.
    Server,
}

impl Subject {
    /// What `name` means: a model that is loaded, or one on offer. As everywhere, a server with one model takes every name
    /// for it. Without a name: the only model that is loaded, or else on offer.
    ///
    /// # Errors
    /// 404 for a name that is not on offer; what the backend says when it cannot read its files.
    pub async fn find(state: &AppState, name: Option<String>) -> Result<Self, ApiError> {
        state.ready()?;
        let backend = state.backend.clone();
        blocking(move || {
            let mut running = backend.running();
            let offers = backend.offers()?;
            let id = match (name, running.as_slice(), offers.as_slice()) {
                (Some(name), _, _) if running.iter().any(|model| model.card.id == name) => name,
                (Some(name), _, offers) => match backend.details(&name) {
                    // an alias, or a name without its tag
                    Ok(details) => details.offer.id,
                    Err(_) if let [only] = offers => only.id.clone(),
                    Err(BackendError::NotSupported(_)) if offers.iter().any(|offer| offer.id == name) => name,
                    Err(BackendError::NotSupported(_)) => return Err(BackendError::UnknownModel(name)),
                    Err(error) => return Err(error),
                },
                (None, [only], _) => only.card.id.clone(),
                (None, _, [only]) => only.id.clone(),
                (None, _, _) => return Ok(Self::Server),
            };
            let details = backend.details(&id).ok().map(Box::new);
            if let Some(at) = running.iter().position(|model| model.card.id == id) {
                return Ok(Self::Loaded(Box::new(running.swap_remove(at)), details));
            }
            let offer = offers.into_iter().find(|offer| offer.id == id);
            let offer = offer.ok_or(BackendError::UnknownModel(id))?;
            Ok(Self::Unloaded(Box::new(offer), details))
        })
        .await
    }
}

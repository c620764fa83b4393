//! `POST /api/show`: all about one model, as Ollama has it.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;

use crate::commands::serve::backend::{BackendError, Wanted};
use crate::commands::serve::body::{Body, Fields};
use crate::commands::serve::error::ApiError;
use crate::commands::serve::ollama::{self, shown};
use crate::commands::serve::state::{AppState, blocking};

/// The route.
pub fn router() -> Router<AppState> {
    Router::new().route("/api/show", post(show))
}

async fn show(State(state): State<AppState>, Body(body): Body) -> Result<Response, ApiError> {
    let fields = Fields(&body);
    // ollama-rs and older clients send 'name'.
    let name = match fields.str("model")?.filter(|name| !name.is_empty()) {
        None => fields.str("name")?.filter(|name| !name.is_empty()),
        model => model,
    };
    let name = name.ok_or_else(|| ApiError::param("model", "is required"))?.to_owned();
    let verbose = fields.bool("verbose")?.unwrap_or(false);

    let backend = state.backend.clone();
    let about = blocking(move || backend.details(&name)).await?;
    let tokens = if verbose {
        Some(vocabulary(&state, &about.offer.id).await?)
    } else {
        None
    };
    Ok(ollama::json(&shown::show(&about, tokens)))
}

/// The text of every token. The head of the file does not tell, so the model is loaded for it.
async fn vocabulary(state: &AppState, id: &str) -> Result<Vec<String>, ApiError> {
    let wanted = Wanted {
        exact: true,
        ..Wanted::named(Some(id))
    };
    let model = state.open(wanted).await?;
    let backend = state.backend.clone();
    blocking(move || {
        let ids = 0..i32::try_from(model.card.n_vocab).unwrap_or(i32::MAX);
        ids.map(|id| backend.detokenize(&model.card.id, &[id]))
            .collect::<Result<Vec<_>, BackendError>>()
    })
    .await
}

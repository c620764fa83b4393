//! Chats that are longer than the context: Ollama drops their oldest messages, unless told not to.

use std::sync::Arc;

use serde_json::Value;

use crate::commands::serve::backend::{Backend, BackendError, ChatJob, Event, ModelCard, Opened};
use crate::commands::serve::choices::{Choices, Job};
use crate::commands::serve::error::ApiError;
use crate::commands::serve::state::{AppState, blocking};

/// Starts a job, and waits until its answer begins or the client has to be told that there is a response. With `truncate`,
/// a chat that does not fit is started once more without its oldest turns.
pub async fn start(
    state: &AppState,
    model: &Opened,
    job: Job,
    truncate: bool,
) -> Result<(Choices, Vec<(usize, Event)>), ApiError> {
    let error = match begin(state, model, job.clone()).await {
        Err(error) if error.is_context_overflow() => error,
        begun => return begun,
    };
    let Job::Chat(mut job) = job else {
        return Err(error);
    };
    if !truncate {
        return Err(error);
    }
    let (backend, card, whole) = (state.backend.clone(), model.card.clone(), (*job).clone());
    let Some(messages) = blocking(move || shortened(&backend, &card, &whole)).await? else {
        return Err(error);
    };
    job.prompt.messages = Value::Array(messages);
    begin(state, model, Job::Chat(job)).await
}

async fn begin(state: &AppState, model: &Opened, job: Job) -> Result<(Choices, Vec<(usize, Event)>), ApiError> {
    let mut choices = Choices::start(state, model, vec![job])?;
    let opening = choices.opening(state.settings.ping_interval).await?;
    Ok((choices, opening))
}

/// The system messages and as many of the last turns as fit; None if not even the last one does. What is kept begins with
/// a user's message: templates refuse answers and tool results that nobody asked for.
fn shortened(backend: &Arc<dyn Backend>, card: &ModelCard, job: &ChatJob) -> Result<Option<Vec<Value>>, BackendError> {
    let all = job.prompt.messages.as_array().cloned().unwrap_or_default();
    let role = |at: usize| all[at]["role"].as_str();
    let starts: Vec<usize> = (1..all.len()).filter(|&at| role(at) == Some("user")).collect();
    let kept_from = |start: usize| -> Vec<Value> {
        let keep = |at: &usize| *at >= start || role(*at) == Some("system");
        (0..all.len()).filter(keep).map(|at| all[at].clone()).collect()
    };
    let fits = |start: usize| {
        let mut prompt = job.prompt.clone();
        prompt.messages = Value::Array(kept_from(start));
        Ok::<_, BackendError>(backend.count(&card.id, prompt)? < card.n_ctx as usize)
    };
    // Later starts make shorter chats, so the first that fits is found by halving.
    let (mut low, mut high) = (0, starts.len());
    while low < high {
        let middle = low.midpoint(high);
        if fits(starts[middle])? {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(starts.get(low).map(|&start| {
        let kept = kept_from(start);
        tracing::warn!(
            dropped = all.len() - kept.len(),
            kept = kept.len(),
            n_ctx = card.n_ctx,
            "the chat is longer than the context; its oldest messages were dropped"
        );
        kept
    }))
}

//! `POST /api/pull`: downloads a model from the hub, with a line for each step.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::commands::serve::backend::CancelToken;
use crate::commands::serve::body::{Body, Fields};
use crate::commands::serve::error::ApiError;
use crate::commands::serve::ollama_store::{self, CancelOnDrop, Failure, Lines, lines};
use crate::commands::serve::state::AppState;
use crate::hub::{self, Hub, Reference, Status};
use crate::store::Store;

/// Lines that wait for a slow client. Progress beyond them is skipped, never the work held up.
const QUEUE: usize = 32;

/// The route.
pub fn router() -> Router<AppState> {
    Router::new().route("/api/pull", post(pull))
}

async fn pull(State(state): State<AppState>, body: Result<Body, ApiError>) -> Result<Response, Failure> {
    let body = body?;
    let name = ollama_store::model(&body)?;
    let stream = Fields(&body.0).bool("stream")?.unwrap_or(true);
    let store = ollama_store::store(&state)?;
    let hub = state.hub.clone().ok_or_else(no_hub)?;
    let work = Work::new(store, hub, name).await?;

    let cancel = CancelToken::new();
    let token = cancel.clone();
    let (sender, receiver) = mpsc::channel(QUEUE);
    let task = tokio::task::spawn_blocking(move || {
        let outcome = work.run(&token, stream.then_some(&sender));
        if let (Err(failure), true) = (&outcome, stream) {
            // an error means that the client is gone
            let _ = sender.blocking_send(Err(failure.clone()));
        }
        outcome
    });
    if stream {
        return Ok(lines(receiver, cancel, state.closing()));
    }
    let gone = CancelOnDrop(cancel);
    let mut closing = state.closing();
    let stopped = async {
        // an error means that the state is gone, and the server with it
        let _ = closing.wait_for(|closing| *closing).await;
    };
    tokio::pin!(task);
    let outcome = tokio::select! {
        outcome = &mut task => outcome,
        () = stopped => {
            gone.0.cancel();
            task.await
        }
    };
    outcome.map_err(|error| Failure::internal(&error))??;
    Ok(Json(json!({ "status": "success" })).into_response())
}

fn no_hub() -> Failure {
    let status = axum::http::StatusCode::NOT_IMPLEMENTED;
    Failure::new(status, "this server does not download models")
}

struct Work {
    store: Arc<Store>,
    hub: Arc<Hub>,
    /// None for a model that does not come from a hub, and is there.
    reference: Option<Reference>,
}

impl Work {
    /// Checks the name, so that a wrong one is an error of its own and not the end of a stream.
    async fn new(store: Arc<Store>, hub: Arc<Hub>, name: String) -> Result<Self, Failure> {
        let (folder, known) = (store.clone(), name.clone());
        // clients pull before each use, also what was created or put into the folder
        let own = ollama_store::blocking(move || folder.is_own(&known)).await?;
        let reference = if own { None } else { Some(name.parse::<Reference>()?) };
        Ok(Self { store, hub, reference })
    }

    fn run(&self, cancel: &CancelToken, lines: Option<&Lines>) -> Result<(), Failure> {
        let mut report = |status: Status<'_>| {
            let (Some(lines), Some(line)) = (lines, line(status)) else {
                return;
            };
            let gone = match status {
                // one of many: the next says more
                Status::Transfer { total, completed, .. } if completed < total => {
                    lines.is_closed() || {
                        let _ = lines.try_send(Ok(line));
                        false
                    }
                }
                _ => lines.blocking_send(Ok(line)).is_err(),
            };
            if gone {
                cancel.cancel();
            }
        };
        match &self.reference {
            Some(reference) => {
                hub::pull(&self.store, &self.hub, reference, cancel, &mut report)?;
            }
            None => {
                report(Status::Manifest);
                report(Status::Success);
            }
        }
        Ok(())
    }
}

fn line(status: Status<'_>) -> Option<Value> {
    Some(match status {
        Status::Manifest => json!({ "status": "pulling manifest" }),
        Status::Transfer {
            digest,
            total,
            completed,
            ..
        } => json!({
            "status": format!("pulling {}", digest.get(..12).unwrap_or(digest)),
            "digest": format!("sha256:{digest}"),
            "total": total,
            "completed": completed,
        }),
        Status::Waiting => json!({ "status": "waiting for another download of this model" }),
        Status::Retrying { reason } => {
            // with the hub's address: for the log
            tracing::info!("{reason}; trying again");
            json!({ "status": "the connection broke off, trying again" })
        }
        Status::Verifying => json!({ "status": "verifying sha256 digest" }),
        Status::Writing => json!({ "status": "writing manifest" }),
        Status::Success => json!({ "status": "success" }),
    })
}

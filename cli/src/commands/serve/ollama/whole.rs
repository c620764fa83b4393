//! Answers in one piece.

use axum::response::Response;

use super::answer::{Draft, Head, Part, Surface};
use super::context::ContextIds;
use crate::commands::serve::backend::{BackendError, Event};
use crate::commands::serve::choices::Choices;
use crate::commands::serve::error::ApiError;

/// Waits for the end, and answers with all of it. `events` are those that have come already.
pub async fn answer(
    head: Head,
    surface: Surface,
    context: Option<ContextIds>,
    events: Vec<(usize, Event)>,
    mut choices: Choices,
) -> Result<Response, ApiError> {
    let mut part = Part::default();
    let mut calls: Vec<Draft> = Vec::new();
    let mut done = None;
    let mut events = events.into_iter();
    loop {
        let event = match events.next() {
            Some(event) => Some(event),
            None => choices.next().await?,
        };
        let Some((_, event)) = event else {
            break;
        };
        match event {
            Event::Accepted | Event::Started { .. } | Event::Progress(_) | Event::Failed(_) => {}
            Event::Text(piece) => {
                part.text.push_str(&piece.text);
                part.logprobs.extend(piece.logprobs);
            }
            Event::Reasoning(text) => part.thinking.push_str(&text),
            Event::ToolCallStart { index, id, name } => calls.push(Draft {
                index,
                id,
                name,
                arguments: String::new(),
            }),
            Event::ToolCallArguments { index, fragment } => {
                if let Some(call) = calls.iter_mut().find(|call| call.index == index) {
                    call.arguments.push_str(&fragment);
                }
            }
            Event::Done(end) => done = Some(end),
        }
    }
    let done = done.ok_or_else(|| {
        let detail = "a job ended without its last event";
        ApiError::from(BackendError::internal("the engine stopped answering", detail))
    })?;
    let ids = match context {
        Some(context) => context.after(&part.text).await,
        None => None,
    };
    for call in calls {
        match call.finish() {
            Ok(call) => part.calls.push(call),
            Err(text) => part.text.push_str(&text),
        }
    }
    Ok(super::json(&head.last(surface, part, &done, ids)))
}

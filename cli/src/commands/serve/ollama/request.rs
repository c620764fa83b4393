//! Fields that `/api/generate` and `/api/chat` share.

use axum::response::Response;
use serde_json::Value;

use super::answer::{Head, Surface};
use super::target::Target;
use crate::commands::serve::backend::{ChatPrompt, Constraint, Generation, ModelCard};
use crate::commands::serve::body::Fields;
use crate::commands::serve::error::ApiError;
use crate::commands::serve::openai::generation::MAX_LOGPROBS;
use crate::commands::serve::state::{AppState, blocking};

/// Whether and how hard to reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Think {
    /// None leaves it to the template.
    pub on: Option<bool>,
    /// How hard.
    pub effort: Option<String>,
}

impl Think {
    /// Reads `think`.
    pub fn read(body: Fields<'_>) -> Result<Self, ApiError> {
        match body.get("think") {
            None => Ok(Self::default()),
            Some(Value::Bool(on)) => Ok(Self {
                on: Some(*on),
                effort: None,
            }),
            Some(Value::String(effort)) if ["low", "medium", "high", "max"].contains(&effort.as_str()) => Ok(Self {
                on: Some(true),
                effort: Some(effort.clone()),
            }),
            Some(_) => Err(ApiError::param(
                "think",
                "must be true, false, \"low\", \"medium\", \"high\" or \"max\"",
            )),
        }
    }

    /// Fails if the model cannot do what is asked.
    pub fn check(&self, card: &ModelCard, target: &Target) -> Result<(), ApiError> {
        match self.on {
            Some(true) if !card.abilities.thinking => Err(target.cannot("thinking")),
            _ => Ok(()),
        }
    }
}

/// What both endpoints read before a model is loaded for them, so that a mistake costs nothing.
#[derive(Clone, Debug)]
pub struct Common {
    /// Line by line, or in one piece.
    pub stream: bool,
    /// Whether and how hard to reason.
    pub think: Think,
    /// Only show what the template makes of the request.
    pub render_only: bool,
    /// Drop what is old when a chat is longer than the context.
    pub truncate: bool,
    constraint: Constraint,
    logprobs: Option<u32>,
}

impl Common {
    /// Reads `stream`, `think`, `format`, `logprobs` and the like.
    pub fn read(body: Fields<'_>) -> Result<Self, ApiError> {
        // Ollama goes on beyond a full context by forgetting its beginning. Answers end there with `length` instead, so
        // there is nothing to switch.
        body.bool("shift")?;
        Ok(Self {
            stream: body.bool("stream")?.unwrap_or(true),
            think: Think::read(body)?,
            render_only: body.bool("_debug_render_only")?.unwrap_or(false),
            truncate: body.bool("truncate")?.unwrap_or(true),
            constraint: format(body)?,
            logprobs: logprobs(body)?,
        })
    }

    /// How to generate.
    pub fn generation(&self, target: &Target, card: &ModelCard) -> Result<Generation, ApiError> {
        Ok(Generation {
            logprobs: self.logprobs,
            constraint: self.constraint.clone(),
            ..target.options.generation(card)?
        })
    }
}

/// Reads `format`.
fn format(body: Fields<'_>) -> Result<Constraint, ApiError> {
    match body.get("format") {
        None => Ok(Constraint::Free),
        Some(Value::String(word)) if word.is_empty() => Ok(Constraint::Free),
        Some(Value::String(word)) if word == "json" => Ok(Constraint::JsonObject),
        Some(schema @ Value::Object(_)) => Ok(Constraint::JsonSchema(schema.clone())),
        Some(_) => Err(ApiError::param("format", "must be \"json\" or a JSON schema")),
    }
}

fn logprobs(body: Fields<'_>) -> Result<Option<u32>, ApiError> {
    // As with Ollama, alternatives without 'logprobs' are read and not reported.
    let top: Option<u32> = body.int("top_logprobs", 0..=MAX_LOGPROBS)?;
    let on = body.bool("logprobs")?.unwrap_or(false);
    Ok(on.then(|| top.unwrap_or(0)))
}

/// Reads `images` of a request or a message: base64, of any format.
pub fn images<'a>(body: Fields<'a>, card: &ModelCard, target: &Target) -> Result<Vec<&'a str>, ApiError> {
    let images = body.array("images")?.map(Vec::as_slice).unwrap_or_default();
    if !images.is_empty() && !card.abilities.vision {
        return Err(target.cannot("images: it is served without a projector (--mmproj)"));
    }
    let base64 = |image: &'a Value| image.as_str().filter(|image| !image.is_empty());
    let wrong = || ApiError::param("images", "must be an array of images in base64");
    images.iter().map(|image| base64(image).ok_or_else(wrong)).collect()
}

/// The text that the template makes of a chat.
pub async fn render(state: &AppState, card: &ModelCard, prompt: ChatPrompt) -> Result<String, ApiError> {
    let (backend, model) = (state.backend.clone(), card.id.clone());
    blocking(move || backend.render(&model, prompt)).await
}

/// The answer to a request without a prompt: loads the model, or unloads it, and says so.
pub async fn load_or_unload(
    state: &AppState,
    target: &Target,
    head: Head,
    surface: Surface,
) -> Result<Response, ApiError> {
    if target.leaves_at_once() {
        target.unload(state).await?;
        return Ok(super::json(&head.ended(surface, "unload")));
    }
    let opened = target.open(state).await?;
    Ok(super::json(&head.loaded(opened.load).ended(surface, "load")))
}

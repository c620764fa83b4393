//! `/api/embed` and `/api/embeddings`: texts as vectors.

use axum::response::Response;
use llama_turboquant::embed::normalize;
use serde::Serialize;
use serde_json::{Map, Value};

use super::answer::Head;
use super::target::{Target, name};
use crate::commands::serve::backend::{CancelToken, EmbedJob, Embeddings, ModelCard, Prompt};
use crate::commands::serve::body::Fields;
use crate::commands::serve::error::ApiError;
use crate::commands::serve::state::{AppState, cancellable};

#[derive(Debug, Serialize)]
struct Embedded<'a> {
    model: &'a str,
    embeddings: Vec<Vec<f32>>,
    total_duration: u64,
    load_duration: u64,
    prompt_eval_count: u32,
}

#[derive(Debug, Serialize)]
struct EmbeddedOne {
    embedding: Vec<f32>,
}

/// Answers `/api/embed`.
pub async fn embed(state: &AppState, body: &Map<String, Value>) -> Result<Response, ApiError> {
    let fields = Fields(body);
    let head = Head::new(name(fields)?);
    let texts = texts(fields, state.settings.max_choices)?;
    let truncate = fields.bool("truncate")?.unwrap_or(true);
    let dimensions: Option<usize> = fields.int("dimensions", 0..=i64::from(i32::MAX))?;
    let dimensions = dimensions.filter(|&dimensions| dimensions > 0);
    let target = Target::find(state, fields).await?;
    let model = target.open(state).await?;
    let head = head.loaded(model.load);
    check_dimensions(dimensions, &model.card)?;

    let mut made = vectors(state, &model.card, texts, truncate).await?;
    if let Some(dimensions) = dimensions {
        for vector in &mut made.vectors {
            vector.truncate(dimensions);
            normalize(vector);
        }
    }
    Ok(super::json(&Embedded {
        model: head.model(),
        embeddings: made.vectors,
        total_duration: head.total(),
        load_duration: head.load(),
        prompt_eval_count: made.n_tokens,
    }))
}

/// Answers `/api/embeddings`, the older form: one text, and only its vector.
pub async fn embeddings(state: &AppState, body: &Map<String, Value>) -> Result<Response, ApiError> {
    let fields = Fields(body);
    name(fields)?;
    let prompt = fields.str("prompt")?.filter(|prompt| !prompt.is_empty());
    let target = Target::find(state, fields).await?;
    let model = target.open(state).await?;
    let texts = prompt.map(|prompt| vec![prompt.to_owned()]).unwrap_or_default();
    let made = vectors(state, &model.card, texts, true).await?;
    let embedding = made.vectors.into_iter().next().unwrap_or_default();
    Ok(super::json(&EmbeddedOne { embedding }))
}

/// Reads `input`: a text or a list of texts. One empty text is none.
fn texts(fields: Fields<'_>, most: usize) -> Result<Vec<String>, ApiError> {
    let wrong = || ApiError::param("input", "must be a string or an array of strings");
    let list = match fields.get("input") {
        None => return Ok(Vec::new()),
        Some(Value::String(text)) if text.is_empty() => return Ok(Vec::new()),
        Some(Value::String(text)) => return Ok(vec![text.clone()]),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(wrong()),
    };
    if list.len() > most {
        return Err(ApiError::param(
            "input",
            format_args!("may have at most {most} entries"),
        ));
    }
    let text = |(at, value): (usize, &Value)| match value.as_str() {
        Some("") => Err(ApiError::param(format!("input[{at}]"), "is empty and has no embedding")),
        Some(text) => Ok(text.to_owned()),
        None => Err(wrong()),
    };
    list.iter().enumerate().map(text).collect()
}

fn check_dimensions(dimensions: Option<usize>, card: &ModelCard) -> Result<(), ApiError> {
    match dimensions {
        Some(dimensions) if dimensions > card.n_embd as usize => Err(ApiError::param(
            "dimensions",
            format_args!("is {dimensions}, but this model's embeddings have {}", card.n_embd),
        )),
        _ => Ok(()),
    }
}

/// Asks the backend, unless there is nothing to ask for.
async fn vectors(
    state: &AppState,
    card: &ModelCard,
    texts: Vec<String>,
    truncate: bool,
) -> Result<Embeddings, ApiError> {
    if texts.is_empty() {
        return Ok(Embeddings {
            vectors: Vec::new(),
            n_tokens: 0,
        });
    }
    let cancel = CancelToken::new();
    let job = EmbedJob {
        model: card.id.clone(),
        inputs: texts.into_iter().map(Prompt::Text).collect(),
        n_ctx: Some(card.n_ctx),
        truncate,
        cancel: cancel.clone(),
    };
    let made = cancellable(state, cancel, move |backend| backend.embed(job)).await?;
    state.used(made.n_tokens);
    Ok(made)
}

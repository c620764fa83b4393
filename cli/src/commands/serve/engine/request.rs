//! Jobs of the HTTP layer as the library takes them.

use super::{backend_error, images::Images, infill, loaded::Loaded};
use crate::commands::serve::backend::{self, BackendError, ChatJob, ChatPrompt, CompletionJob, Constraint, Prompt};
use llama_turboquant::engine::chat::{self, ChatParser, ChatRequest, ChatTemplate, ToolChoice};
use llama_turboquant::engine::grammar::Grammar;
use llama_turboquant::engine::sampler::SamplingParams;
use llama_turboquant::generate::GenParams;
use llama_turboquant::vision::MediaPrompt;
use llama_turboquant::{CancelToken, Token};
use serde_json::{Value, json};

/// What sampling and limits a request asks for; the constraint is added by whoever knows the template, and the room that its
/// context leaves by whoever knows the prompt.
fn params(generation: &backend::Generation) -> GenParams {
    let mut params = GenParams::new().sampling(SamplingParams {
        ignore_eos: generation.ignore_eos.then_some(true),
        ..generation.sampling.clone()
    });
    params.max_tokens = generation.max_tokens.map(|n| n as usize);
    params.stop.clone_from(&generation.stop);
    params.logprobs = generation.logprobs.map(|n| n as usize);
    params
}

/// A chat, ready for the scheduler.
pub(super) struct Chat {
    pub(super) prompt: MediaPrompt,
    pub(super) params: GenParams,
    pub(super) parser: ChatParser,
    pub(super) reuse_prefix: bool,
}

/// Applies the template, and encodes images; both take their time.
pub(super) fn chat(loaded: &Loaded, mut job: ChatJob, cancel: &CancelToken) -> Result<Chat, BackendError> {
    let template = template(loaded)?;
    let mut params = params(&job.generation);
    let images = Images::take(&mut job.prompt.messages)?;
    let mut request = chat_request(job.prompt);
    match std::mem::take(&mut job.generation.constraint) {
        Constraint::Free => {}
        Constraint::JsonObject => request.json_schema = Some(json!({"type": "object"})),
        Constraint::JsonSchema(schema) => request.json_schema = Some(schema),
        Constraint::Grammar(grammar) => request.grammar = Some(grammar),
    }
    let prompt = template.apply(&request).map_err(backend_error)?;
    let media = media(loaded, &prompt, &images, cancel)?;
    fit(&mut params, loaded, &job.generation, media.n_tokens())?;
    Ok(Chat {
        prompt: media,
        parser: prompt.parser().map_err(backend_error)?,
        params: params.answering(&prompt),
        reuse_prefix: job.generation.cache_prompt,
    })
}

/// Text and images of a rendered chat.
fn media(
    loaded: &Loaded,
    prompt: &chat::ChatPrompt,
    images: &Images,
    cancel: &CancelToken,
) -> Result<MediaPrompt, BackendError> {
    let model = loaded.scheduler.model();
    if images.is_empty() {
        return prompt
            .tokenize(model)
            .map(MediaPrompt::of_tokens)
            .map_err(backend_error);
    }
    let encoded = images.encode(loaded, cancel)?;
    MediaPrompt::of_chat(prompt, model, &images.markers, &encoded).map_err(backend_error)
}

/// Tokens of the prompt that the template makes of a chat.
pub(super) fn count(loaded: &Loaded, mut prompt: ChatPrompt) -> Result<usize, BackendError> {
    let images = Images::take(&mut prompt.messages)?;
    let rendered = template(loaded)?.apply(&chat_request(prompt)).map_err(backend_error)?;
    Ok(media(loaded, &rendered, &images, &CancelToken::new())?.n_tokens())
}

/// The text that the template makes of a chat; images are markers in it.
pub(super) fn render(loaded: &Loaded, mut prompt: ChatPrompt) -> Result<String, BackendError> {
    Images::take(&mut prompt.messages)?;
    let prompt = template(loaded)?.apply(&chat_request(prompt)).map_err(backend_error)?;
    Ok(prompt.text().to_owned())
}

fn template(loaded: &Loaded) -> Result<&ChatTemplate, BackendError> {
    loaded.template.as_ref().ok_or_else(|| {
        BackendError::invalid("this model has no chat template; use /v1/completions, or serve a model that has one")
    })
}

fn chat_request(prompt: ChatPrompt) -> ChatRequest {
    let mut request = ChatRequest {
        messages: array(prompt.messages),
        tools: prompt.tools.map(array).unwrap_or_default(),
        tool_choice: prompt
            .tool_choice
            .map_or(ToolChoice::Auto, |choice| ToolChoice::Json(json!(choice))),
        parallel_tool_calls: prompt.parallel_tool_calls,
        enable_thinking: prompt.thinking,
        reasoning_effort: prompt.reasoning_effort,
        reasoning_format: prompt.reasoning_format,
        continue_final_message: prompt.continue_last.then_some(Value::Bool(true)),
        ..ChatRequest::new()
    };
    if let Some(Value::Object(kwargs)) = prompt.template_kwargs {
        request.chat_template_kwargs = Some(kwargs);
    }
    request
}

fn array(value: Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values,
        other => vec![other],
    }
}

type Completion = (Vec<Token>, GenParams, Option<String>, bool);

/// Tokenizes the prompt; with echo, its text comes along.
pub(super) fn completion(loaded: &Loaded, job: CompletionJob) -> Result<Completion, BackendError> {
    let model = loaded.scheduler.model();
    let mut params = params(&job.generation);
    let grammar = match &job.generation.constraint {
        Constraint::Free => None,
        Constraint::JsonObject => Some(Grammar::json_schema(&json!({"type": "object"}))),
        Constraint::JsonSchema(schema) => Some(Grammar::json_schema(schema)),
        Constraint::Grammar(text) => Some(Grammar::gbnf(text)),
    };
    if let Some(grammar) = grammar {
        params = params.grammar(&grammar.map_err(backend_error)?);
    }
    let tokens = tokens(loaded, &job)?;
    fit(&mut params, loaded, &job.generation, tokens.len())?;
    let echo = match job.prompt {
        _ if !job.echo => None,
        Prompt::Text(text) => Some(text),
        Prompt::Tokens(tokens) => Some(model.detokenize(&tokens, true).map_err(backend_error)?),
        Prompt::Infill(infill) => Some(infill.prompt),
    };
    Ok((tokens, params, echo, job.generation.cache_prompt))
}

fn tokens(loaded: &Loaded, job: &CompletionJob) -> Result<Vec<Token>, BackendError> {
    let model = loaded.scheduler.model();
    let tokens = match &job.prompt {
        Prompt::Text(text) => model.tokenize(text, true, true).map_err(backend_error)?,
        Prompt::Tokens(tokens) => tokens.clone(),
        Prompt::Infill(infill) => {
            // half of the context at least is for the prompt, however much the answer may take
            let n_ctx = context(loaded, &job.generation) as usize;
            let answer = job.generation.max_tokens.map_or(0, |n| n as usize).min(n_ctx / 2);
            infill::tokens(model, infill, n_ctx.saturating_sub(answer + 1))?
        }
    };
    if !tokens.is_empty() {
        return Ok(tokens);
    }
    // An empty prompt continues from nothing; a model without BOS has nothing to start from.
    match model.meta().bos {
        bos if bos >= 0 => Ok(vec![bos]),
        _ => Err(BackendError::invalid(
            "the prompt is empty, and this model has no BOS token to start from",
        )),
    }
}

/// Tokens that prompt and answer may use.
fn context(loaded: &Loaded, generation: &backend::Generation) -> u32 {
    let n_ctx = loaded.card.n_ctx;
    generation.n_ctx.map_or(n_ctx, |asked| asked.min(n_ctx))
}

/// Tokens that a prompt leaves of a context.
///
/// # Errors
/// None is left.
pub(super) fn room(n_ctx: u32, n_prompt: usize) -> Result<u32, BackendError> {
    let n_prompt = super::saturate(n_prompt);
    let room = n_ctx.checked_sub(n_prompt).filter(|&room| room > 0);
    room.ok_or(BackendError::ContextOverflow { n_prompt, n_ctx })
}

/// Limits the answer to what the prompt leaves of the request's context. Before queueing, so that a prompt without room keeps
/// its status even when the client asked for a stream.
fn fit(
    params: &mut GenParams,
    loaded: &Loaded,
    generation: &backend::Generation,
    n_prompt: usize,
) -> Result<(), BackendError> {
    let room = room(context(loaded, generation), n_prompt)? as usize;
    params.max_tokens = Some(params.max_tokens.map_or(room, |most| most.min(room)));
    Ok(())
}

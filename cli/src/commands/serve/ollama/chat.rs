//! `/api/chat`: a chat by messages.

use axum::response::Response;
use serde_json::{Map, Value};

use super::answer::{Head, Surface};
use super::lines::Lines;
use super::request::{Common, load_or_unload, render};
use super::target::{Target, name};
use super::{fit, messages, whole};
use crate::commands::serve::backend::{ChatJob, ChatPrompt, ModelCard};
use crate::commands::serve::body::Fields;
use crate::commands::serve::choices::Job;
use crate::commands::serve::error::ApiError;
use crate::commands::serve::openai::tools::tools;
use crate::commands::serve::state::AppState;
use crate::commands::serve::stream;

/// Answers a request.
pub async fn chat(state: &AppState, body: &Map<String, Value>) -> Result<Response, ApiError> {
    let fields = Fields(body);
    let head = Head::new(name(fields)?);
    let common = Common::read(fields)?;
    let empty = fields.array("messages")?.is_none_or(Vec::is_empty);
    let target = Target::find(state, fields).await?;
    if empty {
        return load_or_unload(state, &target, head, Surface::Chat).await;
    }

    let model = target.open(state).await?;
    let head = head.loaded(model.load);
    let prompt = prompt(fields, &common, &target, &model.card)?;
    if common.render_only {
        let text = render(state, &model.card, prompt).await?;
        return Ok(super::json(&head.rendered(&text)));
    }
    let generation = common.generation(&target, &model.card)?;
    let job = Job::Chat(Box::new(ChatJob { prompt, generation }));
    let (choices, events) = fit::start(state, &model, job, common.truncate).await?;
    if common.stream {
        let lines = Lines::new(head, Surface::Chat, None);
        return Ok(stream::go_on(choices, events, lines, state.settings.ping_interval));
    }
    whole::answer(head, Surface::Chat, None, events, choices).await
}

fn prompt(fields: Fields<'_>, common: &Common, target: &Target, card: &ModelCard) -> Result<ChatPrompt, ApiError> {
    if !card.abilities.completion {
        return Err(target.cannot("chat"));
    }
    common.think.check(card, target)?;
    let tools = tools(fields)?;
    if tools.tools.is_some() && !card.abilities.tools {
        return Err(target.cannot("tools"));
    }
    Ok(ChatPrompt {
        messages: messages::read(fields, target, card)?,
        tools: tools.tools,
        tool_choice: tools.choice,
        thinking: common.think.on,
        reasoning_effort: common.think.effort.clone(),
        ..ChatPrompt::default()
    })
}

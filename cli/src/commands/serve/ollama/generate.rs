//! `/api/generate`: an answer to one prompt.

use axum::response::Response;
use serde_json::{Map, Value, json};

use super::answer::{Head, Surface};
use super::context::{ContextIds, continued};
use super::lines::Lines;
use super::messages::with_images;
use super::request::{Common, images, load_or_unload, render};
use super::target::{Target, name};
use super::{fit, whole};
use crate::commands::serve::backend::{
    ChatJob, ChatPrompt, CompletionJob, Generation, Infill, ModelCard, Opened, Prompt,
};
use crate::commands::serve::body::Fields;
use crate::commands::serve::choices::Job;
use crate::commands::serve::error::ApiError;
use crate::commands::serve::state::{AppState, blocking};
use crate::commands::serve::stream;

/// Answers a request.
pub async fn generate(state: &AppState, body: &Map<String, Value>) -> Result<Response, ApiError> {
    let fields = Fields(body);
    let head = Head::new(name(fields)?);
    let common = Common::read(fields)?;
    let asked = Asked::read(fields)?;
    let no_images = fields.array("images")?.is_none_or(Vec::is_empty);
    let target = Target::find(state, fields).await?;
    if asked.prompt.is_empty() && asked.suffix.is_none() && no_images {
        return load_or_unload(state, &target, head, Surface::Generate).await;
    }

    let model = target.open(state).await?;
    let head = head.loaded(model.load);
    let plan = asked.plan(fields, &common, &target, &model.card)?;
    if common.render_only {
        let text = plan.show(state, &model.card).await?;
        return Ok(super::json(&head.rendered(&text)));
    }
    let generation = common.generation(&target, &model.card)?;
    let (job, context) = plan.job(state, &model, generation).await?;
    let (choices, events) = fit::start(state, &model, job, common.truncate).await?;
    if common.stream {
        let lines = Lines::new(head, Surface::Generate, context);
        return Ok(stream::go_on(choices, events, lines, state.settings.ping_interval));
    }
    whole::answer(head, Surface::Generate, context, events, choices).await
}

/// The fields that say what to go on from.
struct Asked<'a> {
    prompt: &'a str,
    suffix: Option<&'a str>,
    system: Option<&'a str>,
    context: Option<&'a [Value]>,
    raw: bool,
}

/// What to go on from.
enum Plan {
    /// The text, as it is.
    Raw(String),
    /// A place in a text.
    Infill(Infill),
    /// A turn of a chat, after the tokens of earlier ones.
    Turn {
        prompt: Box<ChatPrompt>,
        before: Vec<i32>,
        /// There are images in it.
        images: bool,
    },
}

impl<'a> Asked<'a> {
    fn read(fields: Fields<'a>) -> Result<Self, ApiError> {
        let some = |name| Ok::<_, ApiError>(fields.str(name)?.filter(|text| !text.is_empty()));
        let asked = Self {
            prompt: fields.str("prompt")?.unwrap_or(""),
            suffix: some("suffix")?,
            system: some("system")?,
            context: fields
                .array("context")?
                .map(Vec::as_slice)
                .filter(|ids| !ids.is_empty()),
            raw: fields.bool("raw")?.unwrap_or(false),
        };
        let template = some("template")?;
        if asked.raw && (template.is_some() || asked.system.is_some() || asked.context.is_some()) {
            return Err(ApiError::param(
                "raw",
                "mode does not support template, system, or context",
            ));
        }
        if template.is_some() {
            return Err(ApiError::param(
                "template",
                "cannot be set per request; make a model with it (POST /api/create), or send the whole text with \"raw\": true",
            ));
        }
        Ok(asked)
    }

    fn plan(&self, fields: Fields<'_>, common: &Common, target: &Target, card: &ModelCard) -> Result<Plan, ApiError> {
        if !card.abilities.completion {
            return Err(target.cannot("generate"));
        }
        common.think.check(card, target)?;
        let images = images(fields, card, target)?;
        if let Some(suffix) = self.suffix {
            if !card.abilities.insert {
                return Err(target.cannot("insert"));
            }
            return Ok(Plan::Infill(Infill {
                prefix: self.prompt.to_owned(),
                suffix: suffix.to_owned(),
                ..Infill::default()
            }));
        }
        if self.raw {
            if !images.is_empty() {
                return Err(ApiError::param("images", "have no place in a raw prompt"));
            }
            return Ok(Plan::Raw(self.prompt.to_owned()));
        }
        if !images.is_empty() && self.context.is_some_and(|context| !context.is_empty()) {
            return Err(ApiError::param(
                "context",
                "is tokens, which hold no images; use /api/chat for a conversation with them",
            ));
        }
        let before = self.context.unwrap_or_default().iter();
        let before = before.map(|id| card.token(id)).collect::<Option<Vec<_>>>();
        let before = before.ok_or_else(|| ApiError::param("context", "must consist of token ids of this model"))?;
        // The system prompt of earlier turns is among their tokens; only one of the request itself comes anew.
        let system = self.system.or(target.system.as_deref().filter(|_| before.is_empty()));
        let mut messages: Vec<Value> = system
            .map(|text| json!({ "role": "system", "content": text }))
            .into_iter()
            .collect();
        messages.push(json!({ "role": "user", "content": with_images(self.prompt, &images) }));
        let prompt = ChatPrompt {
            messages: Value::Array(messages),
            thinking: common.think.on,
            reasoning_effort: common.think.effort.clone(),
            ..ChatPrompt::default()
        };
        Ok(Plan::Turn {
            prompt: Box::new(prompt),
            before,
            images: !images.is_empty(),
        })
    }
}

impl Plan {
    /// The text that the model would see.
    async fn show(self, state: &AppState, card: &ModelCard) -> Result<String, ApiError> {
        match self {
            Self::Raw(text) => Ok(text),
            Self::Infill(_) => Err(ApiError::param(
                "_debug_render_only",
                "shows templates, and 'suffix' takes none",
            )),
            Self::Turn { prompt, before, .. } => {
                let text = render(state, card, *prompt).await?;
                if before.is_empty() {
                    return Ok(text);
                }
                let (backend, model) = (state.backend.clone(), card.id.clone());
                let earlier = blocking(move || backend.detokenize(&model, &before)).await?;
                Ok(earlier + &text)
            }
        }
    }

    /// The job, and what the context after it is made of. Raw prompts have none, as with Ollama.
    async fn job(
        self,
        state: &AppState,
        model: &Opened,
        generation: Generation,
    ) -> Result<(Job, Option<ContextIds>), ApiError> {
        let completion = |prompt, generation| {
            Job::Completion(Box::new(CompletionJob {
                prompt,
                echo: false,
                generation,
            }))
        };
        let card = &model.card;
        Ok(match self {
            Self::Raw(text) => (completion(Prompt::Text(text), generation), None),
            Self::Infill(infill) => (completion(Prompt::Infill(Box::new(infill)), generation), None),
            Self::Turn { prompt, before, images } if before.is_empty() => {
                let context = (!images).then(|| ContextIds::of_chat(state, &card.id, (*prompt).clone()));
                let prompt = *prompt;
                (Job::Chat(Box::new(ChatJob { prompt, generation })), context)
            }
            Self::Turn {
                prompt,
                before: mut ids,
                ..
            } => {
                let text = render(state, card, *prompt).await?;
                ids.extend(continued(state, &card.id, text).await?);
                let context = ContextIds::of_tokens(state, &card.id, ids.clone());
                (completion(Prompt::Tokens(ids), generation), Some(context))
            }
        })
    }
}

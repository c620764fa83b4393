//! Asking: every prompt of every cache, on one model, with one seed, greedily.

use super::check::Answer;
use super::local::Local;
use super::outcome::{AnswerOutcome, Outcome, Outcomes};
use super::prepare::{ModelSizer, Prepared, Sizer, prepare};
use super::set::{Prompt, PromptSet};
use crate::engine::chat::{ChatMessage, ChatTemplate};
use crate::generate::Session;
use crate::kv::KvCacheConfig;
use crate::measure::{Options, Progress};
use crate::{ContextConfig, Error, Model, Result};
use serde_json::{Value, json};

/// How a run asks.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Threads, batch, cancellation.
    pub engine: Options,
    /// Of the samplers, which are greedy: it matters only for endpoints that draw in spite of temperature 0.
    pub seed: u32,
    /// Most tokens of context; 0: what the model was trained with.
    pub n_ctx: u32,
    /// Let the model think first, where its template has a switch.
    pub think: bool,
    /// Answers of a former run: their first cache is the reference instead of the first that is asked.
    pub reference: Option<Outcomes>,
}

impl RunOptions {
    /// Seed 1, the model's whole context, no thinking.
    pub fn new(engine: Options) -> Self {
        Self {
            engine,
            seed: 1,
            n_ctx: 0,
            think: false,
            reference: None,
        }
    }
}

/// A cache and the name that results give it.
#[derive(Debug, Clone)]
pub struct NamedCache {
    /// The name.
    pub name: String,
    /// The cache.
    pub kv: KvCacheConfig,
}

/// Somebody who answers conversations.
pub trait Responder {
    /// What can go wrong beyond a refusal.
    type Error: From<Error>;

    /// Answers a conversation.
    ///
    /// # Errors
    /// What makes asking more of it pointless; what concerns only this prompt is a [`Answered::Refused`].
    fn answer(&mut self, request: &Request<'_>) -> Result<Answered, Self::Error>;
}

/// A conversation to be answered.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Its messages, OpenAI-shaped.
    pub messages: &'a [Value],
    /// Functions that may be called.
    pub tools: &'a [Value],
    /// Most tokens of the answer.
    pub max_tokens: usize,
    /// It goes on from the request before: what is known of that may be reused.
    pub continues: bool,
}

/// What a responder says.
#[derive(Debug, Clone, PartialEq)]
pub enum Answered {
    /// An answer.
    Reply(Box<Reply>),
    /// This prompt is not possible, because.
    Refused(String),
}

/// An answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reply {
    /// The message: content, tool calls.
    pub message: ChatMessage,
    /// The text as generated; where only the message is known, its content or its calls.
    pub raw: String,
    /// The tokens of it, if known.
    pub tokens: Option<Vec<i32>>,
    /// Tokens of the prompt.
    pub n_prompt: Option<usize>,
    /// Tokens generated.
    pub n_tokens: Option<usize>,
    /// Why it ended.
    pub finish: Option<String>,
}

/// Asks all prompts of all caches; `on_answer` sees each result as it comes.
///
/// The caches take turns, so only one is in memory at a time. Cancelling ends the run with what there is: some prompts
/// have fewer answers than there are caches.
///
/// # Errors
/// As [`Model::context`] and [`Session::prompt`].
pub fn run(
    model: &Model,
    set: &PromptSet,
    caches: &[NamedCache],
    options: &RunOptions,
    mut on_answer: impl FnMut(Progress, &Outcomes),
) -> Result<Outcomes> {
    let template = if model.meta().chat_template {
        Some(ChatTemplate::from_model(model)?)
    } else {
        None
    };
    let sizer = ModelSizer {
        model: model.clone(),
        template: template.clone(),
    };
    let limit = match options.n_ctx {
        0 => model.meta().n_ctx_train,
        n => n,
    };
    let plan = Plan::new(set, Some(limit as usize), &sizer)?;
    let names = caches.iter().map(|cache| cache.name.clone()).collect();
    let mut outcomes = plan.outcomes(set, names);
    if let Some(reference) = &options.reference {
        outcomes.refer_to(reference);
    }
    for (number, cache) in caches.iter().enumerate() {
        let context = model.context(ContextConfig {
            n_ctx: (plan.n_ctx() as u32)
                .next_multiple_of(256)
                .min(limit.next_multiple_of(256)),
            n_batch: options.engine.n_batch,
            n_ubatch: options.engine.n_batch,
            n_threads: options.engine.n_threads,
            kv: cache.kv.clone(),
            ..Default::default()
        })?;
        let mut local = Local {
            session: Session::new(context),
            template: template.clone(),
            seed: options.seed,
            think: options.think,
            cancel: options.engine.cancel.clone(),
        };
        let place = Place {
            number,
            of: caches.len(),
        };
        let asked = ask_all(
            set,
            &plan,
            &cache.name,
            place,
            &mut local,
            &mut outcomes,
            &mut on_answer,
        );
        match asked {
            Err(Error::Cancelled) => break,
            other => other?,
        }
    }
    Ok(outcomes)
}

/// All prompts of a set, ready to be asked: the same for every cache.
#[derive(Debug)]
pub struct Plan(Vec<Result<Prepared, String>>);

impl Plan {
    /// Fits the prompts into `limit` tokens of context.
    ///
    /// # Errors
    /// The sizer's.
    pub fn new(set: &PromptSet, limit: Option<usize>, sizer: &dyn Sizer) -> Result<Self> {
        let prepared = set.prompts.iter().map(|prompt| prepare(prompt, limit, sizer));
        Ok(Self(prepared.collect::<Result<_>>()?))
    }

    /// Tokens of context the largest of them needs.
    pub fn n_ctx(&self) -> usize {
        let needs = self.0.iter().filter_map(|prepared| prepared.as_ref().ok());
        needs.map(|prepared| prepared.needs).max().unwrap_or(0).max(256)
    }

    /// Outcomes without answers, for these caches.
    pub fn outcomes(&self, set: &PromptSet, caches: Vec<String>) -> Outcomes {
        let outcome = |(prompt, prepared): (&Prompt, &Result<Prepared, String>)| Outcome {
            id: prompt.id.clone(),
            category: prompt.category.clone(),
            fingerprint: prompt.fingerprint(),
            generated: prepared.as_ref().ok().and_then(|prepared| prepared.generated),
            not_run: prepared.as_ref().err().cloned(),
            answers: Vec::new(),
        };
        Outcomes {
            caches,
            prompts: set.prompts.iter().zip(&self.0).map(outcome).collect(),
        }
    }
}

/// Which of the caches is asked, for the progress.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Its number, from 0.
    pub number: usize,
    /// Of how many.
    pub of: usize,
}

/// Asks one responder all prompts, and adds its answers to `outcomes` under `name`.
///
/// # Errors
/// The responder's; what it answered before stays in `outcomes`.
pub fn ask_all<R: Responder>(
    set: &PromptSet,
    plan: &Plan,
    name: &str,
    place: Place,
    responder: &mut R,
    outcomes: &mut Outcomes,
    mut on_answer: impl FnMut(Progress, &Outcomes),
) -> Result<(), R::Error> {
    let n = set.prompts.len();
    for (i, (prompt, prepared)) in set.prompts.iter().zip(&plan.0).enumerate() {
        let answer = match prepared {
            Ok(prepared) => ask(prompt, prepared, responder)?,
            Err(why) => AnswerOutcome::missing(why.clone()),
        };
        outcomes.add(i, answer.named(name));
        let progress = Progress {
            done: place.number * n + i + 1,
            of: place.of * n,
        };
        on_answer(progress, outcomes);
    }
    Ok(())
}

/// Asks one prompt: all of its turns, each with the answers before it.
fn ask<R: Responder>(prompt: &Prompt, prepared: &Prepared, responder: &mut R) -> Result<AnswerOutcome, R::Error> {
    let rounds = prompt.rounds();
    let mut messages = prepared.start.clone();
    let mut outcome = AnswerOutcome::missing(String::new());
    let mut tokens = Some(Vec::new());
    let mut failed = Vec::new();
    for (i, round) in rounds.iter().enumerate() {
        if let Some(text) = prepared.asks.get(i) {
            messages.push(json!({"role": "user", "content": text}));
        }
        let request = Request {
            messages: &messages,
            tools: &prompt.tools,
            max_tokens: prompt.max_tokens,
            continues: i > 0,
        };
        let reply = match responder.answer(&request)? {
            Answered::Reply(reply) => *reply,
            Answered::Refused(why) => return Ok(AnswerOutcome::missing(why)),
        };
        let text = without_thoughts(reply.message.content.as_deref().unwrap_or(""));
        let answer = Answer {
            text,
            calls: &reply.message.tool_calls,
        };
        let pattern = match round.pattern {
            Some(pattern) if !pattern.is_match(text) => Err(format!("nothing matches `{}`", pattern.as_str())),
            _ => Ok(()),
        };
        let checked = pattern.and_then(|()| round.checker.map_or(Ok(()), |checker| checker.check(&answer)));
        if let Err(why) = checked {
            failed.push(if rounds.len() > 1 {
                format!("turn {}: {why}", i + 1)
            } else {
                why
            });
        }
        if i > 0 {
            outcome.answer += &format!("\n--- {} ---\n", i + 1);
        }
        outcome.answer += &reply.raw;
        outcome.n_prompt = reply.n_prompt;
        outcome.n_tokens = outcome
            .n_tokens
            .or((i == 0).then_some(0))
            .zip(reply.n_tokens)
            .map(|(a, b)| a + b);
        outcome.finish = reply.finish;
        tokens = tokens.zip(reply.tokens).map(|(mut all, more): (Vec<i32>, _)| {
            all.extend(more);
            all
        });
        messages.push(json!({"role": "assistant", "content": text}));
    }
    outcome.passed = Some(failed.is_empty());
    let cut = outcome.finish.as_deref() == Some("length") && !failed.is_empty();
    if cut {
        failed.push("the answer reached its limit of tokens".into());
    }
    outcome.why = (!failed.is_empty()).then(|| failed.join("; "));
    outcome.tokens = tokens;
    Ok(outcome)
}

/// What follows the model's thoughts, where a template does not part them from the answer.
fn without_thoughts(text: &str) -> &str {
    let trimmed = text.trim_start();
    if !trimmed.starts_with("<think>") {
        return text;
    }
    trimmed
        .split_once("</think>")
        .map_or("", |(_, answer)| answer.trim_start())
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;

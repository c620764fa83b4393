//! Holding conversations with several caches at once.

use super::script::{Turn, TurnKind};
use crate::engine::chat::{ChatRequest, ChatTemplate};
use crate::generate::keep_prefix;
use crate::kv::KvCacheConfig;
use crate::measure::Progress;
use crate::measure::arm::Options;
use crate::measure::needle::has_word;
use crate::measure::scores::compare;
use crate::{Batch, Context, ContextConfig, Error, Model, Result, Token};
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError, mpsc};

/// What one cache did in one turn.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TurnResult {
    /// Whether the answer to a recall question has the word; null: nothing was asked.
    pub recalled: Option<bool>,
    /// That answer's first line.
    pub answer: Option<String>,
    /// Mean divergence from the first cache over the turn's tokens, in nats; null for the first cache itself.
    pub kl: Option<f64>,
    /// Tokens of the turn: the user's message and the script's answer.
    pub n_tokens: usize,
}

/// One conversation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Conversation {
    /// Its number among the scripts.
    pub number: usize,
    /// By cache, then by turn.
    pub caches: Vec<Vec<TurnResult>>,
}

/// What [`sessions`] measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SessionRun {
    /// Those that came to their end, in order.
    pub conversations: Vec<Conversation>,
    /// False if it was stopped before all did.
    pub complete: bool,
}

/// Most tokens of an answer.
const ANSWER_TOKENS: usize = 40;

/// Holds every conversation of `scripts` with all `caches` at once; the first is what the others are compared with.
/// [`Options::n_parallel`] conversations are held at the same time, each with a context for every cache. `on` is called
/// when it begins and after each conversation. A model without a chat template gets `Question:` and `Answer:`.
///
/// # Errors
/// [`Error::Invalid`] without caches, and for conversations longer than the model was trained with; as
/// [`KvCacheConfig::resolve`], before any work; as [`Context::new`] and [`Context::decode`]. Being cancelled is no error: the
/// run is then not complete.
pub fn sessions(
    model: &Model,
    scripts: &[Vec<Turn>],
    caches: &[KvCacheConfig],
    options: &Options,
    mut on: impl FnMut(Progress, Option<&Conversation>),
) -> Result<SessionRun> {
    if caches.is_empty() {
        return Err(Error::Invalid("a session needs at least one cache".into()));
    }
    for kv in caches {
        kv.resolve(model.meta())?;
    }
    let of = scripts.len();
    let mut conversations: Vec<Conversation> = Vec::with_capacity(of);
    on(Progress { done: 0, of }, None);
    let queue = Mutex::new((0..of).collect::<VecDeque<_>>());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let ended = std::thread::scope(|scope| {
        let (send, receive) = mpsc::channel();
        let workers: Vec<_> = (0..options.n_parallel.max(1))
            .map(|_| {
                let (send, next) = (send.clone(), &next);
                scope.spawn(move || {
                    while let Some(number) = next() {
                        let caches = hold(model, &scripts[number], caches, options)?;
                        if send.send(Conversation { number, caches }).is_err() {
                            break; // nobody reads any more
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        drop(send);
        for conversation in receive {
            conversations.push(conversation);
            let done = conversations.len();
            on(Progress { done, of }, conversations.last());
        }
        workers
            .into_iter()
            .map(|worker| worker.join().expect("holding a conversation does not panic"))
            .fold(Ok(()), Result::and)
    });
    match ended {
        Ok(()) | Err(Error::Cancelled) => {}
        Err(error) => return Err(error),
    }
    conversations.sort_by_key(|conversation| conversation.number);
    let complete = conversations.len() == of;
    Ok(SessionRun {
        conversations,
        complete,
    })
}

/// A conversation in tokens.
struct Transcript {
    tokens: Vec<Token>,
    turns: Vec<Bounds>,
}

struct Bounds {
    /// Tokens up to and with the user's message.
    asked: usize,
    /// What opens the answer and is not in the transcript once the answer is (some templates open differently).
    opening: Vec<Token>,
    /// Tokens up to and with the answer.
    answered: usize,
}

fn transcript(model: &Model, script: &[Turn]) -> Result<Transcript> {
    let template = if model.meta().chat_template {
        Some(ChatTemplate::from_model(model)?)
    } else {
        None
    };
    let mut request = ChatRequest::new();
    request.enable_thinking = Some(false);
    let mut text = String::new();
    let render = |request: &ChatRequest, text: &str, open: bool| match &template {
        Some(template) => {
            let mut request = request.clone();
            request.add_generation_prompt = Some(open);
            template.apply(&request)?.tokenize(model)
        }
        None => model.tokenize(text, true, false),
    };
    // the whole first: whether it fits is known before the turns are rendered one by one
    let whole = script
        .iter()
        .fold((request.clone(), String::new()), |(request, text), turn| {
            let lines = format!("{text}Question: {}\nAnswer: {}\n", turn.user, turn.assistant);
            (request.user(&turn.user).assistant(&turn.assistant), lines)
        });
    let tokens = render(&whole.0, &whole.1, false)?;
    let n_ctx_train = model.meta().n_ctx_train as usize;
    if tokens.len() + ANSWER_TOKENS > n_ctx_train {
        return Err(Error::Invalid(format!(
            "{} turns are {} tokens; with {ANSWER_TOKENS} for an answer they do not fit the {n_ctx_train} that the model was \
             trained with. Use fewer turns",
            script.len(),
            tokens.len()
        )));
    }
    let mut rendered = Vec::with_capacity(script.len());
    for turn in script {
        request = request.user(&turn.user);
        text += &format!("Question: {}\nAnswer:", turn.user);
        let asked = render(&request, &text, true)?;
        request = request.assistant(&turn.assistant);
        text += &format!(" {}\n", turn.assistant);
        rendered.push((asked, render(&request, &text, false)?));
    }
    // Templates may write old turns differently from new ones; the text that is forced is the last rendering, and each turn
    // ends where the rendering of its time and the last one part.
    let common = |part: &[Token]| part.iter().zip(&tokens).take_while(|(a, b)| a == b).count();
    let mut turns: Vec<Bounds> = Vec::with_capacity(script.len());
    for (asked, answered) in &rendered {
        let before = turns.last().map_or(0, |turn| turn.answered);
        let asked_at = common(asked).max(before);
        turns.push(Bounds {
            asked: asked_at,
            opening: asked.get(asked_at..).unwrap_or_default().to_vec(),
            answered: common(answered).max(asked_at),
        });
    }
    Ok(Transcript { tokens, turns })
}

fn hold(model: &Model, script: &[Turn], caches: &[KvCacheConfig], options: &Options) -> Result<Vec<Vec<TurnResult>>> {
    let transcript = transcript(model, script)?;
    let n_ctx = (transcript.tokens.len() + ANSWER_TOKENS) as u32;
    let mut talks = caches
        .iter()
        .map(|kv| Talk::new(model, kv, n_ctx, options))
        .collect::<Result<Vec<_>>>()?;
    let mut results = vec![Vec::with_capacity(script.len()); caches.len()];
    let mut at = 0;
    for (turn, bounds) in script.iter().zip(&transcript.turns) {
        let mut sums = vec![0.0; caches.len()];
        let mut answers = vec![None; caches.len()];
        advance(&mut talks, &transcript.tokens[at..bounds.asked], &mut sums)?;
        if let TurnKind::Recall { .. } = turn.kind {
            for (talk, answer) in talks.iter_mut().zip(&mut answers) {
                *answer = Some(talk.answer(&bounds.opening, options)?);
            }
        }
        advance(&mut talks, &transcript.tokens[bounds.asked..bounds.answered], &mut sums)?;
        let n_tokens = bounds.answered - at;
        for (cache, (answer, sum)) in answers.into_iter().zip(sums).enumerate() {
            let recalled = match (&turn.kind, &answer) {
                (TurnKind::Recall { expected, .. }, Some(answer)) => Some(has_word(answer, expected)),
                _ => None,
            };
            results[cache].push(TurnResult {
                recalled,
                answer,
                kl: (cache > 0 && n_tokens > 0).then(|| sum / n_tokens as f64),
                n_tokens,
            });
        }
        at = bounds.answered;
    }
    Ok(results)
}

/// Appends `tokens` to all caches and adds the divergences of their predictions from the first's.
fn advance(talks: &mut [Talk], tokens: &[Token], sums: &mut [f64]) -> Result<()> {
    let Some((base, others)) = talks.split_first_mut() else {
        return Ok(());
    };
    for slice in tokens.chunks(base.context.n_batch() as usize) {
        base.append(slice, true)?;
        for (other, sum) in others.iter_mut().zip(&mut sums[1..]) {
            other.append(slice, true)?;
            for (i, token) in slice.iter().enumerate() {
                // which token is said to come next does not change the divergence
                *sum += compare(base.row(i), other.row(i), *token, 0).kl;
            }
        }
    }
    Ok(())
}

/// One cache's side of a conversation.
struct Talk {
    context: Context,
    batch: Batch,
    tokens: Vec<Token>,
    n_vocab: usize,
    /// Of the tokens appended last, if asked for; else of the last one.
    logits: Vec<f32>,
}

impl Talk {
    fn new(model: &Model, kv: &KvCacheConfig, n_ctx: u32, options: &Options) -> Result<Self> {
        let mut context = model.context(ContextConfig {
            n_ctx,
            n_batch: options.n_batch,
            n_ubatch: options.n_batch,
            n_threads: options.n_threads,
            kv: kv.clone(),
            ..Default::default()
        })?;
        context.set_cancel(options.cancel.clone());
        Ok(Self {
            batch: Batch::new(context.n_batch() as usize),
            n_vocab: model.meta().n_vocab as usize,
            context,
            tokens: Vec::new(),
            logits: Vec::new(),
        })
    }

    fn row(&self, i: usize) -> &[f32] {
        &self.logits[i * self.n_vocab..][..self.n_vocab]
    }

    /// The most probable next token.
    fn top(&self) -> Option<Token> {
        let last = self.logits.len().checked_sub(self.n_vocab)?;
        let mut top = 0;
        for (i, logit) in self.logits[last..].iter().enumerate() {
            if *logit > self.logits[last + top] {
                top = i;
            }
        }
        Token::try_from(top).ok()
    }

    /// Computes tokens, at most a batch of them, behind those in the cache.
    fn append(&mut self, tokens: &[Token], all: bool) -> Result<()> {
        self.batch.clear();
        for (i, &token) in tokens.iter().enumerate() {
            let wanted = all || i + 1 == tokens.len();
            self.batch.push(token, (self.tokens.len() + i) as i32, 0, wanted);
        }
        self.context.decode(&self.batch)?;
        self.tokens.extend_from_slice(tokens);
        self.logits.clear();
        for i in (0..tokens.len()).filter(|i| all || i + 1 == tokens.len()) {
            let row = self
                .context
                .logits(i)
                .ok_or_else(|| Error::Engine("the engine returned no logits".into()))?;
            if row.iter().any(|logit| logit.is_nan()) {
                let kv = &self.context.config().kv;
                return Err(Error::Engine(format!(
                    "the logits are not numbers with a {}/{} cache",
                    kv.k, kv.v
                )));
            }
            self.logits.extend_from_slice(row);
        }
        Ok(())
    }

    /// The first line of the greedy answer; afterwards the cache is as before.
    fn answer(&mut self, opening: &[Token], options: &Options) -> Result<String> {
        let n = self.tokens.len();
        let n_batch = self.context.n_batch() as usize;
        for slice in opening.chunks(n_batch) {
            self.append(slice, false)?;
        }
        let model = self.context.model().clone();
        let mut said = Vec::new();
        let mut text = String::new();
        while let Some(token) = self
            .top()
            .filter(|token| said.len() < ANSWER_TOKENS && !model.is_eog(*token))
        {
            if options.is_cancelled() {
                return Err(Error::Cancelled);
            }
            said.push(token);
            text = model.detokenize(&said, false)?;
            if text.trim_start().contains('\n') || self.tokens.len() >= self.context.n_ctx_seq() as usize {
                break;
            }
            self.append(&[token], false)?;
        }
        if self.tokens.len() > n {
            let mut before = std::mem::take(&mut self.tokens);
            before.truncate(n);
            // a memory that cannot be cut back (recurrent layers) begins anew
            let kept = keep_prefix(&mut self.context, 0, n);
            self.tokens.extend_from_slice(&before[..kept]);
            for slice in before[kept..].chunks(n_batch) {
                self.append(slice, false)?;
            }
        }
        Ok(text.trim_start().lines().next().unwrap_or("").trim_end().to_owned())
    }
}

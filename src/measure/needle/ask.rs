//! The same questions to every cache.

use super::{ANSWER_TOKENS, NeedleQuestion, has_word};
use crate::generate::{GenParams, Prompt, Session};
use crate::kv::KvCacheConfig;
use crate::measure::Progress;
use crate::measure::arm::Options;
use crate::{ContextConfig, Error, Model, Result};
use serde::Serialize;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Mutex, PoisonError, mpsc};

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NeedleAnswer {
    /// The number of the cache.
    pub cache: usize,
    /// The number of the question.
    pub question: usize,
    /// The first line of what the model said.
    pub answer: String,
    /// It has the word asked for.
    pub found: bool,
}

/// What [`needles`] measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NeedleRun {
    /// By question, then by cache.
    pub answers: Vec<NeedleAnswer>,
    /// False if it was stopped before all were asked.
    pub complete: bool,
}

/// All questions of one length to one cache: they share a context.
struct Job {
    cache: usize,
    questions: Range<usize>,
}

/// Asks every question with every cache, greedily. A prompt that begins like the one before it is computed from where they
/// part. [`Options::n_parallel`] contexts are alive at a time; questions are taken in order, so a run that is stopped has
/// asked all caches the first ones. `on` is called after each answer, and when the run begins, with what is done.
///
/// # Errors
/// As [`KvCacheConfig::resolve`], before anything is asked; as [`Context::new`](crate::Context::new) and
/// [`Session::prompt`]. Being cancelled is no error: the run is then not complete.
pub fn needles(
    model: &Model,
    questions: &[NeedleQuestion],
    caches: &[KvCacheConfig],
    options: &Options,
    mut on: impl FnMut(Progress, Option<&NeedleAnswer>),
) -> Result<NeedleRun> {
    for kv in caches {
        kv.resolve(model.meta())?;
    }
    let of = questions.len() * caches.len();
    let mut answers: Vec<NeedleAnswer> = Vec::with_capacity(of);
    on(Progress { done: 0, of }, None);
    let jobs = Mutex::new(jobs(questions, caches.len()));
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let ended = std::thread::scope(|scope| {
        let (send, receive) = mpsc::channel();
        let workers: Vec<_> = (0..options.n_parallel.max(1))
            .map(|_| {
                let send = send.clone();
                let next = &next;
                scope.spawn(move || {
                    while let Some(job) = next() {
                        ask(model, questions, &caches[job.cache], &job, options, &send)?;
                    }
                    Ok(())
                })
            })
            .collect();
        drop(send);
        for answer in receive {
            answers.push(answer);
            let done = answers.len();
            on(Progress { done, of }, answers.last());
        }
        workers
            .into_iter()
            .map(|worker| worker.join().expect("asking does not panic"))
            .fold(Ok(()), Result::and)
    });
    match ended {
        Ok(()) | Err(Error::Cancelled) => {}
        Err(error) => return Err(error),
    }
    answers.sort_by_key(|answer| (answer.question, answer.cache));
    let complete = answers.len() == of;
    Ok(NeedleRun { answers, complete })
}

/// Runs of questions with one length, each for every cache.
fn jobs(questions: &[NeedleQuestion], n_caches: usize) -> VecDeque<Job> {
    let mut jobs = VecDeque::new();
    let mut start = 0;
    for run in questions.chunk_by(|a, b| a.n_ctx == b.n_ctx) {
        let end = start + run.len();
        jobs.extend((0..n_caches).map(|cache| Job {
            cache,
            questions: start..end,
        }));
        start = end;
    }
    jobs
}

fn ask(
    model: &Model,
    questions: &[NeedleQuestion],
    kv: &KvCacheConfig,
    job: &Job,
    options: &Options,
    send: &mpsc::Sender<NeedleAnswer>,
) -> Result<()> {
    let longest = questions[job.questions.clone()].iter().map(|q| q.tokens.len()).max();
    let mut session = Session::new(model.context(ContextConfig {
        n_ctx: longest.unwrap_or(0) as u32 + ANSWER_TOKENS,
        n_batch: options.n_batch,
        n_ubatch: options.n_batch,
        n_threads: options.n_threads,
        kv: kv.clone(),
        ..Default::default()
    })?);
    for number in job.questions.clone() {
        let question = &questions[number];
        session.prompt_until(Prompt::Tokens(question.tokens.clone()), options.cancel.clone())?;
        let answer = first_line(&mut session, options)?;
        if options.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let answer = NeedleAnswer {
            cache: job.cache,
            question: number,
            found: has_word(&answer, &question.expected),
            answer,
        };
        if send.send(answer).is_err() {
            return Err(Error::Cancelled); // nobody reads any more
        }
    }
    Ok(())
}

/// The greedy answer up to its first line break.
fn first_line(session: &mut Session, options: &Options) -> Result<String> {
    let mut params = GenParams::greedy().max_tokens(ANSWER_TOKENS as usize);
    params.cancel.clone_from(&options.cancel);
    let mut text = String::new();
    for piece in session.generate(&params)? {
        text += &piece?.text;
        if text.trim_start().contains('\n') {
            break;
        }
    }
    Ok(text.trim_start().lines().next().unwrap_or("").trim_end().to_owned())
}

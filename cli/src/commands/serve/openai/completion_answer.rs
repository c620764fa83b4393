//! `/v1/completions`: the answer, streamed or whole.

use serde::Serialize;

use crate::commands::serve::backend::{Event, TokenLogprob};
use crate::commands::serve::choices::Choices;
use crate::commands::serve::error::ApiError;
use crate::commands::serve::openai::completion_request::CompletionRequest;
use crate::commands::serve::openai::parts::{Head, LegacyLogprobs, Tally, TimingsBlock, UsageBlock, finish_reason};
use crate::commands::serve::sse;
use crate::commands::serve::state::AppState;
use crate::commands::serve::stream::{Dialect, Frames};

/// A whole answer, or a chunk of one: they have the same shape.
#[derive(Debug, Serialize)]
pub struct Completion {
    #[serde(flatten)]
    head: Head,
    choices: Vec<Choice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageBlock>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timings: Option<TimingsBlock>,
}

#[derive(Debug, Serialize)]
struct Choice {
    index: usize,
    text: String,
    logprobs: Option<LegacyLogprobs>,
    finish_reason: Option<&'static str>,
}

fn head(request: &CompletionRequest, state: &AppState) -> Head {
    Head::new("cmpl-", "text_completion", &request.model, state)
}

/// A streamed answer.
pub struct CompletionStream {
    head: Head,
    include_usage: bool,
    tally: Tally,
    /// Per choice: characters sent.
    offsets: Vec<usize>,
    unfinished: usize,
}

impl CompletionStream {
    /// A stream for the answer to `request`.
    pub fn new(request: &CompletionRequest, state: &AppState) -> Self {
        let choices = request.choices;
        Self {
            head: head(request, state),
            include_usage: request.delivery.include_usage,
            tally: Tally::new(choices, request.n),
            offsets: vec![0; choices],
            unfinished: choices,
        }
    }

    fn chunk(&self, choices: Vec<Choice>, usage: Option<UsageBlock>, timings: Option<TimingsBlock>, out: &mut Frames) {
        out.push_back(sse::data(&Completion {
            head: self.head.clone(),
            choices,
            usage,
            timings,
        }));
    }
}

impl Dialect for CompletionStream {
    const CONTENT_TYPE: &'static str = sse::CONTENT_TYPE;
    const PING: Option<axum::body::Bytes> = Some(sse::PING);

    fn open(&mut self, _out: &mut Frames) {}

    fn event(&mut self, index: usize, event: Event, out: &mut Frames) {
        match event {
            Event::Text(piece) => {
                let logprobs = LegacyLogprobs::new(piece.logprobs, &mut self.offsets[index]);
                self.chunk(
                    vec![Choice {
                        index,
                        text: piece.text,
                        logprobs,
                        finish_reason: None,
                    }],
                    None,
                    None,
                    out,
                );
            }
            Event::Done(done) => {
                self.tally.add(index, &done);
                self.unfinished -= 1;
                let finish_reason = Some(finish_reason(done.finish, false, false));
                let choice = Choice {
                    index,
                    text: String::new(),
                    logprobs: None,
                    finish_reason,
                };
                let last = self.unfinished == 0 && !self.include_usage;
                self.chunk(vec![choice], None, self.tally.timings().filter(|_| last), out);
            }
            // A completion has no template, and so nothing that tells reasoning or tool calls from
            // text.
            _ => {}
        }
    }

    fn close(&mut self, out: &mut Frames) {
        if self.include_usage {
            self.chunk(Vec::new(), Some(self.tally.usage()), self.tally.timings(), out);
        }
        out.push_back(sse::DONE);
    }

    fn fail(&mut self, error: &ApiError, out: &mut Frames) {
        out.push_back(sse::data(&error.body()));
    }
}

#[derive(Clone, Default)]
struct Gathered {
    text: String,
    logprobs: Vec<TokenLogprob>,
    finish_reason: Option<&'static str>,
}

impl Completion {
    /// Waits for the end of all jobs.
    pub async fn gather(mut choices: Choices, request: &CompletionRequest, state: &AppState) -> Result<Self, ApiError> {
        let mut tally = Tally::new(request.choices, request.n);
        let mut gathered = vec![Gathered::default(); request.choices];
        while let Some((choice, event)) = choices.next().await? {
            let part = &mut gathered[choice];
            match event {
                Event::Text(piece) => {
                    part.text.push_str(&piece.text);
                    part.logprobs.extend(piece.logprobs);
                }
                Event::Done(done) => {
                    tally.add(choice, &done);
                    part.finish_reason = Some(finish_reason(done.finish, false, false));
                }
                _ => {}
            }
        }
        let choices = gathered.into_iter().enumerate().map(|(index, part)| {
            let logprobs = LegacyLogprobs::new(part.logprobs, &mut 0);
            Choice {
                index,
                text: part.text,
                logprobs,
                finish_reason: part.finish_reason,
            }
        });
        Ok(Self {
            head: head(request, state),
            choices: choices.collect(),
            usage: Some(tally.usage()),
            timings: tally.timings(),
        })
    }
}

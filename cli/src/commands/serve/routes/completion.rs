//! `POST /completion`: llama-server's own form of a completion, which editor plugins use.

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Serialize;

use crate::commands::serve::backend::{Done, Event, Finish, Opened};
use crate::commands::serve::body::{Body, Fields};
use crate::commands::serve::choices::{Choices, Job};
use crate::commands::serve::error::ApiError;
use crate::commands::serve::openai::completion_request::CompletionRequest;
use crate::commands::serve::openai::generation::wanted;
use crate::commands::serve::openai::parts::{ProgressBlock, TimingsBlock};
use crate::commands::serve::sse;
use crate::commands::serve::state::AppState;
use crate::commands::serve::stream::{self, Dialect, Frames};

/// The route.
pub fn router() -> Router<AppState> {
    Router::new().route("/completion", post(complete))
}

async fn complete(State(state): State<AppState>, Body(body): Body) -> Result<Response, ApiError> {
    let model = state.open(wanted(Fields(&body))?).await?;
    let (request, jobs) = CompletionRequest::parse(&body, &model.card, &state)?;
    answer(&state, &model, request, jobs).await
}

/// Runs the jobs and answers in this form.
pub(super) async fn answer(
    state: &AppState,
    model: &Opened,
    request: CompletionRequest,
    jobs: Vec<Job>,
) -> Result<Response, ApiError> {
    let mut choices = Choices::start(state, model, jobs)?;
    if request.delivery.stream {
        let answer = NativeStream { model: request.model };
        return stream::respond(choices, answer, state.settings.ping_interval).await;
    }

    let mut texts = vec![String::new(); request.choices];
    let mut answers: Vec<Option<Answer>> = (0..request.choices).map(|_| None).collect();
    while let Some((choice, event)) = choices.next().await? {
        match event {
            Event::Text(piece) => texts[choice].push_str(&piece.text),
            Event::Done(done) => {
                let text = std::mem::take(&mut texts[choice]);
                answers[choice] = Some(Answer::new(choice, text, &request.model, *done));
            }
            _ => {}
        }
    }
    // One prompt has one object for an answer, several have a list.
    let mut answers: Vec<Answer> = answers.into_iter().flatten().collect();
    Ok(match answers.len() {
        1 => Json(answers.remove(0)).into_response(),
        _ => Json(answers).into_response(),
    })
}

/// A whole answer, and the last event of a stream.
#[derive(Serialize)]
struct Answer {
    index: usize,
    content: String,
    stop: bool,
    model: String,
    tokens_predicted: u32,
    tokens_evaluated: u32,
    truncated: bool,
    stop_type: &'static str,
    stopping_word: String,
    tokens_cached: u32,
    timings: TimingsBlock,
}

impl Answer {
    fn new(index: usize, content: String, model: &str, done: Done) -> Self {
        Self {
            index,
            content,
            stop: true,
            model: model.to_owned(),
            tokens_predicted: done.usage.completion,
            tokens_evaluated: done.usage.prompt,
            // A prompt that does not fit is an error.
            truncated: false,
            stop_type: match (done.finish, &done.stop_string) {
                (Finish::Length, _) => "limit",
                (_, Some(_)) => "word",
                (_, None) => "eos",
            },
            stopping_word: done.stop_string.unwrap_or_default(),
            // Despite the name, llama-server reports what the cache holds in the end, and plugins
            // show it as the context in use.
            tokens_cached: done.usage.prompt + done.usage.completion,
            timings: TimingsBlock::from(done.timings),
        }
    }
}

/// An event of a stream before the last.
#[derive(Serialize)]
struct Piece<'a> {
    index: usize,
    content: &'a str,
    stop: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_progress: Option<ProgressBlock>,
}

struct NativeStream {
    model: String,
}

impl Dialect for NativeStream {
    const CONTENT_TYPE: &'static str = sse::CONTENT_TYPE;
    const PING: Option<Bytes> = Some(sse::PING);

    fn open(&mut self, _out: &mut Frames) {}

    fn event(&mut self, index: usize, event: Event, out: &mut Frames) {
        match event {
            Event::Text(piece) => {
                let content = &piece.text;
                out.push_back(sse::data(&Piece {
                    index,
                    content,
                    stop: false,
                    prompt_progress: None,
                }));
            }
            Event::Progress(progress) => out.push_back(sse::data(&Piece {
                index,
                content: "",
                stop: false,
                prompt_progress: Some(progress.into()),
            })),
            Event::Done(done) => {
                let answer = Answer::new(index, String::new(), &self.model, *done);
                out.push_back(sse::data(&answer));
            }
            _ => {}
        }
    }

    /// `stop` is true in the last event; this form has no `[DONE]`.
    fn close(&mut self, _out: &mut Frames) {}

    fn fail(&mut self, error: &ApiError, out: &mut Frames) {
        out.push_back(sse::data(&error.body()));
    }
}

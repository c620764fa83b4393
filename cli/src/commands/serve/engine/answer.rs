//! The scheduler's events as the HTTP layer's. They are made where an answer is read, not on the engine thread: the chat
//! parser reads the whole text again with every piece.

use super::{backend_error, saturate};
use crate::commands::serve::backend::{
    Alternative, BackendError, Done, Event, EventStream, Finish, PartSender, Progress, TextPiece, Timings,
    TokenLogprob, Usage,
};
use llama_turboquant::engine::chat::{ChatDelta, ChatParser};
use llama_turboquant::engine::sampler::Logprobs;
use llama_turboquant::generate::{FinishReason, Piece};
use llama_turboquant::scheduler::{JobEvent, JobSink, JobStats};
use llama_turboquant::{Error, Model, Result, Token};
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::time::Duration;

/// Events for the HTTP layer.
type Out<'a> = &'a mut VecDeque<Event>;

/// What becomes of a job's events.
pub(super) trait Answer: Send {
    fn event(&mut self, event: JobEvent, out: Out<'_>);

    /// Text is to come out now, because no more pieces are there to wait for.
    fn flush(&mut self, _out: Out<'_>) {}
}

/// What a stream is made of. How to read the rest comes first, once the prompt is prepared.
pub(super) enum Part {
    Answer(Box<dyn Answer>),
    Accepted,
    Job(JobEvent),
    Failed(BackendError),
}

/// A stream to be filled with parts.
pub(super) fn stream() -> (PartSender<Part>, EventStream) {
    let mut answer: Option<Box<dyn Answer>> = None;
    EventStream::made(move |parts, out| {
        for part in parts {
            match (part, &mut answer) {
                (Part::Answer(first), _) => answer = Some(first),
                (Part::Accepted, _) => out.push_back(Event::Accepted),
                (Part::Job(event), Some(answer)) => answer.event(event, out),
                (Part::Job(_), None) => {}
                (Part::Failed(error), _) => out.push_back(Event::Failed(error)),
            }
        }
        if let Some(answer) = &mut answer {
            answer.flush(out);
        }
    })
}

/// Sends what comes of a job, which `answer` will read.
pub(super) fn sink(answer: impl Answer + 'static, to: &PartSender<Part>) -> JobSink {
    to.send(Part::Answer(Box::new(answer))); // a client that has gone is noticed with the first event
    let to = to.clone();
    JobSink::new(move |event| match to.send(Part::Job(event)) {
        true => ControlFlow::Continue(()),
        false => ControlFlow::Break(()),
    })
}

/// A plain completion.
pub(super) struct TextAnswer {
    model: Model,
    echo: Option<TextPiece>,
}

/// A chat: text, reasoning and tool calls are told apart as they are written.
pub(super) struct ChatAnswer {
    model: Model,
    parser: ChatParser,
    /// Text that the parser has not seen yet, of so many pieces.
    unparsed: String,
    n_unparsed: u32,
    /// Log-probabilities of tokens whose text the parser still holds.
    logprobs: Vec<TokenLogprob>,
    calls_tools: bool,
    reasoning: bool,
    n_reasoning: u32,
    failed: bool,
}

impl TextAnswer {
    pub(super) fn new(model: Model, echo: Option<TextPiece>) -> Self {
        Self { model, echo }
    }
}

impl Answer for TextAnswer {
    fn event(&mut self, event: JobEvent, out: Out<'_>) {
        match event {
            JobEvent::Piece(piece) => {
                let logprobs = logprobs(&self.model, &piece);
                if !piece.text.is_empty() || !logprobs.is_empty() {
                    out.push_back(Event::Text(TextPiece {
                        text: piece.text,
                        logprobs,
                    }));
                }
            }
            JobEvent::Done(stats) => out.push_back(done(&stats, false, 0)),
            JobEvent::Started { .. } => {
                out.extend(plain(event));
                out.extend(self.echo.take().map(Event::Text));
            }
            other => out.extend(plain(other)),
        }
    }
}

impl ChatAnswer {
    pub(super) fn new(model: Model, parser: ChatParser) -> Self {
        Self {
            model,
            parser,
            unparsed: String::new(),
            n_unparsed: 0,
            logprobs: Vec::new(),
            calls_tools: false,
            reasoning: false,
            n_reasoning: 0,
            failed: false,
        }
    }

    fn deltas(&mut self, deltas: Result<Vec<ChatDelta>>, out: Out<'_>) {
        let deltas = match deltas {
            Ok(deltas) => deltas,
            Err(error) => {
                self.failed = true;
                return out.push_back(Event::Failed(backend_error(error)));
            }
        };
        for delta in deltas {
            if let Some(text) = delta.reasoning {
                self.reasoning = true;
                out.push_back(Event::Reasoning(text));
            }
            if let Some(text) = delta.content {
                self.reasoning = false;
                let logprobs = std::mem::take(&mut self.logprobs);
                out.push_back(Event::Text(TextPiece { text, logprobs }));
            }
            if let Some(call) = delta.tool_call {
                self.reasoning = false;
                self.calls_tools = true;
                let index = saturate(call.index);
                if let Some(name) = call.name {
                    out.push_back(Event::ToolCallStart {
                        index,
                        id: call.id.unwrap_or_default(),
                        name,
                    });
                }
                if let Some(fragment) = call.arguments.filter(|fragment| !fragment.is_empty()) {
                    out.push_back(Event::ToolCallArguments { index, fragment });
                }
            }
        }
    }
}

impl Answer for ChatAnswer {
    fn event(&mut self, event: JobEvent, out: Out<'_>) {
        if self.failed {
            return; // the client knows
        }
        match event {
            JobEvent::Piece(piece) => {
                self.logprobs.extend(logprobs(&self.model, &piece));
                self.unparsed += &piece.text;
                self.n_unparsed += 1;
            }
            JobEvent::Done(stats) => {
                self.flush(out);
                if self.failed {
                    return;
                }
                let deltas = self.parser.finish("");
                self.deltas(deltas, out);
                if self.failed {
                    return;
                }
                if !self.logprobs.is_empty() {
                    let logprobs = std::mem::take(&mut self.logprobs);
                    out.push_back(Event::Text(TextPiece {
                        text: String::new(),
                        logprobs,
                    }));
                }
                out.push_back(done(&stats, self.calls_tools, self.n_reasoning));
            }
            other => out.extend(plain(other)),
        }
    }

    /// The parser reads the whole answer each time, so pieces that have come together are given to it together: a reader
    /// that falls behind catches up.
    fn flush(&mut self, out: Out<'_>) {
        let n = std::mem::take(&mut self.n_unparsed);
        if n == 0 || self.failed {
            return;
        }
        let deltas = self.parser.push(&std::mem::take(&mut self.unparsed));
        self.deltas(deltas, out);
        self.n_reasoning += if self.reasoning { n } else { 0 };
    }
}

/// An event that means the same in every answer.
fn plain(event: JobEvent) -> Option<Event> {
    match event {
        JobEvent::Started { n_prompt, n_cached } => Some(Event::Started {
            n_prompt: saturate(n_prompt),
            n_cached: saturate(n_cached),
        }),
        JobEvent::Progress {
            n_prompt,
            n_cached,
            n_done,
            elapsed,
        } => Some(Event::Progress(Progress {
            total: saturate(n_prompt),
            cached: saturate(n_cached),
            processed: saturate(n_done),
            time_ms: millis(elapsed),
        })),
        JobEvent::Failed(error) => Some(Event::Failed(backend_error(error))),
        JobEvent::Piece(_) | JobEvent::Done(_) => None,
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn done(stats: &JobStats, calls_tools: bool, n_reasoning: u32) -> Event {
    let (finish, stop_string) = match &stats.reason {
        FinishReason::Stop(None) if calls_tools => (Finish::ToolCalls, None),
        FinishReason::Stop(stop) => (Finish::Stop, stop.clone()),
        FinishReason::Cancelled => return Event::Failed(backend_error(Error::Cancelled)),
        _ => (Finish::Length, None),
    };
    Event::Done(Box::new(Done {
        finish,
        stop_string,
        usage: Usage {
            prompt: saturate(stats.n_prompt),
            cached: saturate(stats.n_cached),
            completion: saturate(stats.n_generated),
            reasoning: n_reasoning,
        },
        timings: Timings {
            cache_n: saturate(stats.n_cached),
            prompt_n: saturate(stats.n_prompt - stats.n_cached),
            prompt_ms: millis(stats.prefill),
            predicted_n: saturate(stats.n_generated),
            predicted_ms: millis(stats.decode),
            draft_n: None,
            draft_n_accepted: None,
        },
    }))
}

fn logprobs(model: &Model, piece: &Piece) -> Vec<TokenLogprob> {
    let logprobs = piece.logprobs.as_ref();
    logprobs.map_or_else(Vec::new, |logprobs| {
        vec![token_logprob(model, piece.token, Some(logprobs))]
    })
}

/// A token with its text; without `logprobs`, it has no predecessor.
pub(super) fn token_logprob(model: &Model, token: Token, logprobs: Option<&Logprobs>) -> TokenLogprob {
    let bytes = |token: Token| model.piece(token, true).unwrap_or_default();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let alternative = |&(token, logprob): &(Token, f32)| {
        let bytes = bytes(token);
        Alternative {
            token: text(&bytes),
            bytes,
            logprob,
        }
    };
    let own = bytes(token);
    TokenLogprob {
        token: text(&own),
        bytes: own,
        logprob: logprobs.map(|logprobs| logprobs.token),
        top: logprobs.map_or_else(Vec::new, |logprobs| logprobs.top.iter().map(alternative).collect()),
    }
}

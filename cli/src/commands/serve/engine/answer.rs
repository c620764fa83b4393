//! The scheduler's events as the HTTP layer's, on the engine thread: nothing here may block.

use super::{backend_error, saturate};
use crate::commands::serve::backend::{
    Alternative, Done, Event, EventSender, Finish, TextPiece, Timings, TokenLogprob, Usage,
};
use llama_turboquant::engine::chat::{ChatDelta, ChatParser};
use llama_turboquant::engine::sampler::Logprobs;
use llama_turboquant::generate::{FinishReason, Piece};
use llama_turboquant::scheduler::{JobEvent, JobStats};
use llama_turboquant::{Error, Model, Result, Token};
use std::ops::ControlFlow::{self, Break, Continue};
use std::sync::Arc;

/// A plain completion.
pub(super) struct TextAnswer {
    out: Out,
    echo: Option<TextPiece>,
}

/// A chat: text, reasoning and tool calls are told apart as they are written.
pub(super) struct ChatAnswer {
    out: Out,
    parser: ChatParser,
    /// Log-probabilities of tokens whose text the parser still holds.
    logprobs: Vec<TokenLogprob>,
    calls_tools: bool,
    reasoning: bool,
    n_reasoning: u32,
}

struct Out {
    sender: Arc<EventSender>,
    model: Model,
}

impl TextAnswer {
    pub(super) fn new(model: Model, echo: Option<TextPiece>, sender: Arc<EventSender>) -> Self {
        Self {
            out: Out { sender, model },
            echo,
        }
    }

    pub(super) fn event(&mut self, event: JobEvent) -> ControlFlow<()> {
        match event {
            JobEvent::Started { n_prompt, n_cached } => {
                self.out.started(n_prompt, n_cached)?;
                match self.echo.take() {
                    Some(prompt) => self.out.send(Event::Text(prompt)),
                    None => Continue(()),
                }
            }
            JobEvent::Piece(piece) => {
                let logprobs = self.out.logprobs(&piece);
                if piece.text.is_empty() && logprobs.is_empty() {
                    return Continue(());
                }
                self.out.send(Event::Text(TextPiece {
                    text: piece.text,
                    logprobs,
                }))
            }
            JobEvent::Done(stats) => self.out.done(&stats, false, 0),
            JobEvent::Failed(error) => self.out.failed(error),
        }
    }
}

impl ChatAnswer {
    pub(super) fn new(model: Model, parser: ChatParser, sender: Arc<EventSender>) -> Self {
        Self {
            out: Out { sender, model },
            parser,
            logprobs: Vec::new(),
            calls_tools: false,
            reasoning: false,
            n_reasoning: 0,
        }
    }

    pub(super) fn event(&mut self, event: JobEvent) -> ControlFlow<()> {
        match event {
            JobEvent::Started { n_prompt, n_cached } => self.out.started(n_prompt, n_cached),
            JobEvent::Piece(piece) => {
                self.logprobs.extend(self.out.logprobs(&piece));
                let deltas = self.parser.push(&piece.text);
                self.deltas(deltas)?;
                self.n_reasoning += u32::from(self.reasoning);
                Continue(())
            }
            JobEvent::Done(stats) => {
                let deltas = self.parser.finish("");
                self.deltas(deltas)?;
                if !self.logprobs.is_empty() {
                    let logprobs = std::mem::take(&mut self.logprobs);
                    self.out.send(Event::Text(TextPiece {
                        text: String::new(),
                        logprobs,
                    }))?;
                }
                self.out.done(&stats, self.calls_tools, self.n_reasoning)
            }
            JobEvent::Failed(error) => self.out.failed(error),
        }
    }

    fn deltas(&mut self, deltas: Result<Vec<ChatDelta>>) -> ControlFlow<()> {
        let deltas = match deltas {
            Ok(deltas) => deltas,
            Err(error) => {
                self.out.failed(error)?;
                return Break(());
            }
        };
        for delta in deltas {
            if let Some(text) = delta.reasoning {
                self.reasoning = true;
                self.out.send(Event::Reasoning(text))?;
            }
            if let Some(text) = delta.content {
                self.reasoning = false;
                let logprobs = std::mem::take(&mut self.logprobs);
                self.out.send(Event::Text(TextPiece { text, logprobs }))?;
            }
            if let Some(call) = delta.tool_call {
                self.reasoning = false;
                self.calls_tools = true;
                let index = saturate(call.index);
                if let Some(name) = call.name {
                    self.out.send(Event::ToolCallStart {
                        index,
                        id: call.id.unwrap_or_default(),
                        name,
                    })?;
                }
                if let Some(fragment) = call.arguments.filter(|fragment| !fragment.is_empty()) {
                    self.out.send(Event::ToolCallArguments { index, fragment })?;
                }
            }
        }
        Continue(())
    }
}

impl Out {
    /// The channel holds a whole answer, so "full" means the same as "closed": nobody reads.
    fn send(&self, event: Event) -> ControlFlow<()> {
        if self.sender.try_send(event).is_ok() {
            Continue(())
        } else {
            Break(())
        }
    }

    fn started(&self, n_prompt: usize, n_cached: usize) -> ControlFlow<()> {
        self.send(Event::Started {
            n_prompt: saturate(n_prompt),
            n_cached: saturate(n_cached),
        })
    }

    fn failed(&self, error: Error) -> ControlFlow<()> {
        self.send(Event::Failed(backend_error(error)))
    }

    fn done(&self, stats: &JobStats, calls_tools: bool, n_reasoning: u32) -> ControlFlow<()> {
        let (finish, stop_string) = match &stats.reason {
            FinishReason::Stop(None) if calls_tools => (Finish::ToolCalls, None),
            FinishReason::Stop(stop) => (Finish::Stop, stop.clone()),
            FinishReason::Cancelled => return self.failed(Error::Cancelled),
            _ => (Finish::Length, None),
        };
        let millis = |time: std::time::Duration| time.as_secs_f64() * 1e3;
        self.send(Event::Done(Box::new(Done {
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
        })))
    }

    fn logprobs(&self, piece: &Piece) -> Vec<TokenLogprob> {
        let Some(logprobs) = &piece.logprobs else {
            return Vec::new();
        };
        vec![token_logprob(&self.model, piece.token, Some(logprobs))]
    }
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

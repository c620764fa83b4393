//! Puts a response together, event by event, and says what changed: a stream sends the changes, a
//! whole answer is what they come to.

use serde::Serialize;

use super::request::Echo;
use super::response::{Failure, Incomplete, Item, Part, Response, Status, Usage};
use crate::commands::serve::backend::{Done, Event, Finish, TextPiece};
use crate::commands::serve::ids::new_id;
use crate::commands::serve::openai::chat_stream::call_id;
use crate::commands::serve::openai::parts::{ChatLogprobs, ChatToken};
use crate::commands::serve::state::unix_time;

/// A response in the making.
pub struct Output {
    id: String,
    created_at: u64,
    completed_at: Option<u64>,
    status: Status,
    echo: Echo,
    /// Those before the last one are finished; the last one is, unless `open`.
    items: Vec<Item>,
    open: bool,
    usage: Option<Usage>,
}

/// One change; each kind uses a few of the fields.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Change<'a> {
    /// The name of the event.
    #[serde(rename = "type")]
    pub kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<Response<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    item_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<&'a Item>,
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<&'a Part>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<&'a [ChatToken]>,
}

/// Takes the changes.
pub type Report<'r> = &'r mut dyn FnMut(Change<'_>);

impl Output {
    /// An empty response that repeats `echo`.
    pub fn new(echo: Echo) -> Self {
        Self {
            id: new_id("resp_"),
            created_at: unix_time(),
            completed_at: None,
            status: Status::InProgress,
            echo,
            items: Vec::new(),
            open: false,
            usage: None,
        }
    }

    /// The response as it stands.
    pub fn response(&self) -> Response<'_> {
        Response {
            id: &self.id,
            object: "response",
            created_at: self.created_at,
            completed_at: self.completed_at,
            status: self.status,
            error: None,
            incomplete_details: (self.status == Status::Incomplete).then_some(Incomplete {
                reason: "max_output_tokens",
            }),
            echo: &self.echo,
            output: &self.items,
            usage: self.usage,
        }
    }

    /// The beginning of the response.
    pub fn begin(&self, report: Report<'_>) {
        for kind in ["response.created", "response.in_progress"] {
            self.report_response(kind, report);
        }
    }

    /// One event, never `Failed`.
    pub fn event(&mut self, event: Event, report: Report<'_>) {
        match event {
            Event::Reasoning(delta) => self.reasoning(&delta, report),
            Event::Text(piece) => self.text(piece, report),
            Event::ToolCallStart { id, name, .. } => {
                let item = Item::FunctionCall {
                    id: new_id("fc_"),
                    call_id: call_id(id),
                    name,
                    arguments: String::new(),
                    status: Status::InProgress,
                };
                self.add(item, report);
            }
            // A call is complete when the next one begins, so the piece belongs to the last item.
            Event::ToolCallArguments { fragment, .. } => self.arguments(&fragment, report),
            Event::Done(done) => self.finish(&done, report),
            _ => {}
        }
    }

    /// The engine failed: the response ends with what there is.
    pub fn fail(&mut self, code: &str, message: &str, report: Report<'_>) {
        self.status = Status::Failed;
        if let Some(item) = self.items.last_mut().filter(|_| self.open) {
            item.set_status(Status::Incomplete);
        }
        let response = Response {
            error: Some(Failure { code, message }),
            ..self.response()
        };
        report(Change {
            kind: "response.failed",
            response: Some(response),
            ..Change::default()
        });
    }

    fn reasoning(&mut self, delta: &str, report: Report<'_>) {
        if !matches!(self.items.last(), Some(Item::Reasoning { .. }) if self.open) {
            let item = Item::Reasoning {
                id: new_id("rs_"),
                summary: [],
                content: Vec::new(),
                status: Status::InProgress,
            };
            self.add(item, report);
            self.add_part(Part::ReasoningText { text: String::new() }, report);
        }
        let at = self.items.len() - 1;
        if let Some(Item::Reasoning { id, content, .. }) = self.items.last_mut()
            && let Some(Part::ReasoningText { text }) = content.last_mut()
        {
            text.push_str(delta);
            report(Change {
                kind: "response.reasoning_text.delta",
                output_index: Some(at),
                item_id: Some(id),
                content_index: Some(0),
                delta: Some(delta),
                ..Change::default()
            });
        }
    }

    fn text(&mut self, piece: TextPiece, report: Report<'_>) {
        if !matches!(self.items.last(), Some(Item::Message { .. }) if self.open) {
            // Log probabilities of tokens that became no text, those of a call for example.
            if piece.text.is_empty() {
                return;
            }
            self.add_message(report);
        }
        let tokens = ChatLogprobs::new(piece.logprobs).map_or_else(Vec::new, ChatLogprobs::into_tokens);
        let at = self.items.len() - 1;
        if let Some(Item::Message { id, content, .. }) = self.items.last_mut()
            && let Some(Part::OutputText { text, logprobs, .. }) = content.last_mut()
        {
            text.push_str(&piece.text);
            let known = logprobs.len();
            logprobs.extend(tokens);
            report(Change {
                kind: "response.output_text.delta",
                output_index: Some(at),
                item_id: Some(id),
                content_index: Some(0),
                delta: Some(&piece.text),
                logprobs: Some(&logprobs[known..]),
                ..Change::default()
            });
        }
    }

    fn add_message(&mut self, report: Report<'_>) {
        let item = Item::Message {
            id: new_id("msg_"),
            status: Status::InProgress,
            role: "assistant",
            content: Vec::new(),
        };
        self.add(item, report);
        let part = Part::OutputText {
            text: String::new(),
            annotations: [],
            logprobs: Vec::new(),
        };
        self.add_part(part, report);
    }

    fn arguments(&mut self, fragment: &str, report: Report<'_>) {
        let at = self.items.len().saturating_sub(1);
        if let Some(Item::FunctionCall { id, arguments, .. }) = self.items.last_mut()
            && self.open
        {
            arguments.push_str(fragment);
            report(Change {
                kind: "response.function_call_arguments.delta",
                output_index: Some(at),
                item_id: Some(id),
                delta: Some(fragment),
                ..Change::default()
            });
        }
    }

    fn finish(&mut self, done: &Done, report: Report<'_>) {
        // An answer of nothing is an empty message.
        if self.items.is_empty() {
            self.add_message(report);
        }
        let (status, kind) = match done.finish {
            Finish::Length => (Status::Incomplete, "response.incomplete"),
            Finish::Stop | Finish::ToolCalls => (Status::Completed, "response.completed"),
        };
        self.close(status, report);
        self.status = status;
        self.usage = Some(done.usage.into());
        self.completed_at = (status == Status::Completed).then(unix_time);
        self.report_response(kind, report);
    }

    fn add(&mut self, item: Item, report: Report<'_>) {
        self.close(Status::Completed, report);
        self.items.push(item);
        self.open = true;
        self.report_item("response.output_item.added", report);
    }

    fn add_part(&mut self, part: Part, report: Report<'_>) {
        if let Some(Item::Message { content, .. } | Item::Reasoning { content, .. }) = self.items.last_mut() {
            content.push(part);
        }
        self.report_part("response.content_part.added", report);
    }

    /// Finishes the last item, if it is not yet.
    fn close(&mut self, status: Status, report: Report<'_>) {
        if !self.open {
            return;
        }
        // A call without arguments is a call with none, and clients parse what they get.
        if matches!(self.items.last(), Some(Item::FunctionCall { arguments, .. }) if arguments.is_empty())
            && status == Status::Completed
        {
            self.arguments("{}", report);
        }
        self.open = false;
        let at = self.items.len() - 1;
        let Some(item) = self.items.last_mut() else {
            return;
        };
        item.set_status(status);
        let item = &*item;
        let change = Change {
            output_index: Some(at),
            item_id: Some(item.id()),
            ..Change::default()
        };
        match item {
            Item::FunctionCall { name, arguments, .. } => report(Change {
                kind: "response.function_call_arguments.done",
                name: Some(name),
                arguments: Some(arguments),
                ..change
            }),
            Item::Message { content, .. } | Item::Reasoning { content, .. } => {
                let change = Change {
                    content_index: Some(0),
                    ..change
                };
                match content.first() {
                    Some(Part::OutputText { text, logprobs, .. }) => report(Change {
                        kind: "response.output_text.done",
                        text: Some(text),
                        logprobs: Some(logprobs),
                        ..change
                    }),
                    Some(Part::ReasoningText { text }) => report(Change {
                        kind: "response.reasoning_text.done",
                        text: Some(text),
                        ..change
                    }),
                    None => {}
                }
                self.report_part("response.content_part.done", report);
            }
        }
        self.report_item("response.output_item.done", report);
    }

    fn report_response(&self, kind: &'static str, report: Report<'_>) {
        report(Change {
            kind,
            response: Some(self.response()),
            ..Change::default()
        });
    }

    fn report_item(&self, kind: &'static str, report: Report<'_>) {
        report(Change {
            kind,
            output_index: self.items.len().checked_sub(1),
            item: self.items.last(),
            ..Change::default()
        });
    }

    fn report_part(&self, kind: &'static str, report: Report<'_>) {
        if let Some(Item::Message { id, content, .. } | Item::Reasoning { id, content, .. }) = self.items.last() {
            report(Change {
                kind,
                output_index: self.items.len().checked_sub(1),
                item_id: Some(id),
                content_index: Some(0),
                part: content.first(),
                ..Change::default()
            });
        }
    }
}

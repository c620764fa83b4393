//! A model of this process as a responder.

use super::prepare::plain;
use super::run::{Answered, Reply, Request, Responder};
use crate::engine::chat::{ChatMessage, ChatRequest, ChatTemplate};
use crate::generate::{FinishReason, GenParams, Prompt as Input, Session};
use crate::{CancelToken, Error, Result};

/// A model of this process with one cache.
pub(super) struct Local {
    pub session: Session,
    pub template: Option<ChatTemplate>,
    pub seed: u32,
    pub think: bool,
    pub cancel: Option<CancelToken>,
}

impl Responder for Local {
    type Error = Error;

    fn answer(&mut self, request: &Request<'_>) -> Result<Answered> {
        let Request {
            messages,
            tools,
            max_tokens,
            continues,
        } = *request;
        let mut params = GenParams::greedy().seed(self.seed).max_tokens(max_tokens);
        params.cancel = self.cancel.clone();
        let prompt = match &self.template {
            None if !tools.is_empty() => {
                return Ok(Answered::Refused(
                    "the model has no chat template, so it cannot be offered tools".into(),
                ));
            }
            None => None,
            Some(template) => {
                let mut request = ChatRequest::new();
                request.messages = messages.to_vec();
                request.tools = tools.to_vec();
                request.enable_thinking = Some(self.think);
                match template.apply(&request) {
                    Err(Error::Template(why)) => return Ok(Answered::Refused(format!("chat template: {why}"))),
                    other => Some(other?),
                }
            }
        };
        if !continues {
            // a prompt's answer must not depend on the prompts before it, not even by how its batches are cut
            self.session.truncate(0)?;
        }
        let input = match &prompt {
            Some(prompt) => {
                params = params.answering(prompt);
                Input::from(prompt)
            }
            None => {
                params = params.stop("\nUser:");
                Input::Text(plain(messages))
            }
        };
        let prefill = match self.session.prompt_until(input, self.cancel.clone()) {
            Err(Error::ContextFull { n_prompt, n_ctx }) => {
                return Ok(Answered::Refused(format!(
                    "the conversation has {n_prompt} tokens, the context {n_ctx}"
                )));
            }
            other => other?,
        };
        let mut stream = self.session.generate(&params)?;
        let (mut raw, mut tokens) = (String::new(), Vec::new());
        for piece in &mut stream {
            let piece = piece?;
            raw += &piece.text;
            tokens.push(piece.token);
        }
        let stats = stream.finish();
        if stats.reason == FinishReason::Cancelled {
            return Err(Error::Cancelled);
        }
        tokens.truncate(stats.n_tokens); // held-back text comes with the last token once more
        let message = match prompt {
            None => ChatMessage {
                content: Some(raw.clone()),
                ..ChatMessage::default()
            },
            Some(prompt) => {
                let mut parser = prompt.parser()?;
                parser.finish(&raw)?;
                parser.message()?
            }
        };
        let finish = match stats.reason {
            FinishReason::Length => "length",
            _ => "stop",
        };
        Ok(Answered::Reply(Box::new(Reply {
            message,
            raw,
            tokens: Some(tokens),
            n_prompt: Some(prefill.n_prompt),
            n_tokens: Some(stats.n_tokens),
            finish: Some(finish.into()),
        })))
    }
}

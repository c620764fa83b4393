//! `context` of `/api/generate`: the tokens of an exchange, to be sent back with the next request.

use std::sync::Arc;

use crate::commands::serve::backend::{Backend, BackendError, ChatPrompt, TokenizeJob};
use crate::commands::serve::error::ApiError;
use crate::commands::serve::state::{AppState, blocking};

/// What the tokens of an exchange are made of, until the answer is known.
pub struct ContextIds {
    backend: Arc<dyn Backend>,
    model: String,
    prompt: PromptIds,
}

enum PromptIds {
    /// What was sent to the model.
    Known(Vec<i32>),
    /// A chat, whose text is made only now: nobody waits for it but the last line.
    Chat(ChatPrompt),
}

impl ContextIds {
    /// The tokens of `prompt` and of the answer to it.
    pub fn of_chat(state: &AppState, model: &str, prompt: ChatPrompt) -> Self {
        Self {
            backend: state.backend.clone(),
            model: model.to_owned(),
            prompt: PromptIds::Chat(prompt),
        }
    }

    /// `tokens` and those of the answer to them.
    pub fn of_tokens(state: &AppState, model: &str, tokens: Vec<i32>) -> Self {
        Self {
            backend: state.backend.clone(),
            model: model.to_owned(),
            prompt: PromptIds::Known(tokens),
        }
    }

    /// The tokens, with those of `answer`. Reasoning is not among them: templates leave it out of what they repeat, too.
    /// None, and a warning, when the backend cannot say: the answer itself is complete.
    pub async fn after(self, answer: &str) -> Option<Vec<i32>> {
        let answer = answer.to_owned();
        match blocking(move || self.ids(&answer)).await {
            Ok(ids) => Some(ids),
            Err(error) => {
                tracing::warn!(error = error.message(), "an answer is sent without its 'context'");
                None
            }
        }
    }

    fn ids(self, answer: &str) -> Result<Vec<i32>, BackendError> {
        let Self { backend, model, prompt } = self;
        let (mut ids, text) = match prompt {
            PromptIds::Known(ids) => (ids, answer.to_owned()),
            PromptIds::Chat(prompt) => (Vec::new(), backend.render(&model, prompt)? + answer),
        };
        let job = TokenizeJob {
            model,
            content: text,
            add_special: ids.is_empty(),
            parse_special: true,
        };
        ids.extend(backend.tokenize(job)?.into_iter().map(|piece| piece.id));
        Ok(ids)
    }
}

/// The tokens of a text that goes on after others.
pub async fn continued(state: &AppState, model: &str, text: String) -> Result<Vec<i32>, ApiError> {
    let backend = state.backend.clone();
    let job = TokenizeJob {
        model: model.to_owned(),
        content: text,
        add_special: false,
        parse_special: true,
    };
    let pieces = blocking(move || backend.tokenize(job)).await?;
    Ok(pieces.into_iter().map(|piece| piece.id).collect())
}

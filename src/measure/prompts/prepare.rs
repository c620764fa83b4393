//! From a prompt to messages that fit a context. What is shortened is said.

use super::set::{PLACEHOLDER, Prompt};
use crate::engine::chat::{ChatRequest, ChatTemplate};
use crate::{Model, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How long texts are for whoever answers.
pub trait Sizer {
    /// Tokens of a text by itself.
    ///
    /// # Errors
    /// The tokenizer's.
    fn text(&self, text: &str) -> Result<usize>;

    /// Tokens of a rendered conversation.
    ///
    /// # Errors
    /// The tokenizer's and the template's.
    fn conversation(&self, messages: &[Value], tools: &[Value]) -> Result<usize>;
}

/// Sizes by a model's own tokenizer and template.
#[derive(Debug, Clone)]
pub struct ModelSizer {
    /// The model.
    pub model: Model,
    /// Its template; `None`: it has none.
    pub template: Option<ChatTemplate>,
}

impl Sizer for ModelSizer {
    fn text(&self, text: &str) -> Result<usize> {
        Ok(self.model.tokenize(text, false, false)?.len())
    }

    fn conversation(&self, messages: &[Value], tools: &[Value]) -> Result<usize> {
        match &self.template {
            None => Ok(self.model.tokenize(&plain(messages), true, false)?.len()),
            Some(template) => {
                let mut request = ChatRequest::new();
                request.messages = messages.to_vec();
                request.tools = tools.to_vec();
                Ok(template.apply(&request)?.tokenize(&self.model)?.len())
            }
        }
    }
}

/// Sizes where the tokenizer is elsewhere: four characters are a token of English text, more or less.
#[derive(Debug, Clone, Copy, Default)]
pub struct EstimatedSizer;

impl Sizer for EstimatedSizer {
    fn text(&self, text: &str) -> Result<usize> {
        Ok(text.chars().count().div_ceil(4))
    }

    fn conversation(&self, messages: &[Value], tools: &[Value]) -> Result<usize> {
        let text = |message: &Value| {
            message["content"]
                .as_str()
                .map_or(0, |text| text.chars().count().div_ceil(4))
        };
        let tools: usize = tools.iter().map(|tool| tool.to_string().len().div_ceil(4)).sum();
        Ok(messages.iter().map(|message| text(message) + 6).sum::<usize>() + tools)
    }
}

/// A conversation as plain text, for models without a template: the only message alone, several with their roles.
pub(super) fn plain(messages: &[Value]) -> String {
    let content = |message: &Value| message["content"].as_str().unwrap_or("").to_owned();
    if let [only] = messages {
        return content(only) + "\n";
    }
    let line = |message: &Value| {
        let role = match message["role"].as_str() {
            Some("assistant") => "Assistant",
            Some("system") => "System",
            Some("tool") => "Tool",
            _ => "User",
        };
        format!("{role}: {}\n", content(message))
    };
    messages.iter().map(line).collect::<String>() + "Assistant:"
}

/// A prompt, ready to be asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// The messages before the first that is asked.
    pub start: Vec<Value>,
    /// The messages of the user, in order; empty: `start` is asked as it is.
    pub asks: Vec<String>,
    /// Room it may need: prompt and answers.
    pub needs: usize,
    /// How much of its generated text is there.
    pub generated: Option<GeneratedSize>,
}

/// How much of a generated text was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GeneratedSize {
    /// Tokens the prompt asks for.
    pub asked: usize,
    /// Tokens there was room for; fewer: the prompt was shortened.
    pub used: usize,
}

impl GeneratedSize {
    /// Whether there was no room for all of it.
    pub fn is_short(&self) -> bool {
        self.used < self.asked
    }
}

/// Left free in a context, for what tokenizes differently at the seams.
const SLACK: usize = 32;

/// Fits `prompt` into `limit` tokens by shortening its generated text.
///
/// # Errors
/// Outside: the sizer's. Inside: why the prompt cannot be asked in so small a context.
pub fn prepare(prompt: &Prompt, limit: Option<usize>, sizer: &dyn Sizer) -> Result<Result<Prepared, String>> {
    let rounds = prompt.rounds();
    let mut start = prompt.messages.clone();
    if let Some(system) = &prompt.system {
        start.insert(0, json!({"role": "system", "content": system}));
    }
    let mut asks: Vec<String> = rounds.iter().filter_map(|round| round.ask).map(str::to_owned).collect();
    let size = |asks: &[String]| -> Result<usize> {
        let mut messages = start.clone();
        messages.extend(asks.iter().map(|text| json!({"role": "user", "content": text})));
        // the template may insist on alternating roles, so rounds are measured one by one
        let mut total = 0;
        let first = messages.len().saturating_sub(asks.len());
        if asks.is_empty() {
            total += sizer.conversation(&messages, &prompt.tools)?;
        }
        for (i, message) in messages[first..].iter().enumerate() {
            let mut round = if i == 0 { messages[..first].to_vec() } else { Vec::new() };
            round.push(message.clone());
            total += sizer.conversation(&round, if i == 0 { &prompt.tools } else { &[] })?;
        }
        Ok(total + prompt.max_tokens * rounds.len() + SLACK)
    };
    let Some(generated) = &prompt.generated else {
        let needs = size(&asks)?;
        return Ok(match limit {
            Some(limit) if needs > limit => Err(format!(
                "it needs up to {needs} tokens, the context has {limit}, and nothing in it can be shortened"
            )),
            _ => Ok(Prepared {
                start,
                asks,
                needs,
                generated: None,
            }),
        });
    };
    let place = asks.iter().position(|text| text.contains(PLACEHOLDER));
    let mut bare = asks.clone();
    if let Some(i) = place {
        bare[i] = bare[i].replace(PLACEHOLDER, "");
    }
    let frame = size(&bare)?;
    let room = limit.map_or(usize::MAX, |limit| limit.saturating_sub(frame));
    if room < generated.min_tokens {
        return Ok(Err(format!(
            "{frame} tokens besides its generated text, which has at least {}: the context of {} is too small",
            generated.min_tokens,
            limit.unwrap_or(0)
        )));
    }
    let used = generated.tokens.min(room);
    let text = generated.text(used, &|text| sizer.text(text))?;
    if let Some(i) = place {
        asks[i] = asks[i].replace(PLACEHOLDER, &text);
    }
    let needs = size(&asks)?;
    // sentences are counted one by one; joined they could come out longer than the room they were counted for
    if let Some(limit) = limit.filter(|limit| needs > limit + SLACK) {
        return Ok(Err(format!("it needs {needs} tokens, the context has {limit}")));
    }
    Ok(Ok(Prepared {
        start,
        asks,
        needs,
        generated: Some(GeneratedSize {
            asked: generated.tokens,
            used,
        }),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::prompts::PromptSet;

    fn prompt(rest: &str) -> Prompt {
        let text = format!(r#"[{{"id":"a","category":"c","expected_pattern":"x","max_tokens":100,{rest}}}]"#);
        PromptSet::from_json(&text).unwrap().prompts.remove(0)
    }

    const LONG: &str =
        r#""prompt":"Read: {generated} What?","generated":{"kind":"filler","tokens":2000,"seed":1,"min_tokens":300}"#;

    #[test]
    fn a_generated_text_is_shortened_to_the_room_and_that_is_known() {
        let fit = |limit| prepare(&prompt(LONG), limit, &EstimatedSizer).unwrap();
        let whole = fit(None).unwrap();
        assert_eq!(
            whole.generated,
            Some(GeneratedSize {
                asked: 2000,
                used: 2000
            })
        );
        assert!((1950..2300).contains(&whole.needs), "{}", whole.needs);
        let short = fit(Some(1000)).unwrap();
        assert!(
            short.generated.unwrap().is_short() && short.needs <= 1000,
            "{}",
            short.needs
        );
        assert!(short.asks[0].starts_with("Read: ") && short.asks[0].ends_with(" What?"));
        let refused = fit(Some(400)).unwrap_err();
        assert!(refused.contains("300") && refused.contains("400"), "{refused}");
    }

    #[test]
    fn what_cannot_be_shortened_is_refused_with_the_numbers() {
        let turns = prompt(r#""prompt":"short""#);
        assert!(prepare(&turns, Some(200), &EstimatedSizer).unwrap().is_ok());
        let refused = prepare(&turns, Some(100), &EstimatedSizer).unwrap().unwrap_err();
        assert!(refused.contains("100") && refused.contains("shortened"), "{refused}");
    }

    #[test]
    fn a_model_without_a_template_gets_plain_text() {
        let message = |role: &str, content: &str| json!({"role": role, "content": content});
        assert_eq!(plain(&[message("user", "Hi.")]), "Hi.\n");
        let talk = [
            message("user", "Hi."),
            message("assistant", "Hello."),
            message("user", "Bye."),
        ];
        assert_eq!(plain(&talk), "User: Hi.\nAssistant: Hello.\nUser: Bye.\nAssistant:");
    }
}

//! Prompts as they stand in a file.

use super::check::{Checker, Pattern};
use super::generated::Generated;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Where generated text goes in a prompt.
pub const PLACEHOLDER: &str = "{generated}";

/// Some prompts, in order; ids are unique and every pattern compiles.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PromptSet {
    /// The prompts.
    pub prompts: Vec<Prompt>,
}

/// What is asked, and how to tell a right answer. Exactly one of `prompt`, `turns` and `messages` is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompt {
    /// Its name: letters, digits, `_` and `-`.
    pub id: String,
    /// What kind of task it is.
    pub category: String,
    /// The system message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// One message of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Messages of the user; the model's own answers come between them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub turns: Vec<Turn>,
    /// A conversation as it was, OpenAI-shaped; its last message is answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<Value>,
    /// Functions the model may call, OpenAI-shaped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Value>,
    /// Text to write where [`PLACEHOLDER`] stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generated: Option<Generated>,
    /// The last answer must match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_pattern: Option<Pattern>,
    /// The last answer must satisfy it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checker: Option<Checker>,
    /// Most tokens of each answer.
    pub max_tokens: usize,
}

/// One message of the user in a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// The message.
    pub prompt: String,
    /// The answer must match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_pattern: Option<Pattern>,
    /// The answer must satisfy it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checker: Option<Checker>,
}

impl PromptSet {
    /// Reads a JSON array of prompts, or an object with such an array as `prompts`.
    ///
    /// # Errors
    /// [`Error::Invalid`] with line and column where it is no JSON, else with the number and id of the prompt that is wrong.
    pub fn from_json(text: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(text).map_err(|e| Error::Invalid(format!("prompts: no JSON: {e}")))?;
        let list = match value {
            Value::Array(list) => list,
            Value::Object(mut object) => match object.remove("prompts") {
                Some(Value::Array(list)) => list,
                _ => return Err(Error::Invalid("prompts: the object has no array `prompts`".into())),
            },
            _ => {
                return Err(Error::Invalid(
                    "prompts: neither an array nor an object with `prompts`".into(),
                ));
            }
        };
        if list.is_empty() {
            return Err(Error::Invalid("prompts: there are none".into()));
        }
        let mut prompts: Vec<Prompt> = Vec::with_capacity(list.len());
        for (i, value) in list.into_iter().enumerate() {
            let id = value["id"]
                .as_str()
                .map_or("no id".to_owned(), |id| format!("id `{id}`"));
            let wrong = |why: String| Error::Invalid(format!("prompts: number {} ({id}): {why}", i + 1));
            let prompt: Prompt = serde_json::from_value(value).map_err(|e| wrong(e.to_string()))?;
            prompt.validate().map_err(wrong)?;
            if prompts.iter().any(|other| other.id == prompt.id) {
                return Err(wrong("another prompt has this id".into()));
            }
            prompts.push(prompt);
        }
        Ok(Self { prompts })
    }

    /// Only the prompts with these ids, in the set's order.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the ids there are, if one of `ids` is not among them.
    pub fn only(mut self, ids: &[String]) -> Result<Self> {
        if let Some(unknown) = ids.iter().find(|id| self.get(id).is_none()) {
            let known: Vec<&str> = self.prompts.iter().map(|prompt| prompt.id.as_str()).collect();
            return Err(Error::Invalid(format!(
                "there is no prompt `{unknown}`; there are {}",
                known.join(", ")
            )));
        }
        self.prompts.retain(|prompt| ids.contains(&prompt.id));
        Ok(self)
    }

    /// The prompt with this id.
    pub fn get(&self, id: &str) -> Option<&Prompt> {
        self.prompts.iter().find(|prompt| prompt.id == id)
    }
}

impl Prompt {
    /// What was asked and how it is judged, as one number: equal definitions have equal fingerprints (FNV-1a of the JSON).
    pub fn fingerprint(&self) -> String {
        let json = serde_json::to_string(self).unwrap_or_default();
        let hash = json.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        format!("{hash:016x}")
    }

    /// The messages of the user, in order, with what judges the answer to each.
    pub(super) fn rounds(&self) -> Vec<Round<'_>> {
        let last = || Round {
            ask: None,
            pattern: self.expected_pattern.as_ref(),
            checker: self.checker.as_ref(),
        };
        match &self.prompt {
            _ if !self.messages.is_empty() => vec![last()],
            Some(text) => vec![Round {
                ask: Some(text),
                ..last()
            }],
            None => self
                .turns
                .iter()
                .map(|turn| Round {
                    ask: Some(&turn.prompt),
                    pattern: turn.expected_pattern.as_ref(),
                    checker: turn.checker.as_ref(),
                })
                .collect(),
        }
    }

    fn validate(&self) -> Result<(), String> {
        let id_char = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if self.id.is_empty() || !self.id.chars().all(id_char) {
            return Err("an id is made of letters, digits, `_` and `-`".into());
        }
        let forms = [self.prompt.is_some(), !self.turns.is_empty(), !self.messages.is_empty()];
        if forms.iter().filter(|form| **form).count() != 1 {
            return Err("exactly one of `prompt`, `turns` and `messages` says what is asked".into());
        }
        if self.max_tokens == 0 {
            return Err("`max_tokens` must be at least 1".into());
        }
        if !self.turns.is_empty() && (self.expected_pattern.is_some() || self.checker.is_some()) {
            return Err("with `turns`, `expected_pattern` and `checker` belong to a turn".into());
        }
        let rounds = self.rounds();
        if rounds
            .iter()
            .all(|round| round.pattern.is_none() && round.checker.is_none())
        {
            return Err("nothing tells a right answer: give `expected_pattern` or `checker`".into());
        }
        rounds
            .iter()
            .filter_map(|round| round.checker)
            .try_for_each(Checker::validate)?;
        let places: usize = rounds
            .iter()
            .filter_map(|round| round.ask)
            .map(|text| text.matches(PLACEHOLDER).count())
            .sum();
        match (&self.generated, places) {
            (None, 0) | (Some(_), 1) => {}
            (None, _) => return Err(format!("`{PLACEHOLDER}` stands in it, but there is no `generated`")),
            (Some(_), n) => return Err(format!("`generated` needs one `{PLACEHOLDER}`; there are {n}")),
        }
        if let Some(generated) = &self.generated {
            generated.validate()?;
        }
        if let Some(bad) = self.messages.iter().position(|message| !message["role"].is_string()) {
            return Err(format!("message {} has no role", bad + 1));
        }
        let named = |tool: &Value| tool["function"]["name"].is_string();
        match self.tools.iter().position(|tool| !named(tool)) {
            Some(bad) => Err(format!("tool {} has no function name", bad + 1)),
            None => Ok(()),
        }
    }
}

/// A message of the user, and what judges the answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round<'a> {
    /// `None`: the conversation is given whole.
    pub ask: Option<&'a str>,
    pub pattern: Option<&'a Pattern>,
    pub checker: Option<&'a Checker>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"id":"a","category":"c","prompt":"p","expected_pattern":"x","max_tokens":4}"#;

    fn refused(text: &str) -> String {
        PromptSet::from_json(text).unwrap_err().to_string()
    }

    #[test]
    fn an_array_and_an_object_are_read_alike() {
        let array = PromptSet::from_json(&format!("[{GOOD}]")).unwrap();
        assert_eq!(
            PromptSet::from_json(&format!(r#"{{"prompts":[{GOOD}]}}"#)).unwrap(),
            array
        );
        let again = serde_json::to_string(&array).unwrap();
        assert_eq!(PromptSet::from_json(&again).unwrap(), array, "{again}");
    }

    #[test]
    fn a_broken_file_is_named_by_place() {
        assert!(refused("[{\n  \"id\": }").contains("line 2 column"));
        assert!(refused("[]").contains("none"));
        assert!(refused("7").contains("array"));
        assert!(refused(r#"{"list":[]}"#).contains("`prompts`"));
        let second = |json: &str| {
            let message = refused(&format!("[{GOOD},{json}]"));
            assert!(message.contains("number 2"), "{message}");
            message
        };
        assert!(second(GOOD).contains("another prompt"));
        assert!(second("{}").contains("no id"));
        let b = GOOD.replace(r#""a""#, r#""b""#);
        for (from, to, part) in [
            (r#""x""#, r#""(""#, "unclosed"),
            (r#""expected_pattern":"x","#, "", "right answer"),
            (r#":4}"#, ":0}", "max_tokens"),
            (r#":4}"#, r#":4,"colour":1}"#, "colour"),
            (r#""p""#, r#""p {generated}""#, "no `generated`"),
            (r#""b""#, r#""b b""#, "letters"),
            (r#""prompt":"p","#, "", "exactly one"),
            (r#":4}"#, r#":4,"tools":[{"type":"function"}]}"#, "tool 1"),
        ] {
            let message = second(&b.replace(from, to));
            assert!(message.contains(part) && message.contains("id `b"), "{to}: {message}");
        }
    }

    #[test]
    fn a_choice_keeps_the_order_and_names_the_unknown() {
        let b = GOOD.replace(r#""a""#, r#""b""#);
        let set = PromptSet::from_json(&format!("[{GOOD},{b}]")).unwrap();
        let chosen = set.clone().only(&["b".into(), "a".into()]).unwrap();
        assert_eq!(chosen, set);
        let message = set.clone().only(&["z".into()]).unwrap_err().to_string();
        assert!(message.contains("`z`") && message.contains("a, b"), "{message}");
    }

    #[test]
    fn a_fingerprint_changes_with_the_definition() {
        let one = PromptSet::from_json(&format!("[{GOOD}]")).unwrap();
        let other = PromptSet::from_json(&format!("[{}]", GOOD.replace(":4}", ":5}"))).unwrap();
        assert_eq!(one.prompts[0].fingerprint(), one.prompts[0].clone().fingerprint());
        assert_ne!(one.prompts[0].fingerprint(), other.prompts[0].fingerprint());
    }
}

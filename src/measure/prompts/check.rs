//! Is an answer right? Each checker says why it is not.

use super::code::{CodeCheck, check_code};
use super::rules::RulesCheck;
use super::schema;
use crate::engine::chat::{FunctionCall, ToolCall};
use regex::Regex;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// A regular expression, compiled when it is read.
#[derive(Debug, Clone)]
pub struct Pattern(pub(super) Regex);

impl Pattern {
    /// Compiles it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: &str) -> Result<Self, String> {
        Regex::new(text).map(Self).map_err(|e| e.to_string())
    }

    /// Whether it occurs in `text`.
    pub fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

/// What a right answer is. In JSON an object with one key, the checker's name: `{"number": {"equals": 42}}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Checker {
    /// This text, apart from white space around it.
    Equals(String),
    /// A number.
    Number(NumberCheck),
    /// Rules of form and content.
    Rules(RulesCheck),
    /// Python code.
    Code(CodeCheck),
    /// JSON that fits a schema: `type`, `properties`, `required`, `additionalProperties` (as a switch), `items`, `enum`, `const`,
    /// `minItems`, `maxItems`, `minLength`, `maxLength`, `minimum`, `maximum`, `pattern`. Other keywords are refused.
    Json(Value),
    /// A tool call.
    ToolCall(ToolCallCheck),
    /// No tool call, but text.
    NoToolCall(bool),
}

/// The number behind the last `after`, or the last of the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumberCheck {
    /// The right one.
    pub equals: f64,
    /// Text that stands before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// A tool call: its name is an identifier, its arguments are a JSON object with these keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolCallCheck {
    /// The function to be called; without it, any of an identifier's form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Keys the arguments must have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required: Vec<String>,
    /// The arguments must be these; numbers are compared as numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Map<String, Value>>,
}

/// What is judged: the answer's text (without thoughts), and the calls read from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The text.
    pub text: &'a str,
    /// The tool calls.
    pub calls: &'a [ToolCall],
}

impl Checker {
    pub(super) fn validate(&self) -> Result<(), String> {
        match self {
            Self::Json(schema) => schema::validate_schema(schema),
            Self::Rules(check) if check.rules.is_empty() => Err("`rules` has none".into()),
            Self::Rules(check) if check.at_least.is_some_and(|n| n > check.rules.len()) => {
                Err(format!("`at_least` is more than the {} rules", check.rules.len()))
            }
            _ => Ok(()),
        }
    }

    /// Judges an answer.
    ///
    /// # Errors
    /// Why it is not right.
    pub fn check(&self, answer: &Answer<'_>) -> Result<(), String> {
        let text = answer.text.trim();
        match self {
            Self::Equals(expected) if text == expected.trim() => Ok(()),
            Self::Equals(expected) => Err(format!("not `{}`", shorten(expected))),
            Self::Number(check) => check.check(text),
            Self::Rules(check) => check.check(text),
            Self::Code(check) => check_code(check, text),
            Self::Json(schema) => {
                let value = json_of(text).ok_or("no JSON in the answer")?;
                let problems = schema::problems(schema, &value);
                if problems.is_empty() {
                    return Ok(());
                }
                Err(listed("the JSON does not fit", &problems))
            }
            Self::ToolCall(check) => check.check(answer),
            Self::NoToolCall(wanted) => {
                let called = !answer.calls.is_empty() || call_in(text).is_some();
                match (called, wanted) {
                    (true, true) => Err("a tool was called, though none fits".into()),
                    (false, false) => Err("no tool was called".into()),
                    _ if text.is_empty() && *wanted => Err("the answer is empty".into()),
                    _ => Ok(()),
                }
            }
        }
    }
}

impl NumberCheck {
    fn check(&self, text: &str) -> Result<(), String> {
        let part = match &self.after {
            None => text,
            Some(mark) => match text.rfind(mark.as_str()) {
                Some(at) => &text[at + mark.len()..],
                None => return Err(format!("`{mark}` is not in the answer")),
            },
        };
        let mut found = numbers(part);
        let number = if self.after.is_some() {
            found.next()
        } else {
            found.last()
        };
        match number {
            Some(number) if (number - self.equals).abs() <= 1e-9 * self.equals.abs().max(1.0) => Ok(()),
            Some(number) => Err(format!("{number} instead of {}", self.equals)),
            None => Err(format!("no number, where {} was expected", self.equals)),
        }
    }
}

/// The numbers in a text; commas between groups of three digits are no decimal points.
fn numbers(text: &str) -> impl DoubleEndedIterator<Item = f64> {
    let mut found = Vec::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let start = at;
        let digit = |i: usize| bytes.get(i).is_some_and(u8::is_ascii_digit);
        while digit(at) || (matches!(bytes.get(at), Some(b',' | b'.')) && digit(at + 1)) {
            at += 1;
        }
        // a hyphen in front is a sign unless it joins words or numbers
        let before = text[..start].chars().rev();
        let mut before = before.skip_while(|c| *c == '$' || *c == '\u{20ac}');
        let negative =
            matches!(before.next(), Some('-' | '\u{2212}')) && !before.next().is_some_and(char::is_alphanumeric);
        if let Ok(number) = text[start..at].replace(',', "").parse::<f64>() {
            found.push(if negative { -number } else { number });
        }
    }
    found.into_iter()
}

impl ToolCallCheck {
    fn check(&self, answer: &Answer<'_>) -> Result<(), String> {
        let written = call_in(answer.text);
        let parsed = answer.calls.first().map(|call| &call.function);
        let call = parsed.or(written.as_ref()).ok_or("no tool was called")?;
        if !is_identifier(&call.name) {
            return Err(format!(
                "the function's name `{}` is no identifier",
                shorten(&call.name)
            ));
        }
        if let Some(name) = self.name.as_ref().filter(|name| **name != call.name) {
            return Err(format!("`{}` was called instead of `{name}`", shorten(&call.name)));
        }
        let arguments: Value = serde_json::from_str(&call.arguments)
            .map_err(|e| format!("the arguments `{}` are no JSON: {e}", shorten(&call.arguments)))?;
        let given = arguments.as_object().ok_or("the arguments are no JSON object")?;
        if let Some(key) = self.required.iter().find(|key| !given.contains_key(*key)) {
            return Err(format!("the arguments have no `{key}`"));
        }
        let Some(expected) = &self.arguments else { return Ok(()) };
        let wrong = expected
            .iter()
            .find(|(key, value)| !given.get(*key).is_some_and(|given| schema::same(given, value)));
        if let Some((key, value)) = wrong {
            let got = given.get(key).map_or("nothing".into(), Value::to_string);
            return Err(format!("`{key}` is {} instead of {value}", shorten(&got)));
        }
        match given.keys().find(|key| !expected.contains_key(*key)) {
            Some(key) => Err(format!("the arguments have a `{key}` that was not asked for")),
            None => Ok(()),
        }
    }
}

fn is_identifier(name: &str) -> bool {
    name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
}

/// A call written out as text, as models without tool support do: `{"name": .., "arguments": {..}}`, perhaps in a code fence
/// or in tags.
fn call_in(text: &str) -> Option<FunctionCall> {
    let inner = text
        .trim()
        .trim_start_matches("<tool_call>")
        .trim_end_matches("</tool_call>");
    let value = json_of(inner)?;
    let arguments = value.get("arguments").or_else(|| value.get("parameters"))?;
    Some(FunctionCall {
        name: value.get("name")?.as_str()?.to_owned(),
        arguments: match arguments {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        },
    })
}

/// The answer as JSON: the whole of it, or the first code fence in it. JSON in the middle of prose is not what was asked for.
fn json_of(text: &str) -> Option<Value> {
    let text = text.trim();
    serde_json::from_str(text)
        .ok()
        .or_else(|| serde_json::from_str(fenced(text)?).ok())
        .filter(|value: &Value| value.is_object() || value.is_array())
}

/// The inside of the first code fence.
pub(super) fn fenced(text: &str) -> Option<&str> {
    let start = text.find("```")?;
    let inside = &text[start + 3..];
    let inside = &inside[inside.find('\n')? + 1..];
    Some(inside.split("```").next().unwrap_or(inside))
}

/// At most three of the problems, and how many more there are.
pub(super) fn listed(what: &str, problems: &[String]) -> String {
    let mut text = format!("{what}: {}", problems[..problems.len().min(3)].join("; "));
    if problems.len() > 3 {
        text += &format!("; and {} more", problems.len() - 3);
    }
    text
}

/// A text for a one-line message.
pub(super) fn shorten(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(60) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line,
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;

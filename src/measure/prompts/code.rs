//! Python code in an answer, read without running it.

use super::check::{fenced, listed};
use super::rules::Rule;
use regex::Regex;
use serde::{Deserialize, Serialize};

/// What Python code must have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodeCheck {
    /// Functions that must be there, with a type for each parameter and for the result.
    pub functions: Vec<String>,
    /// There is a `raise` or an `except`.
    #[serde(default)]
    pub error_handling: bool,
    /// What else the code must be like.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
}

/// Whether an answer has a code block like that.
pub(super) fn check_code(check: &CodeCheck, answer: &str) -> Result<(), String> {
    let code = fenced(answer).ok_or("no code block (three backticks) in the answer")?;
    let mut problems = Vec::new();
    if let Err(problem) = balanced(code) {
        problems.push(problem);
    }
    for name in &check.functions {
        if let Err(problem) = typed_function(code, name) {
            problems.push(problem);
        }
    }
    let word = |word: &str| Regex::new(&format!(r"(?m)^\s*{word}\b")).is_ok_and(|regex| regex.is_match(code));
    if check.error_handling && !word("raise") && !word("except") {
        problems.push("no error is raised or handled".into());
    }
    problems.extend(check.rules.iter().filter_map(|rule| rule.check(code).err()));
    if problems.is_empty() {
        return Ok(());
    }
    Err(listed("the code is not as asked", &problems))
}

/// Whether `name` is defined and every parameter and the result have types.
fn typed_function(code: &str, name: &str) -> Result<(), String> {
    let head = Regex::new(&format!(r"(?m)^\s*(?:async\s+)?def\s+{}\s*\(", regex::escape(name)))
        .ok()
        .and_then(|regex| regex.find(code))
        .ok_or_else(|| format!("no function `{name}`"))?;
    let rest = &code[head.end()..];
    let close = closing(rest).ok_or_else(|| format!("the parameters of `{name}` do not end"))?;
    for parameter in split_top_level(&rest[..close]) {
        let bare = parameter.trim().trim_start_matches('*');
        let typed = bare.split('=').next().is_some_and(|declared| declared.contains(':'));
        if !(bare.is_empty() || bare == "/" || bare == "self" || bare == "cls" || typed) {
            return Err(format!("`{bare}` of `{name}` has no type"));
        }
    }
    let after = rest[close + 1..].trim_start();
    if after.starts_with("->") {
        Ok(())
    } else {
        Err(format!("the result of `{name}` has no type"))
    }
}

/// Where the bracket that is open before `text` closes.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 1;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// The parts between commas that are in no bracket.
fn split_top_level(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Whether brackets match outside of strings and comments: code that was cut short does not pass.
fn balanced(code: &str) -> Result<(), String> {
    let mut open: Vec<char> = Vec::new();
    let mut rest = code;
    while let Some(c) = rest.chars().next() {
        let quote = ["\"\"\"", "'''", "\"", "'"]
            .into_iter()
            .find(|quote| rest.starts_with(quote));
        if let Some(quote) = quote {
            rest = after_string(&rest[quote.len()..], quote).ok_or("a string does not end")?;
            continue;
        }
        if c == '#' {
            rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
            continue;
        }
        rest = &rest[c.len_utf8()..];
        match c {
            '(' => open.push(')'),
            '[' => open.push(']'),
            '{' => open.push('}'),
            ')' | ']' | '}' if open.pop() != Some(c) => return Err(format!("a `{c}` closes nothing")),
            _ => {}
        }
    }
    match open.pop() {
        Some(missing) => Err(format!("a `{missing}` is missing")),
        None => Ok(()),
    }
}

/// What follows the string that is open before `text`; a one-line string must end on its line.
fn after_string<'a>(text: &'a str, quote: &str) -> Option<&'a str> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == '\n' && quote.len() == 1 {
            return None;
        } else if text[at..].starts_with(quote) {
            return Some(&text[at + quote.len()..]);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answer: &str) -> Result<(), String> {
        let check = CodeCheck {
            functions: vec!["load".into(), "total".into()],
            error_handling: true,
            rules: Vec::new(),
        };
        check_code(&check, answer)
    }

    const GOOD: &str = "Here:\n```python\ndef load(path: str, *, limits: dict[str, int] = {\"a\": 1}) -> list[int]:\n    \
                        \"\"\"Reads (it.\"\"\"\n    try:\n        return [1]  # :)\n    except OSError as error:\n        raise \
                        ValueError(f\"it's {path}\") from error\n\ndef total(\n    values: list[int],\n) -> int:\n    return \
                        sum(values)\n```\nDone.";

    #[test]
    fn typed_functions_with_error_handling_pass() {
        check(GOOD).unwrap();
    }

    #[test]
    fn near_misses_are_named() {
        for (from, to, part) in [
            ("```", "", "no code block"),
            ("def total", "def totals", "no function `total`"),
            ("path: str", "path", "`path` of `load` has no type"),
            (") -> int:", "):", "result of `total`"),
            ("except OSError as error", "finally", "closes nothing"),
            ("sum(values)", "sum(values", "missing"),
            ("it's", "its\"", "string does not end"),
        ] {
            let mut answer = GOOD.replace(from, to);
            if to == "finally" {
                answer = answer.replace("sum(values)", "sum(values))");
            }
            let message = check(&answer).unwrap_err();
            assert!(message.contains(part), "{to}: {message}");
        }
        let careless = GOOD
            .replace("    try:\n", "")
            .replace("except", "if")
            .replace("raise", "return");
        assert!(check(&careless).unwrap_err().contains("no error is raised"));
    }
}

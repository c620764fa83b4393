//! Needle recall: is a fact from anywhere in a long prompt still found? A broken cache loses needles long before a merely
//! coarse one does, so this complements the divergence and does not replace it.
//!
//! [`NeedleGrid::questions`] writes prompts of given lengths with a fact at given depths (or
//! [`needle_questions`] takes those of a file), [`needles`] asks each of them with every cache, and [`NeedleRun`] counts. The question names one fact
//! of possibly several of the same kind: the multi-key task of Hsieh et al., "RULER" (2024).

mod ask;
mod haystack;
mod score;

pub use ask::{NeedleAnswer, NeedleRun, needles};
pub use haystack::{Haystack, NeedleGrid};
pub use score::{NeedleCell, NeedleKept, NeedleScore};

use crate::{Error, Model, Result, Token};
use serde::{Deserialize, Serialize};

/// How a needle is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NeedleKind {
    /// As text that ends with `Answer:`.
    Plain,
    /// As a user's message, by the model's chat template.
    Chat,
}

/// A prompt that ends with a question about a fact in it, as a file has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Needle {
    /// The whole prompt, control tokens spelled out.
    pub prompt: String,
    /// The word that answers it.
    pub expected: String,
    /// The size class: tokens of the prompt, at most.
    pub ctx: u32,
    /// How it is asked.
    pub kind: NeedleKind,
    /// Where the fact is, from 0 (start) to 1 (end).
    #[serde(default)]
    pub depth: Option<f64>,
}

/// A prompt ready to be asked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NeedleQuestion {
    /// The length asked for, in tokens: the prompt has at most so many.
    pub n_ctx: u32,
    /// The depth asked for; null if the file does not tell it.
    pub depth: Option<f64>,
    /// The depth it has: the share of the haystack's tokens that come before the fact.
    pub placed: Option<f64>,
    /// How it is asked.
    pub kind: NeedleKind,
    /// Its number among those of equal length and depth.
    pub trial: usize,
    /// The word that answers it.
    pub expected: String,
    /// The prompt.
    #[serde(skip)]
    pub tokens: Vec<Token>,
}

/// Most tokens of an answer, and the room for it behind the prompt.
const ANSWER_TOKENS: u32 = 40;

/// Reads needles, one JSON object per line.
///
/// # Errors
/// [`Error::Invalid`] with the number of the line that is none; without a line.
pub fn parse_needles(lines: &str) -> Result<Vec<Needle>> {
    let parse = |(i, line)| {
        let needle: Needle =
            serde_json::from_str(line).map_err(|e| Error::Invalid(format!("needles, line {}: {e}", i + 1)))?;
        let wrong = |what: &str| Err(Error::Invalid(format!("needles, line {}: {what}", i + 1)));
        if needle.expected.trim().is_empty() {
            return wrong("`expected` is empty");
        }
        if needle.depth.is_some_and(|depth| !(0.0..=1.0).contains(&depth)) {
            return wrong("`depth` is not between 0 and 1");
        }
        Ok(needle)
    };
    let needles: Vec<Needle> = lines
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(parse)
        .collect::<Result<_>>()?;
    if needles.is_empty() {
        return Err(Error::Invalid("there are no needles in it".into()));
    }
    Ok(needles)
}

/// The questions of ready-made needles, shortest first, with their depths rounded to quarters. Control tokens spelled out in
/// their prompts count.
///
/// # Errors
/// [`Error::Invalid`] for a prompt that does not fit what `model` was trained with.
pub fn needle_questions(model: &Model, needles: &[Needle]) -> Result<Vec<NeedleQuestion>> {
    let n_ctx_train = model.meta().n_ctx_train;
    let mut questions = Vec::with_capacity(needles.len());
    for (i, needle) in needles.iter().enumerate() {
        let tokens = model.tokenize(&needle.prompt, true, true)?;
        if tokens.is_empty() || tokens.len() + ANSWER_TOKENS as usize > n_ctx_train as usize {
            return Err(Error::Invalid(format!(
                "needle {} has {} tokens; with {ANSWER_TOKENS} for the answer it does not fit the {n_ctx_train} that the model \
                 was trained with",
                i + 1,
                tokens.len()
            )));
        }
        questions.push(NeedleQuestion {
            n_ctx: needle.ctx,
            depth: needle.depth.map(|depth| (4.0 * depth).round() / 4.0),
            placed: needle.depth,
            kind: needle.kind,
            trial: 0,
            expected: needle.expected.clone(),
            tokens,
        });
    }
    questions.sort_by_key(|question| question.n_ctx);
    Ok(questions)
}

/// Whether `word` stands in `line` and is not a part of a longer word or number; hyphens join words.
pub(super) fn has_word(line: &str, word: &str) -> bool {
    let joins = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(joins) && !line[at + word.len()..].starts_with(joins))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_found_whole_or_not_at_all() {
        assert!(has_word("The code is 8634.", "8634") && has_word("8634", "8634"));
        assert!(!has_word("18634", "8634") && !has_word("8634-7", "8634") && !has_word("x_8634", "8634"));
        assert!(has_word("86345 or 8634", "8634"), "a later whole word counts");
        assert!(!has_word("caf\u{e9}", "caf") && !has_word("", "8634"));
    }

    #[test]
    fn a_bad_line_is_named() {
        let good = r#"{"id":0,"prompt":"p","expected":"1","ctx":256,"kind":"plain"}"#;
        assert_eq!(parse_needles(good).unwrap()[0].ctx, 256);
        for bad in [
            "{}",
            "no JSON",
            r#"{"prompt":"p","expected":" ","ctx":256,"kind":"plain"}"#,
            r#"{"prompt":"p","expected":"1","ctx":256,"kind":"song"}"#,
            r#"{"prompt":"p","expected":"1","ctx":256,"kind":"chat","depth":1.5}"#,
        ] {
            let message = parse_needles(&format!("{good}\n\n{bad}")).unwrap_err().to_string();
            assert!(message.contains("line 3"), "{bad}: {message}");
        }
        assert!(parse_needles("\n\n").is_err(), "no needle at all");
    }
}

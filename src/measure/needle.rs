//! Needle recall: is a fact from anywhere in a long prompt still found? A broken cache loses needles long before a merely
//! coarse one does, so this complements the divergence and does not replace it.

use super::Progress;
use super::arm::Options;
use crate::generate::{GenParams, Prompt, Session};
use crate::kv::KvCacheConfig;
use crate::{ContextConfig, Error, Model, Result};
use serde::{Deserialize, Serialize};

/// A prompt that ends with a question about a fact in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needle {
    /// The whole prompt, control tokens spelled out.
    pub prompt: String,
    /// The word that answers it.
    pub expected: String,
    /// The size class: tokens of the prompt, at most.
    pub ctx: u32,
    /// `plain` or `chat`.
    pub kind: String,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NeedleAnswer {
    /// The size class of the prompt.
    pub ctx: u32,
    /// The word asked for.
    pub expected: String,
    /// What the model said.
    pub answer: String,
    /// The first line of the answer has the word.
    pub found: bool,
}

/// Most tokens of an answer, and the room for it behind the prompt.
const ANSWER_TOKENS: usize = 40;
const ANSWER_ROOM: u32 = 256;

/// Reads needles, one JSON object per line.
///
/// # Errors
/// [`Error::Invalid`] with the number of the line that is none.
pub fn parse_needles(lines: &str) -> Result<Vec<Needle>> {
    let parse =
        |(i, line)| serde_json::from_str(line).map_err(|e| Error::Invalid(format!("needles, line {}: {e}", i + 1)));
    lines
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(parse)
        .collect()
}

/// Asks for all needles, greedily, each in an empty cache.
///
/// # Errors
/// As [`Session::prompt`]; [`Error::Cancelled`].
pub fn needles(
    model: &Model,
    needles: &[Needle],
    kv: &KvCacheConfig,
    options: &Options,
    mut progress: impl FnMut(Progress),
) -> Result<Vec<NeedleAnswer>> {
    let mut answers = Vec::with_capacity(needles.len());
    let mut session: Option<Session> = None;
    for (done, needle) in needles.iter().enumerate() {
        progress(Progress {
            done,
            of: needles.len(),
        });
        let n_ctx = needle.ctx + ANSWER_ROOM;
        let reusable = session
            .take()
            .filter(|session| session.context().config().n_ctx == n_ctx);
        let session = session.insert(match reusable {
            Some(session) => session,
            None => Session::new(model.context(ContextConfig {
                n_ctx,
                n_batch: options.n_batch,
                n_ubatch: options.n_batch,
                n_threads: options.n_threads,
                kv: kv.clone(),
                ..Default::default()
            })?),
        });
        session.truncate(0)?;
        session.prompt_until(Prompt::Text(needle.prompt.clone()), options.cancel.clone())?;
        let (answer, _) = session
            .generate(&GenParams::greedy().max_tokens(ANSWER_TOKENS))?
            .text()?;
        if options.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let found = has_word(answer.lines().next().unwrap_or(""), &needle.expected);
        answers.push(NeedleAnswer {
            ctx: needle.ctx,
            expected: needle.expected.clone(),
            answer,
            found,
        });
    }
    progress(Progress {
        done: needles.len(),
        of: needles.len(),
    });
    Ok(answers)
}

/// Whether `word` stands in `line` and is not a part of a longer word or number; hyphens join words.
fn has_word(line: &str, word: &str) -> bool {
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
        let message = parse_needles(&format!("{good}\n{{}}")).unwrap_err().to_string();
        assert!(message.contains("line 2"), "{message}");
    }
}

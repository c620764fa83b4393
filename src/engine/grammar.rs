//! Grammars (GBNF) that an answer must follow.

pub(super) mod limits;

use super::backend::Backend;
use super::call;
use crate::error::Failure;
use crate::{Error, Result, sys};
use serde_json::Value;

/// A checked grammar in llama.cpp's GBNF notation, with the rule `root` as its start.
///
/// ```
/// # fn main() -> llama_turboquant::Result<()> {
/// use llama_turboquant::engine::grammar::Grammar;
/// let yes_or_no = Grammar::gbnf(r#"root ::= "yes" | "no""#)?;
/// assert!(Grammar::gbnf("root ::= missing").is_err());
/// # let _ = yes_or_no;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grammar(String);

impl Grammar {
    /// Takes a GBNF text. Token names in it (`<think>`) are only checked when a sampler is made, because only a model
    /// knows them.
    ///
    /// # Errors
    /// [`Error::Grammar`] with the place that does not parse, a missing or left-recursive rule, a NUL byte, or repetitions
    /// that come to too much.
    pub fn gbnf(text: &str) -> Result<Self> {
        limits::check_gbnf(text).map_err(Error::Grammar)?;
        Backend::init()?; // its log carries the reason of some errors
        let gbnf = call::c_string("the grammar", text).map_err(grammar_error)?;
        // SAFETY: the text is NUL-terminated and only read during the call; a null model is allowed; `error` is valid.
        let checked = call::check(|error| unsafe { sys::tq_grammar_check(std::ptr::null(), gbnf.as_ptr(), error) });
        match checked {
            Err(failure) if failure.status != sys::TQ_UNSUPPORTED => Err(grammar_error(failure)),
            _ => Ok(Self(text.to_owned())),
        }
    }

    /// The grammar of the JSON texts that `schema` allows.
    ///
    /// # Errors
    /// [`Error::Grammar`] if the schema uses what a grammar cannot express, is nested too deeply or too large.
    pub fn json_schema(schema: &Value) -> Result<Self> {
        limits::check_schema("the schema", schema).map_err(Error::Grammar)?;
        let schema = call::c_string("the schema", &schema.to_string()).map_err(grammar_error)?;
        // SAFETY: the schema is NUL-terminated and only read during the call; both slots are valid.
        let gbnf = call::text(|out, error| unsafe { sys::tq_grammar_from_schema(schema.as_ptr(), out, error) });
        let gbnf = gbnf.map_err(grammar_error)?;
        // bounds of the schema become repetitions
        limits::check_gbnf(&gbnf).map_err(Error::Grammar)?;
        Ok(Self(gbnf))
    }

    /// The grammar as GBNF.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn grammar_error(failure: Failure) -> Error {
    Error::Grammar(failure.text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn reason(gbnf: &str) -> String {
        Grammar::gbnf(gbnf).expect_err("must be refused").to_string()
    }

    #[test]
    fn a_grammar_error_names_its_place() {
        assert!(reason("root ::= (\"a\"").contains("expecting ')'"));
        assert!(reason("root = \"a\"").contains("expecting ::="));
    }

    #[test]
    fn a_grammar_without_root_or_with_missing_rules_is_refused() {
        assert!(reason("start ::= \"a\"").contains("'root'"));
        assert!(reason("root ::= item").contains("'item'"));
        assert!(reason("").contains("'root'"));
    }

    #[test]
    fn left_recursion_is_refused() {
        assert!(reason("root ::= root \"a\" | \"a\"").contains("left recursion"));
    }

    #[test]
    fn comments_and_token_names_are_accepted() {
        assert!(Grammar::gbnf("# a comment\nroot ::= \"a\" # another\n").is_ok());
        assert!(Grammar::gbnf("root ::= <think> [a-z]+").is_ok());
    }

    #[test]
    fn a_schema_becomes_a_grammar_that_checks() {
        let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]});
        let grammar = Grammar::json_schema(&schema).expect("schema");
        assert!(Grammar::gbnf(grammar.as_str()).is_ok());
        assert!(matches!(
            Grammar::json_schema(&json!({"type": "nonsense"})),
            Err(Error::Grammar(_))
        ));
    }
}

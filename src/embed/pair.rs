//! How a query and a document become the one text that a reranking model reads.

use crate::{Error, Model, Result, Token};

/// The form llama.cpp's server uses, so that scores agree.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PairFormat {
    /// The file has a template with `{query}` and `{document}` in it.
    Template(String),
    /// Both texts, with these tokens around them.
    Tokens {
        before: Vec<Token>,
        between: Vec<Token>,
        after: Vec<Token>,
    },
}

impl PairFormat {
    /// Reads it off the model's metadata.
    pub(super) fn of(model: &Model) -> Result<Self> {
        let metadata = model.metadata()?;
        let text = |key: &str| metadata.get(key).and_then(|value| value.as_str());
        if let Some(template) = text("tokenizer.chat_template.rerank") {
            return Ok(Self::Template(template.to_owned()));
        }
        // The engine's defaults for a file that does not say.
        let kind = text("tokenizer.ggml.model").unwrap_or_default();
        let pre = text("tokenizer.ggml.pre").unwrap_or_default();
        let flag = |key: &str, default: bool| text(key).map_or(default, |value| value == "true");
        let add_eos = flag("tokenizer.ggml.add_eos_token", kind == "t5");
        let add_sep = flag(
            "tokenizer.ggml.add_sep_token",
            kind == "bert" || (kind == "gpt2" && matches!(pre, "jina-v1-en" | "jina-v2-code" | "roberta-bpe")),
        );
        let sep = match text("tokenizer.ggml.seperator_token_id").map(str::parse) {
            Some(Ok(sep)) => sep,
            _ if kind == "bert" => 102,
            _ => -1,
        };
        let meta = model.meta();
        let eos = if meta.eos >= 0 { meta.eos } else { sep };
        let known = |token: Token, wanted: bool, what: &str| match (wanted, token) {
            (false, _) => Ok(None),
            (true, 0..) => Ok(Some(token)),
            (true, _) => Err(Error::Unsupported(format!(
                "this model wants a {what} token between query and document, and has none"
            ))),
        };
        let eos = known(eos, add_eos, "EOS")?;
        let sep = known(sep, add_sep, "separator")?;
        let bos = known(meta.bos, meta.add_bos, "BOS")?;
        Ok(Self::Tokens {
            before: bos.into_iter().collect(),
            between: eos.into_iter().chain(sep).collect(),
            after: eos.into_iter().collect(),
        })
    }

    pub(super) fn tokenize(&self, model: &Model, query: &str, document: &str) -> Result<Vec<Token>> {
        match self {
            // One text, not three: how a word is split depends on what is before it.
            Self::Template(template) => model.tokenize(&fill(template, query, document), false, true),
            Self::Tokens { before, between, after } => {
                let query = model.tokenize(query, false, false)?;
                let document = model.tokenize(document, false, false)?;
                Ok([before, &query, between, &document, after]
                    .into_iter()
                    .flatten()
                    .copied()
                    .collect())
            }
        }
    }
}

/// Replaces the two names, each time they occur in the template, but never in what was put in.
fn fill(template: &str, query: &str, document: &str) -> String {
    let mut filled = String::with_capacity(template.len() + query.len() + document.len());
    let mut rest = template;
    while let Some(brace) = rest.find('{') {
        let (text, name) = rest.split_at(brace);
        filled.push_str(text);
        let (value, len) = if name.starts_with("{query}") {
            (query, "{query}".len())
        } else if name.starts_with("{document}") {
            (document, "{document}".len())
        } else {
            ("{", 1)
        };
        filled.push_str(value);
        rest = &name[len..];
    }
    filled + rest
}

#[cfg(test)]
mod tests {
    use super::fill;

    #[test]
    fn names_in_the_template_are_replaced_and_those_in_the_texts_are_not() {
        assert_eq!(fill("q: {query}\nd: {document}{x}", "a", "b"), "q: a\nd: b{x}");
        assert_eq!(
            fill("{query}|{document}", "{document}", "{query}"),
            "{document}|{query}"
        );
        assert_eq!(fill("", "a", "b"), "");
    }
}

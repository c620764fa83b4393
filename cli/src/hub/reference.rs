//! `org/repo:QUANT`: what to download.

use super::Error;
use crate::store::{is_part, without_host};
use std::fmt;
use std::str::FromStr;

/// Longest part of a name on a hub.
const MAX_PART: usize = 96;
/// Longest tag or file name.
const MAX_TAG: usize = 200;

/// A model on a hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The user or organisation.
    pub org: String,
    /// The repository.
    pub repo: String,
    /// Which of its files.
    pub selector: Selector,
}

/// Which file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// `Q4_K_M`, else `Q8_0`, else the first: what llama.cpp's `-hf` takes.
    Default,
    /// The one with this tag in its name, in any case.
    Tag(String),
    /// The one of this name; the first shard stands for all.
    File(String),
}

impl FromStr for Reference {
    type Err = Error;

    /// Reads `org/repo[:QUANT|:file.gguf]`, with or without `hf.co/` or `huggingface.co/`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |reason| Error::Reference {
            text: text.chars().take(120).filter(|char| !char.is_control()).collect(),
            reason,
        };
        let name = without_host(text);
        let (path, tag) = name
            .split_once(':')
            .map_or((name, None), |(path, tag)| (path, Some(tag)));
        let (org, repo) = path.split_once('/').ok_or_else(|| wrong("it has no '/'"))?;
        if ![org, repo].iter().all(|part| is_part(part) && part.len() <= MAX_PART) {
            return Err(wrong(
                "organisation and repository are of letters, digits, '.', '_' and '-'",
            ));
        }
        let selector = match tag {
            None | Some("latest") => Selector::Default,
            Some(tag) if !is_part(tag) || tag.len() > MAX_TAG => {
                return Err(wrong("the tag is of letters, digits, '.', '_' and '-'"));
            }
            Some(tag) if tag.to_ascii_lowercase().ends_with(".gguf") => Selector::File(tag.to_owned()),
            Some(tag) => Selector::Tag(tag.to_owned()),
        };
        Ok(Self {
            org: org.to_owned(),
            repo: repo.to_owned(),
            selector,
        })
    }
}

impl Reference {
    /// `org/repo`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.org, self.repo)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.org, self.repo)?;
        match &self.selector {
            Selector::Default => Ok(()),
            Selector::Tag(tag) | Selector::File(tag) => write!(f, ":{tag}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ways_to_write_a_reference() {
        let plain: Reference = "org/repo-GGUF".parse().unwrap();
        assert_eq!(plain.selector, Selector::Default);
        for text in [
            "hf.co/org/repo-GGUF",
            "huggingface.co/org/repo-GGUF:latest",
            "https://hf.co/org/repo-GGUF",
        ] {
            assert_eq!(text.parse::<Reference>().unwrap(), plain, "{text}");
        }
        let tag: Reference = "org/repo:Q4_K_M".parse().unwrap();
        assert_eq!(tag.selector, Selector::Tag("Q4_K_M".into()));
        let file: Reference = "org/repo:my.Model-q8.gguf".parse().unwrap();
        assert_eq!(file.selector, Selector::File("my.Model-q8.gguf".into()));
        assert_eq!(file.to_string(), "org/repo:my.Model-q8.gguf");
    }

    #[test]
    fn hostile_references_are_refused() {
        let long = format!("org/{}", "x".repeat(97));
        let names = [
            "",
            "llama3",
            "../x",
            "a/..",
            "a/b/c",
            "/a/b",
            "a/b:../x",
            "a/b:x/y.gguf",
            "a/b:",
            "a/b:c:d",
            "a b/c",
            "a/b?x=1",
            "a/b#x",
            "a/%2e%2e",
            "http://evil.example/a/b",
            "a\n/b",
            "user@host/x",
            &long,
        ];
        for text in names {
            assert!(
                matches!(text.parse::<Reference>(), Err(Error::Reference { .. })),
                "{text:?}"
            );
        }
    }
}

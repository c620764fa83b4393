//! Names of models, checked before anything is made from them.

use super::Error;

/// Longest name. With its separators escaped it is still a file name on every file system.
const MAX: usize = 220;

/// Tags that a hub's name without one means, the first that is there.
pub(crate) const DEFAULT_TAGS: [&str; 2] = ["Q4_K_M", "Q8_0"];

const PARTS: &str = "a name is NAME, ORG/NAME, NAME:TAG or ORG/NAME:TAG, of letters, digits, '.', '_' and '-', \
                     each part beginning with a letter, a digit or '_'";

/// A name that a model may get: safe as part of a path, and the same for everybody.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// Checks a name from outside. A tag `latest` is dropped, as it says nothing; so is the host of a hub.
    ///
    /// # Errors
    /// [`Error::InvalidName`].
    pub fn new(text: &str) -> Result<Self, Error> {
        let invalid = |reason| Error::InvalidName {
            name: text.chars().take(80).filter(|char| !char.is_control()).collect(),
            reason,
        };
        let name = plain(text);
        if name.len() > MAX {
            return Err(invalid("a name has at most 220 bytes"));
        }
        let (path, tag) = match name.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (name, None),
        };
        let mut parts = path.split('/').chain(tag);
        if path.split('/').count() > 2 || !parts.all(is_part) {
            return Err(invalid(PARTS));
        }
        Ok(Self(name.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A file name that no other name has.
    pub fn file_name(&self) -> String {
        format!("{}.json", self.0.replace('/', "%2F").replace(':', "%3A"))
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether `text` can be one part of a name: never `..`, hidden, an option or a path.
pub(crate) fn is_part(text: &str) -> bool {
    text.starts_with(|char: char| char.is_ascii_alphanumeric() || char == '_')
        && text
            .chars()
            .all(|char| char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '-'))
}

/// The name without what adds nothing to it: a hub's host, the tag `latest`.
pub(crate) fn plain(name: &str) -> &str {
    let name = without_host(name);
    name.strip_suffix(":latest").unwrap_or(name)
}

/// The name without a hub's address before it.
pub(crate) fn without_host(name: &str) -> &str {
    let name = name.strip_prefix("https://").unwrap_or(name);
    ["hf.co/", "huggingface.co/"]
        .iter()
        .find_map(|host| name.strip_prefix(host))
        .unwrap_or(name)
}

/// Which of `names` is meant by `wanted`.
pub(super) fn best<'a>(names: impl Iterator<Item = &'a str> + Clone, wanted: &str) -> Option<&'a str> {
    let exact = names.clone().find(|name| *name == wanted);
    let wanted = plain(wanted);
    exact
        .or_else(|| names.clone().find(|name| plain(name) == wanted))
        .or_else(|| {
            let (repo, tag) = wanted
                .split_once(':')
                .map_or((wanted, None), |(repo, tag)| (repo, Some(tag)));
            if !repo.contains('/') {
                return None;
            }
            let of_repo =
                names.filter_map(|name| name.split_once(':').filter(|(r, _)| *r == repo).map(|(_, t)| (t, name)));
            let tagged = |tag: &str| {
                of_repo
                    .clone()
                    .find(|(t, _)| t.eq_ignore_ascii_case(tag))
                    .map(|(_, name)| name)
            };
            match tag {
                Some(tag) => tagged(tag),
                None => DEFAULT_TAGS
                    .into_iter()
                    .find_map(tagged)
                    .or_else(|| of_repo.clone().next().map(|(_, name)| name)),
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_are_kept() {
        for name in [
            "a",
            "llama3.2",
            "llama3.2:3b-q8_0",
            "org/repo",
            "org/Repo-GGUF:Q4_K_M",
            "_x",
        ] {
            assert_eq!(Name::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn what_adds_nothing_is_dropped() {
        for name in [
            "org/repo",
            "org/repo:latest",
            "hf.co/org/repo",
            "https://huggingface.co/org/repo:latest",
        ] {
            assert_eq!(Name::new(name).unwrap().as_str(), "org/repo", "{name}");
        }
    }

    #[test]
    fn hostile_names_are_refused() {
        let long = "x".repeat(500);
        let names = [
            "",
            ".",
            "..",
            "../x",
            "a/../b",
            "/etc/passwd",
            "a/b/c",
            "a//b",
            "a/",
            "/a",
            "a:b:c",
            "a:",
            ":a",
            "-rf",
            ".hidden",
            "a/.b",
            "a\\b",
            "C:\\x",
            "C:/x",
            "a\0b",
            "a\nb",
            "a b",
            "a%2Fb",
            "ä",
            "\u{202e}gpj",
            "a:../../x",
            "file:///etc/passwd",
            "hf.co/../x",
            &long,
        ];
        for name in names {
            assert!(matches!(Name::new(name), Err(Error::InvalidName { .. })), "{name:?}");
        }
    }

    #[test]
    fn different_names_have_different_files() {
        let file = |name| Name::new(name).unwrap().file_name();
        assert_eq!(file("a/b:c"), "a%2Fb%3Ac.json");
        assert_ne!(file("a/b"), file("a_b"));
        assert!(file(&"x".repeat(MAX)).len() < 255);
    }
}

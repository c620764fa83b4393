//! Rules of form and content.

use super::check::{Pattern, listed, shorten};
use serde::{Deserialize, Serialize};

/// Rules, of which all or some must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RulesCheck {
    /// The rules.
    pub rules: Vec<Rule>,
    /// How many of them must hold; without it, all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<usize>,
}

/// One rule: everything that is there must hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// The rule in words, for whoever reads that it was broken.
    pub what: String,
    /// Occurs in the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matches: Option<Pattern>,
    /// Does not occur in the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub absent: Option<Pattern>,
    /// Occurs so many times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<Count>,
    /// Words of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<Range>,
    /// Lines that are not blank.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lines: Option<Range>,
    /// Blocks between blank lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paragraphs: Option<Range>,
    /// Words of each line that is not blank.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words_per_line: Option<Range>,
}

/// How often something occurs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Count {
    /// What.
    pub pattern: Pattern,
    /// At least; without it, 0.
    #[serde(default)]
    pub min: usize,
    /// At most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<usize>,
}

/// From and to, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// At least; without it, 0.
    #[serde(default)]
    pub min: usize,
    /// At most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<usize>,
}

impl RulesCheck {
    pub(super) fn check(&self, text: &str) -> Result<(), String> {
        let broken: Vec<String> = self.rules.iter().filter_map(|rule| rule.check(text).err()).collect();
        let kept = self.rules.len() - broken.len();
        if kept >= self.at_least.unwrap_or(self.rules.len()) {
            return Ok(());
        }
        Err(listed(
            &format!("{} of {} rules broken", broken.len(), self.rules.len()),
            &broken,
        ))
    }
}

impl Rule {
    pub(super) fn check(&self, text: &str) -> Result<(), String> {
        let broken = |why: String| Err(format!("{} ({why})", self.what));
        let matches_of = |pattern: &Pattern| pattern.0.find_iter(text).count();
        if self.matches.as_ref().is_some_and(|pattern| !pattern.is_match(text)) {
            return broken("not found".into());
        }
        if let Some(found) = self.absent.as_ref().and_then(|pattern| pattern.0.find(text)) {
            return broken(format!("there is `{}`", shorten(found.as_str())));
        }
        let words = |text: &str| text.split_whitespace().count();
        let filled = || text.lines().filter(|line| !line.trim().is_empty());
        let paragraphs = || {
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            lines
                .split(|line| line.is_empty())
                .filter(|block| !block.is_empty())
                .count()
        };
        let sizes = [
            (
                self.count.as_ref().map(|it| it.range()),
                "found",
                self.count.as_ref().map_or(0, |it| matches_of(&it.pattern)),
            ),
            (self.words, "words", words(text)),
            (self.lines, "lines", filled().count()),
            (self.paragraphs, "paragraphs", paragraphs()),
        ];
        for (range, what, n) in sizes {
            if range.is_some_and(|range| !range.has(n)) {
                return broken(format!("{n} {what}"));
            }
        }
        if let Some(range) = self.words_per_line
            && let Some(line) = filled().find(|line| !range.has(words(line)))
        {
            return broken(format!("{} words in `{}`", words(line), shorten(line)));
        }
        Ok(())
    }
}

impl Count {
    fn range(&self) -> Range {
        Range {
            min: self.min,
            max: self.max,
        }
    }
}

impl Range {
    fn has(&self, n: usize) -> bool {
        n >= self.min && self.max.is_none_or(|max| n <= max)
    }
}

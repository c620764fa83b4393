//! Stop strings: texts that end an answer and are not part of it.

/// Looks for stop strings in a text that arrives in pieces, and never hands out any part of one.
///
/// Text that may be the beginning of a stop string is held back until it is clear. The stop string that is complete first
/// wins (of several complete at the same character, the longest), so the result does not depend on how the text is cut.
#[derive(Debug, Clone, Default)]
pub struct StopMatcher {
    stops: Vec<String>,
    held: String,
    /// Set by a match: nothing follows it.
    done: bool,
}

/// What [`StopMatcher::push`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StopOutcome {
    /// Text that is certain to be part of the answer.
    pub text: String,
    /// The stop string that ended it.
    pub stop: Option<String>,
}

impl StopMatcher {
    /// A matcher for `stops`; empty ones are ignored, because they would match before the first character.
    pub fn new(stops: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let stops = stops
            .into_iter()
            .map(Into::into)
            .filter(|stop: &String| !stop.is_empty())
            .collect();
        Self {
            stops,
            ..Self::default()
        }
    }

    /// Appends text; returns what is certain now. After a match nothing is taken any more.
    pub fn push(&mut self, text: &str) -> StopOutcome {
        if self.done {
            return StopOutcome::default();
        }
        self.held.push_str(text);
        if let Some((start, stop)) = self.find() {
            self.done = true;
            let mut text = std::mem::take(&mut self.held);
            text.truncate(start);
            return StopOutcome { text, stop: Some(stop) };
        }
        let keep = self.held.len() - self.pending();
        let rest = self.held.split_off(keep);
        StopOutcome {
            text: std::mem::replace(&mut self.held, rest),
            stop: None,
        }
    }

    /// Nothing more comes: the text held back is no stop string after all.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Start and text of the stop string that ends first.
    fn find(&self) -> Option<(usize, String)> {
        self.stops
            .iter()
            .filter_map(|stop| self.held.find(stop.as_str()).map(|start| (start, stop)))
            .min_by_key(|(start, stop)| (start + stop.len(), *start))
            .map(|(start, stop)| (start, stop.clone()))
    }

    /// Bytes at the end that may be the beginning of a stop string.
    fn pending(&self) -> usize {
        let may_begin = |stop: &String| {
            let longest = stop.len().saturating_sub(1).min(self.held.len());
            // bytes: a prefix of the stop string that ends the text is followed by nothing, so it is whole characters
            // of the text, whatever the stop string has after it
            let (held, stop) = (self.held.as_bytes(), stop.as_bytes());
            (1..=longest).rev().find(|&n| held.ends_with(&stop[..n])).unwrap_or(0)
        };
        self.stops.iter().map(may_begin).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text and stop string of `pieces`, as a caller would collect them.
    fn run<'a>(stops: &[&str], pieces: impl IntoIterator<Item = &'a str>) -> (String, Option<String>) {
        let mut matcher = StopMatcher::new(stops.iter().copied());
        let mut text = String::new();
        for piece in pieces {
            let found = matcher.push(piece);
            text += &found.text;
            if found.stop.is_some() {
                return (text, found.stop);
            }
        }
        (text + &matcher.finish(), None)
    }

    /// Stop strings, text, answer, the stop string found.
    const CASES: [(&[&str], &str, &str, Option<&str>); 11] = [
        (&["END"], "hello END world", "hello ", Some("END")),
        (&["END"], "hello EN", "hello EN", None),
        (&["END"], "EEND", "E", Some("END")),
        (&["aab"], "aaab", "a", Some("aab")),
        (&["\n\n"], "a\n\nb", "a", Some("\n\n")),
        (&["abcd", "c"], "abcd", "ab", Some("c")),
        (&["abc", "bc", "c"], "xabc", "x", Some("abc")),
        (&["", "x"], "yyxz", "yy", Some("x")),
        (&[], "anything", "anything", None),
        (
            &["\u{1f980}!", "\u{e9}t\u{e9}"],
            "un \u{e9}t\u{e8} et un \u{1f980}!",
            "un \u{e9}t\u{e8} et un ",
            Some("\u{1f980}!"),
        ),
        (
            &["<|im_end|>", "<|im_start|>"],
            "a <| b <|im_x <|im_start|>",
            "a <| b <|im_x ",
            Some("<|im_start|>"),
        ),
    ];

    #[test]
    fn every_split_in_three_gives_the_same_answer() {
        for (stops, text, answer, stop) in CASES {
            let cuts: Vec<usize> = (0..=text.len()).filter(|&i| text.is_char_boundary(i)).collect();
            for &a in &cuts {
                for &b in cuts.iter().filter(|&&b| b >= a) {
                    let found = run(stops, [&text[..a], &text[a..b], &text[b..]]);
                    assert_eq!(
                        found,
                        (answer.to_owned(), stop.map(str::to_owned)),
                        "{text:?} cut at {a} and {b}"
                    );
                }
            }
        }
    }

    #[test]
    fn character_by_character_gives_the_same_answer() {
        for (stops, text, answer, stop) in CASES {
            let found = run(stops, text.split_inclusive(|_| true));
            assert_eq!(found, (answer.to_owned(), stop.map(str::to_owned)), "{text:?}");
        }
    }

    #[test]
    fn only_what_may_become_a_stop_string_is_held_back() {
        let mut matcher = StopMatcher::new(["STOP"]);
        assert_eq!(matcher.push("text S").text, "text ");
        assert_eq!(matcher.push("TO").text, "");
        assert_eq!(matcher.push("RE ST").text, "STORE ");
        assert_eq!(matcher.finish(), "ST");
    }

    #[test]
    fn nothing_follows_a_stop_string() {
        let mut matcher = StopMatcher::new(["."]);
        assert_eq!(matcher.push("a.b").text, "a");
        assert_eq!(matcher.push("c"), StopOutcome::default());
        assert_eq!(matcher.finish(), "");
    }
}

//! What came out: answers, verdicts, and what they add up to.

use super::prepare::GeneratedSize;
use serde::{Deserialize, Serialize};

/// The outcome of a run: what docs/results-format.md calls the results of `prompts`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcomes {
    /// The caches in the order they were asked; all are compared with the first.
    pub caches: Vec<String>,
    /// By prompt.
    pub prompts: Vec<Outcome>,
}

/// What came out of one prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The prompt's id.
    pub id: String,
    /// Its category.
    pub category: String,
    /// Of its definition: records of other definitions cannot be compared.
    pub fingerprint: String,
    /// Its generated text, if it has one.
    pub generated: Option<GeneratedSize>,
    /// Why it was not asked.
    pub not_run: Option<String>,
    /// By cache, in the caches' order; fewer if the run was stopped.
    pub answers: Vec<AnswerOutcome>,
}

/// What one cache answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnswerOutcome {
    /// The cache, or the endpoint.
    pub cache: String,
    /// Whether all checks of the prompt passed; `None`: it was not answered.
    pub passed: Option<bool>,
    /// Why they did not, or why there is no answer.
    pub why: Option<String>,
    /// The text as generated; several answers of a conversation are parted by a line `--- N ---`.
    pub answer: String,
    /// Tokens of the prompt; of a conversation, of its last turn.
    pub n_prompt: Option<usize>,
    /// Tokens generated, end tokens included.
    pub n_tokens: Option<usize>,
    /// Why the last answer ended: `stop`, `length`, or what the endpoint says.
    pub finish: Option<String>,
    /// Where it parts from the first cache's answer; `None` also for the first cache itself.
    pub first_difference: Option<Difference>,
    /// Judged against the first cache; `None`: it is the first cache.
    pub verdict: Option<Verdict>,
    /// The tokens, by answer of the conversation: known where we generated them ourselves.
    #[serde(skip)]
    pub tokens: Option<Vec<i32>>,
}

/// Where two answers part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Tokens before the first that differs; `None`: the tokens are not known.
    pub token: Option<usize>,
    /// Characters before the first that differs.
    pub char: usize,
}

/// What a compressed cache did to an answer. The rule: what the reference can do and the candidate cannot is degraded; what
/// the reference cannot do either decides nothing, whatever the candidate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Both passed.
    Kept,
    /// The reference passed and the candidate did not.
    Degraded,
    /// The reference did not pass.
    NotDecidable,
    /// One of the two has no answer.
    NotRun,
}

impl Verdict {
    /// By what the reference and the candidate did.
    pub fn of(reference: Option<bool>, candidate: Option<bool>) -> Self {
        match (reference, candidate) {
            (None, _) | (_, None) => Self::NotRun,
            (Some(false), _) => Self::NotDecidable,
            (Some(true), Some(true)) => Self::Kept,
            (Some(true), Some(false)) => Self::Degraded,
        }
    }
}

/// What a candidate's verdicts add up to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The candidate.
    pub cache: String,
    /// Prompts whose answer the reference got right: they can be lost.
    pub decidable: usize,
    /// Of these, right.
    pub kept: usize,
    /// Of these, wrong.
    pub degraded: usize,
    /// Prompts that the reference fails.
    pub not_decidable: usize,
    /// Prompts without an answer of one of the two.
    pub not_run: usize,
    /// Answers equal to the reference's, character for character.
    pub identical: usize,
}

impl AnswerOutcome {
    /// No answer, and why.
    pub(super) fn missing(why: String) -> Self {
        Self {
            cache: String::new(),
            passed: None,
            why: Some(why),
            answer: String::new(),
            n_prompt: None,
            n_tokens: None,
            finish: None,
            first_difference: None,
            verdict: None,
            tokens: None,
        }
    }

    pub(super) fn named(mut self, cache: &str) -> Self {
        self.cache = cache.to_owned();
        self
    }
}

impl Summary {
    /// Whether nine of ten decidable prompts were kept; `None`: there is no decidable one, so nothing is known.
    pub fn passes(&self) -> Option<bool> {
        // in whole numbers: 0.9 has no exact binary form
        (self.decidable > 0).then_some(10 * self.kept >= 9 * self.decidable)
    }
}

impl Outcomes {
    /// Each candidate's summary, in order.
    pub fn summaries(&self) -> Vec<Summary> {
        self.caches.iter().skip(1).map(|cache| self.summary(cache)).collect()
    }

    fn summary(&self, cache: &str) -> Summary {
        let mut summary = Summary {
            cache: cache.to_owned(),
            ..Summary::default()
        };
        for prompt in &self.prompts {
            let answer = prompt.answers.iter().skip(1).find(|answer| answer.cache == cache);
            match answer.and_then(|answer| answer.verdict) {
                None | Some(Verdict::NotRun) => summary.not_run += 1,
                Some(Verdict::NotDecidable) => summary.not_decidable += 1,
                Some(Verdict::Kept) => summary.kept += 1,
                Some(Verdict::Degraded) => summary.degraded += 1,
            }
            let compared = |answer: &&AnswerOutcome| answer.verdict.is_some_and(|verdict| verdict != Verdict::NotRun);
            if answer
                .filter(compared)
                .is_some_and(|answer| answer.first_difference.is_none())
            {
                summary.identical += 1;
            }
        }
        summary.decidable = summary.kept + summary.degraded;
        summary
    }

    /// Makes the first cache of a former run the reference. Call it before any answer is added. A prompt that the former run
    /// does not have, or has by another definition, gets no reference answer, and that is said.
    pub fn refer_to(&mut self, former: &Outcomes) {
        let name = former.caches.first().map_or("record", String::as_str);
        let name = format!("{name} (record)");
        for prompt in &mut self.prompts {
            let known = former.prompts.iter().find(|other| other.id == prompt.id);
            let missing = |why: &str| AnswerOutcome::missing(why.to_owned());
            let answer = match known {
                None => missing("the record does not have this prompt"),
                Some(other) if other.fingerprint != prompt.fingerprint => {
                    missing("the record has another definition of this prompt")
                }
                Some(other) if other.generated != prompt.generated => {
                    missing("the record has another length of this prompt's generated text")
                }
                Some(other) => match other.answers.first() {
                    None => missing("the record has no answer to this prompt"),
                    Some(answer) => answer.clone(),
                },
            };
            prompt.answers.insert(0, answer.named(&name));
        }
        self.caches.insert(0, name);
    }

    /// Adds an answer to prompt number `i`; the first one is the reference of those that follow.
    pub fn add(&mut self, i: usize, mut answer: AnswerOutcome) {
        let prompt = &mut self.prompts[i];
        if let Some(reference) = prompt.answers.first() {
            answer.verdict = Some(Verdict::of(reference.passed, answer.passed));
            answer.first_difference = match (reference.passed, answer.passed) {
                (Some(_), Some(_)) => difference(reference, &answer),
                _ => None,
            };
        }
        prompt.answers.push(answer);
    }
}

fn difference(a: &AnswerOutcome, b: &AnswerOutcome) -> Option<Difference> {
    let at = first_difference(&a.answer, &b.answer)?;
    let tokens = a.tokens.as_ref().zip(b.tokens.as_ref());
    Some(Difference {
        token: tokens.map(|(a, b)| a.iter().zip(b).take_while(|(a, b)| a == b).count()),
        char: a.answer[..at].chars().count(),
    })
}

/// The byte at which two texts part, which begins a character in both (or ends one of them); `None`: they are equal.
pub fn first_difference(a: &str, b: &str) -> Option<usize> {
    if a == b {
        return None;
    }
    let common = a.chars().zip(b.chars()).take_while(|(a, b)| a == b);
    Some(common.map(|(c, _)| c.len_utf8()).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_part_at_a_character_in_both() {
        // the first bytes of \u{e9} and \u{e8} are equal, those of the two crabs' neighbours too
        for (a, b, at) in [
            ("caf\u{e9}s", "caf\u{e8}s", Some(3)),
            ("\u{1f980}\u{1f981}", "\u{1f980}\u{1f982}", Some(4)),
            ("same", "same", None),
            ("", "x", Some(0)),
            ("abc", "ab", Some(2)),
        ] {
            assert_eq!(first_difference(a, b), at);
            assert_eq!(first_difference(b, a), at);
            assert!(at.is_none_or(|at| a.is_char_boundary(at) && b.is_char_boundary(at)));
        }
    }

    fn answer(cache: &str, passed: Option<bool>, text: &str, tokens: &[i32]) -> AnswerOutcome {
        AnswerOutcome {
            cache: cache.into(),
            passed,
            why: None,
            answer: text.into(),
            n_prompt: None,
            n_tokens: None,
            finish: None,
            first_difference: None,
            verdict: None,
            tokens: Some(tokens.to_vec()),
        }
    }

    fn outcomes(pairs: &[(Option<bool>, Option<bool>)]) -> Outcomes {
        let prompt = |i: usize| Outcome {
            id: format!("p{i}"),
            category: "c".into(),
            fingerprint: String::new(),
            generated: None,
            not_run: None,
            answers: Vec::new(),
        };
        let mut outcomes = Outcomes {
            caches: vec!["f16".into(), "turbo4".into()],
            prompts: (0..pairs.len()).map(prompt).collect(),
        };
        for (i, (reference, candidate)) in pairs.iter().enumerate() {
            outcomes.add(i, answer("f16", *reference, "gr\u{fc}n", &[1, 2, 3]));
            outcomes.add(i, answer("turbo4", *candidate, "gr\u{fc}ner", &[1, 2, 9, 3]));
        }
        outcomes
    }

    #[test]
    fn only_what_the_reference_can_do_can_be_lost() {
        let all = [
            (Some(true), Some(true)),
            (Some(true), Some(false)),
            (Some(false), Some(false)),
            (Some(false), Some(true)),
            (None, Some(true)),
            (Some(true), None),
        ];
        let outcomes = outcomes(&all);
        let summary = &outcomes.summaries()[0];
        assert_eq!((summary.kept, summary.degraded, summary.decidable), (1, 1, 2));
        assert_eq!((summary.not_decidable, summary.not_run, summary.identical), (2, 2, 0));
        let difference = outcomes.prompts[0].answers[1].first_difference.unwrap();
        assert_eq!((difference.token, difference.char), (Some(2), 4));
        assert_eq!(outcomes.prompts[0].answers[0].verdict, None);
    }

    #[test]
    fn nine_of_ten_pass_and_nothing_decidable_is_no_pass() {
        let run = |kept: usize, lost: usize| {
            let mut pairs = vec![(Some(true), Some(true)); kept];
            pairs.extend(vec![(Some(true), Some(false)); lost]);
            pairs.push((Some(false), Some(false)));
            outcomes(&pairs).summaries()[0].passes()
        };
        assert_eq!(run(9, 1), Some(true));
        assert_eq!(run(63, 7), Some(true));
        assert_eq!(run(8, 2), Some(false));
        assert_eq!(run(8, 1), Some(false), "eight of nine are less than nine of ten");
        assert_eq!(run(0, 0), None);
    }

    #[test]
    fn a_record_is_read_back() {
        let outcomes = outcomes(&[(Some(true), Some(false))]);
        let json = serde_json::to_value(&outcomes).unwrap();
        assert_eq!(json["prompts"][0]["answers"][1]["verdict"], "degraded");
        let read: Outcomes = serde_json::from_value(json).unwrap();
        assert_eq!(read.summaries(), outcomes.summaries());
    }
}

//! Conversations with facts and recall questions, written before they are held: every cache sees the same text.

use crate::measure::wording::{ANIMALS, CITIES, COLORS, FRUITS, JOBS, OBJECTS, PLACES, first_name, number, pick};
use crate::verify::rng::Rng;
use crate::{Error, Result};
use serde::Serialize;

/// What a turn is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum TurnKind {
    /// The user states a fact.
    Fact,
    /// The user asks something that needs no memory.
    Chat,
    /// The user asks for a fact.
    Recall {
        /// The word that answers it.
        expected: String,
        /// The turn that stated it, from 1.
        stated: usize,
    },
}

/// A message of the user and the answer that the conversation goes on with, whatever the model would have said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Turn {
    /// The user's message.
    pub user: String,
    /// The assistant's.
    pub assistant: String,
    /// What it is for.
    #[serde(flatten)]
    pub kind: TurnKind,
}

/// Turns in a row that have two facts, one question without memory and two recall questions between them, so that late turns
/// are made like early ones and their divergences compare.
const BLOCK: usize = 5;
/// The fewest turns a conversation can have.
pub const LEAST_TURNS: usize = BLOCK;

/// Statement, question, answer; `{v}` is the value and `{o}` what tells facts of one form apart.
const FORMS: [(&str, &str, &str, Value); 14] = [
    (
        "My favorite color is {v}.",
        "What is my favorite color?",
        "Your favorite color is {v}.",
        Value::Color,
    ),
    (
        "My favorite fruit is the {v}.",
        "What is my favorite fruit?",
        "Your favorite fruit is the {v}.",
        Value::Fruit,
    ),
    (
        "My favorite animal is the {v}.",
        "What is my favorite animal?",
        "Your favorite animal is the {v}.",
        Value::Animal,
    ),
    (
        "My dog is called {v}.",
        "What is my dog called?",
        "Your dog is called {v}.",
        Value::Name,
    ),
    (
        "My cat is called {v}.",
        "What is my cat called?",
        "Your cat is called {v}.",
        Value::Name,
    ),
    (
        "My sister is called {v}.",
        "What is my sister called?",
        "Your sister is called {v}.",
        Value::Name,
    ),
    (
        "My brother is called {v}.",
        "What is my brother called?",
        "Your brother is called {v}.",
        Value::Name,
    ),
    ("I live in {v}.", "Where do I live?", "You live in {v}.", Value::City),
    ("I work as a {v}.", "What is my job?", "You work as a {v}.", Value::Job),
    (
        "My lucky number is {v}.",
        "What is my lucky number?",
        "Your lucky number is {v}.",
        Value::Number,
    ),
    (
        "My locker code is {v}.",
        "What is my locker code?",
        "Your locker code is {v}.",
        Value::Number,
    ),
    (
        "The code for {o} is {v}.",
        "What is the code for {o}?",
        "The code for {o} is {v}.",
        Value::Number,
    ),
    (
        "My friend {o} lives in {v}.",
        "Where does my friend {o} live?",
        "Your friend {o} lives in {v}.",
        Value::City,
    ),
    (
        "I keep my {o} in the {v}.",
        "Where do I keep my {o}?",
        "You keep your {o} in the {v}.",
        Value::Place,
    ),
];
/// The first form that takes a name or an object and so can be used again.
const OPEN: usize = 11;

#[derive(Debug, Clone, Copy)]
enum Value {
    Color,
    Fruit,
    Animal,
    Name,
    City,
    Job,
    Number,
    Place,
}

const CHAT: [(&str, &str); 14] = [
    ("Hello!", "Hello! How can I help you?"),
    ("How are you?", "I am fine, thank you. How can I help you?"),
    ("Thank you!", "You are welcome!"),
    ("What is the capital of France?", "The capital of France is Paris."),
    ("What is the capital of Norway?", "The capital of Norway is Oslo."),
    ("What color is grass?", "Grass is green."),
    ("How many days are in a week?", "There are seven days in a week."),
    ("What do bees make?", "Bees make honey."),
    ("Where do fish live?", "Fish live in water."),
    ("What is ice made of?", "Ice is frozen water."),
    (
        "What is a token?",
        "A token is a piece of text, often a word or part of a word, that the model reads and writes.",
    ),
    (
        "What is GGUF?",
        "GGUF is the file format of llama.cpp. One file holds the weights, the tokenizer and the metadata of a model.",
    ),
    (
        "What is perplexity?",
        "Perplexity measures how well a model predicts text. Lower is better.",
    ),
    ("Which day comes after Monday?", "Tuesday comes after Monday."),
];

#[derive(Debug)]
struct Stated {
    question: String,
    answer: String,
    value: String,
    turn: usize,
}

/// Writes conversation number `number` of those that follow from `seed`. Each recall question asks for a fact stated before
/// it and stands for the only fact with that question; from turn 31 on every second one asks for a fact of the first 15 turns.
///
/// # Errors
/// [`Error::Invalid`] for fewer than [`LEAST_TURNS`] turns.
pub fn script(turns: usize, seed: u64, number: usize) -> Result<Vec<Turn>> {
    if turns < LEAST_TURNS {
        return Err(Error::Invalid(format!(
            "a conversation of {turns} turns has no room for facts and questions; use at least {LEAST_TURNS}"
        )));
    }
    let mut rng = Rng::new(Rng::new(seed).bits() ^ number as u64);
    let acknowledge = pick(&mut rng, &["OK, I will remember that.", "Got it.", "Noted."]);
    let (mut stated, mut script): (Vec<Stated>, Vec<Turn>) = (Vec::new(), Vec::new());
    let mut late_questions = 0;
    while script.len() < turns {
        // 0: a fact, 1: chat, 2: a recall question; the first block begins with its facts
        let mut block = [0, 0, 1, 2, 2];
        let fixed = if script.is_empty() { 2 } else { 0 };
        for i in (fixed + 1..BLOCK).rev() {
            block.swap(i, fixed + rng.below(i + 1 - fixed));
        }
        for part in block.into_iter().take(turns - script.len()) {
            let turn = script.len() + 1;
            script.push(match part {
                0 => {
                    let (statement, fact) = state(&mut rng, &stated, turn);
                    stated.push(fact);
                    Turn {
                        user: statement,
                        assistant: acknowledge.into(),
                        kind: TurnKind::Fact,
                    }
                }
                1 => {
                    let (user, assistant) = CHAT[rng.below(CHAT.len())];
                    Turn {
                        user: user.into(),
                        assistant: assistant.into(),
                        kind: TurnKind::Chat,
                    }
                }
                _ => {
                    late_questions += usize::from(turn > super::DRIFT_TURN);
                    let far = turn > super::DRIFT_TURN && late_questions % 2 == 1;
                    let among = stated
                        .iter()
                        .take_while(|fact| !far || fact.turn <= super::DRIFT_TURN / 2)
                        .count();
                    let fact = &stated[rng.below(among)];
                    Turn {
                        user: fact.question.clone(),
                        assistant: fact.answer.clone(),
                        kind: TurnKind::Recall {
                            expected: fact.value.clone(),
                            stated: fact.turn,
                        },
                    }
                }
            });
        }
    }
    Ok(script)
}

/// A fact whose question no other fact has.
fn state(rng: &mut Rng, stated: &[Stated], turn: usize) -> (String, Stated) {
    loop {
        // later on the closed forms are used up, and drawing them again would take ever longer
        let first = if stated.len() > 2 * OPEN / 3 { OPEN } else { 0 };
        let (statement, question, answer, value) = FORMS[first + rng.below(FORMS.len() - first)];
        let value = match value {
            Value::Color => pick(rng, &COLORS).to_owned(),
            Value::Fruit => pick(rng, &FRUITS).to_owned(),
            Value::Animal => pick(rng, &ANIMALS).to_owned(),
            Value::Name => first_name(rng).to_owned(),
            Value::City => pick(rng, &CITIES).to_owned(),
            Value::Job => pick(rng, &JOBS).to_owned(),
            Value::Place => pick(rng, &PLACES).to_owned(),
            Value::Number => number(rng, 4),
        };
        let other = if question.contains("my {o}") {
            pick(rng, &OBJECTS).to_owned()
        } else {
            first_name(rng).to_owned()
        };
        // with a number, names do not run out however long the conversation is
        let other = if stated.len() > 40 {
            format!("{other} {}", stated.len())
        } else {
            other
        };
        let fill = |text: &str| text.replace("{v}", &value).replace("{o}", &other);
        let question = fill(question);
        if stated.iter().all(|fact| fact.question != question) {
            let answer = fill(answer);
            let statement = fill(statement);
            return (
                statement,
                Stated {
                    question,
                    answer,
                    value,
                    turn,
                },
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recall_question_has_its_fact_before_it() {
        for number in 0..50 {
            let script = script(50, 1, number).unwrap();
            assert_eq!(script.len(), 50);
            for (i, turn) in script.iter().enumerate() {
                let TurnKind::Recall { expected, stated } = &turn.kind else {
                    continue;
                };
                let fact = &script[stated - 1];
                assert!(*stated <= i && fact.kind == TurnKind::Fact, "turn {}: {turn:?}", i + 1);
                assert!(
                    fact.user.contains(expected) && turn.assistant.contains(expected),
                    "{fact:?} {turn:?}"
                );
                assert!(
                    !turn.user.contains(expected),
                    "the question gives its answer away: {turn:?}"
                );
            }
        }
    }

    #[test]
    fn questions_after_turn_30_exist_and_half_of_them_reach_far_back() {
        for number in 0..20 {
            let late: Vec<usize> = script(50, 7, number).unwrap()[super::super::DRIFT_TURN..]
                .iter()
                .filter_map(|turn| match turn.kind {
                    TurnKind::Recall { stated, .. } => Some(stated),
                    _ => None,
                })
                .collect();
            assert_eq!(late.len(), 8);
            assert!(late.iter().filter(|stated| **stated <= 15).count() >= 4, "{late:?}");
        }
    }

    #[test]
    fn scripts_follow_from_seed_and_number() {
        let write = |seed, number| script(50, seed, number).unwrap();
        assert_eq!(write(1, 0), write(1, 0));
        assert_ne!(write(1, 0), write(1, 1));
        assert_ne!(write(1, 0), write(2, 0));
    }

    #[test]
    fn long_conversations_end_and_short_ones_are_refused() {
        assert_eq!(script(1000, 1, 0).unwrap().len(), 1000);
        assert_eq!(script(7, 1, 0).unwrap().len(), 7);
        assert!(script(4, 1, 0).unwrap_err().to_string().contains('4'));
    }
}

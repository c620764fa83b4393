//! Long texts that need no file: the same kind, size and seed give the same text on every machine.

use crate::Result;
use crate::verify::rng::Rng;
use serde::{Deserialize, Serialize};

/// A text to be generated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generated {
    /// What it is about.
    pub kind: Kind,
    /// Its size in the model's tokens, insertions included.
    pub tokens: usize,
    /// Equal seeds give equal texts.
    pub seed: u64,
    /// The shortest that still makes sense, for models with a small context.
    #[serde(default = "default_min_tokens")]
    pub min_tokens: usize,
    /// Sentences at fixed places: what the question is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub insert: Vec<Insertion>,
}

/// What a generated text is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Everyday sentences that have nothing to do with each other.
    Filler,
    /// The journal of a building project, day after day.
    Journal,
}

/// A sentence of a generated text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Insertion {
    /// Where: 0 is the beginning, 1 the end.
    pub at: f64,
    /// The sentence.
    pub text: String,
}

fn default_min_tokens() -> usize {
    256
}

impl Generated {
    pub(super) fn validate(&self) -> Result<(), String> {
        if self.tokens < self.min_tokens {
            return Err(format!(
                "`generated` has {} tokens, less than its `min_tokens` {}",
                self.tokens, self.min_tokens
            ));
        }
        match self
            .insert
            .iter()
            .find(|insertion| !(0.0..=1.0).contains(&insertion.at))
        {
            Some(bad) => Err(format!("`insert` at {}: places go from 0 to 1", bad.at)),
            None => Ok(()),
        }
    }

    /// The text in about `tokens` tokens by `count`: sentences are added until it is full, so it is at most a sentence short.
    /// The insertions are there whatever the size.
    ///
    /// # Errors
    /// Those of `count`.
    pub fn text(&self, tokens: usize, count: &dyn Fn(&str) -> Result<usize>) -> Result<String> {
        let blank = match self.kind {
            Kind::Filler => " ",
            Kind::Journal => "\n",
        };
        // with the blank before it, as it will stand: a blank is often part of a word's token
        let size = |sentence: &str| count(&format!("{blank}{sentence}"));
        let mut rng = Rng::new(self.seed);
        let mut inserted = 0;
        for insertion in &self.insert {
            inserted += size(&insertion.text)?;
        }
        let room = tokens.saturating_sub(inserted);
        let mut sentences = Vec::new();
        let mut used = 0;
        loop {
            let sentence = match self.kind {
                Kind::Filler => filler(&mut rng),
                Kind::Journal => journal(&mut rng, sentences.len()),
            };
            let size = size(&sentence)?;
            if used + size > room {
                break;
            }
            used += size;
            sentences.push(sentence);
        }
        let n = sentences.len();
        let mut insertions: Vec<&Insertion> = self.insert.iter().collect();
        insertions.sort_by(|a, b| a.at.total_cmp(&b.at));
        for insertion in insertions.into_iter().rev() {
            let at = (insertion.at * n as f64).round() as usize;
            sentences.insert(at.min(n), insertion.text.clone());
        }
        Ok(sentences.join(blank))
    }
}

const PEOPLE: [&str; 16] = [
    "The baker",
    "A gardener",
    "The old clerk",
    "My neighbour",
    "The ferryman",
    "A young teacher",
    "The watchmaker",
    "Her cousin",
    "The postman",
    "A tailor",
    "The cook",
    "The night guard",
    "A retired sailor",
    "The librarian",
    "His aunt",
    "The beekeeper",
];
const DEEDS: [&str; 14] = [
    "swept the yard",
    "repaired a wooden chair",
    "counted the empty jars",
    "read yesterday's paper",
    "carried two baskets upstairs",
    "painted the back door",
    "boiled water for tea",
    "watered the tomatoes",
    "sorted buttons by size",
    "waited for the late bus",
    "fed the ducks",
    "hung the washing",
    "folded a blue map",
    "sharpened the kitchen knives",
];
const PLACES: [&str; 12] = [
    "near the mill",
    "behind the school",
    "on the long bridge",
    "in the cellar",
    "by the canal",
    "under the lime tree",
    "at the corner shop",
    "in the attic",
    "beside the station",
    "at the market",
    "on the hill",
    "next to the well",
];
const TIMES: [&str; 10] = [
    "before breakfast",
    "while it rained",
    "after the bells rang",
    "at noon",
    "late in the evening",
    "on a windy day",
    "for most of the morning",
    "as the fog lifted",
    "during the harvest",
    "once the shops had closed",
];
const WEATHER: [&str; 8] = [
    "The sky stayed grey for hours.",
    "A light breeze came from the west.",
    "Nobody expected snow.",
    "The puddles dried slowly.",
    "It was warmer than the day before.",
    "Clouds gathered over the roofs.",
    "The first frost was late.",
    "A rainbow stood over the fields.",
];

fn pick<'a>(rng: &mut Rng, words: &[&'a str]) -> &'a str {
    words[rng.below(words.len())]
}

fn filler(rng: &mut Rng) -> String {
    match rng.below(5) {
        0 => pick(rng, &WEATHER).to_owned(),
        1 => format!("{} {}.", pick(rng, &PEOPLE), pick(rng, &DEEDS)),
        2 => format!("{} {} {}.", pick(rng, &PEOPLE), pick(rng, &DEEDS), pick(rng, &PLACES)),
        3 => format!("{} {} {}.", pick(rng, &PEOPLE), pick(rng, &DEEDS), pick(rng, &TIMES)),
        _ => {
            let (who, deed) = (pick(rng, &PEOPLE), pick(rng, &DEEDS));
            format!("{who} {deed} {} {}.", pick(rng, &PLACES), pick(rng, &TIMES))
        }
    }
}

const CREWS: [&str; 8] = [
    "The survey crew",
    "The concrete crew",
    "The steel crew",
    "The drainage team",
    "The crane operators",
    "The electricians",
    "The site office",
    "The diving team",
];
const WORK: [&str; 12] = [
    "checked the formwork of the east pier",
    "poured a test block",
    "stored a delivery of bolts",
    "cleaned the pump house",
    "measured the settlement of the ramp",
    "replaced a worn cable",
    "welded the handrail brackets",
    "moved the temporary fence",
    "calibrated the load cells",
    "photographed the bearings",
    "patched the access road",
    "inspected the scaffolding",
];
const REMARKS: [&str; 10] = [
    "No accident was reported.",
    "Two visitors from the town council came by.",
    "Work stopped at four because of wind.",
    "The canteen served soup.",
    "The tide was higher than forecast.",
    "A spare generator arrived.",
    "Noise stayed below the limit.",
    "The daily briefing was short.",
    "One van had a flat tyre.",
    "The weather station needs a new battery.",
];

/// Entry `n` of the journal.
fn journal(rng: &mut Rng, n: usize) -> String {
    let crew = pick(rng, &CREWS);
    let first = format!("Day {}: {crew} {}", n + 1, pick(rng, &WORK));
    let amount = match rng.below(3) {
        0 => format!(" and used {} hours for it", 2 + rng.below(7)),
        1 => format!(" with {} people", 2 + rng.below(9)),
        _ => String::new(),
    };
    format!("{first}{amount}. {}", pick(rng, &REMARKS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Result<usize> {
        Ok(text.split_whitespace().count())
    }

    fn generated(kind: Kind, seed: u64) -> Generated {
        let at = |at, text: &str| Insertion { at, text: text.into() };
        Generated {
            kind,
            tokens: 500,
            seed,
            min_tokens: 10,
            insert: vec![
                at(1.0, "The end fact."),
                at(0.0, "The start fact."),
                at(0.5, "The middle fact."),
            ],
        }
    }

    #[test]
    fn equal_seeds_give_equal_texts() {
        for kind in [Kind::Filler, Kind::Journal] {
            let text = |seed| generated(kind, seed).text(500, &words).unwrap();
            assert_eq!(text(7), text(7));
            assert_ne!(text(7), text(8));
        }
    }

    #[test]
    fn the_first_sentences_are_the_same_on_every_machine() {
        let plain = Generated {
            insert: Vec::new(),
            ..generated(Kind::Filler, 7)
        };
        assert_eq!(
            plain.text(20, &words).unwrap(),
            "The baker folded a blue map. Her cousin read yesterday's paper under the lime tree."
        );
    }

    #[test]
    fn a_text_is_as_long_as_asked_and_shorter_ones_begin_alike() {
        let text = Generated {
            insert: Vec::new(),
            ..generated(Kind::Journal, 3)
        };
        let (long, short) = (text.text(900, &words).unwrap(), text.text(300, &words).unwrap());
        assert!(long.starts_with(&short));
        for (text, tokens) in [(&long, 900), (&short, 300)] {
            let used = words(text).unwrap();
            assert!(used <= tokens && used > tokens - 40, "{used} of {tokens}");
        }
    }

    #[test]
    fn insertions_stand_where_they_were_put_whatever_the_size() {
        for tokens in [0, 60, 500] {
            let text = generated(Kind::Filler, 1).text(tokens, &words).unwrap();
            assert!(
                text.starts_with("The start fact.") && text.ends_with("The end fact."),
                "{text}"
            );
            let middle = text.find("The middle fact.").unwrap() as f64 / text.len() as f64;
            assert!(tokens == 0 || (0.3..0.7).contains(&middle), "{tokens}: {middle}");
        }
    }

    #[test]
    fn places_outside_the_text_are_refused() {
        let mut wrong = generated(Kind::Filler, 1);
        wrong.insert[0].at = 1.5;
        assert!(wrong.validate().unwrap_err().contains("1.5"));
        wrong.insert.clear();
        wrong.min_tokens = 501;
        assert!(wrong.validate().unwrap_err().contains("501"));
    }
}

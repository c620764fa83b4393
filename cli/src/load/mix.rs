//! The classes of requests, and how often each comes.

use serde::Serialize;
use std::str::FromStr;

/// Words of a prompt, at most: what is to be measured is a server, not how it takes a library.
const MOST_WORDS: u32 = 200_000;
/// Tokens of an answer, at most.
const MOST_TOKENS: u32 = 100_000;
/// Classes, at most: each has its own numbers in the report.
const MOST_CLASSES: usize = 8;

/// Requests of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Class {
    /// Words of the prompt; a server counts one to two tokens for each.
    pub words: u32,
    /// Tokens of the answer at most.
    pub answer: u32,
    /// How often it comes, against the other classes.
    pub weight: u32,
}

/// What requests are made of, written `WORDSxTOKENS[:WEIGHT],..`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mix(Vec<Class>);

impl Mix {
    /// Its classes, in the order they were written in.
    pub fn classes(&self) -> &[Class] {
        &self.0
    }

    /// The class that a number from 0 to 1 falls into.
    pub(super) fn at(&self, share: f64) -> usize {
        let total: f64 = self.0.iter().map(|class| f64::from(class.weight)).sum();
        let mut left = share * total;
        for (number, class) in self.0.iter().enumerate() {
            left -= f64::from(class.weight);
            if left < 0.0 {
                return number;
            }
        }
        self.0.len() - 1
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut classes: Vec<Class> = Vec::new();
        for part in text.split(',').map(str::trim) {
            let class = class(part).ok_or_else(|| {
                format!(
                    "`{part}` is no class of requests: WORDSxTOKENS or WORDSxTOKENS:WEIGHT, with 1 to {MOST_WORDS} words, 1 to \
                     {MOST_TOKENS} tokens and a weight of 1 to 1000; two classes: 24x32:3,400x128:1"
                )
            })?;
            if classes
                .iter()
                .any(|known| (known.words, known.answer) == (class.words, class.answer))
            {
                return Err(format!("`{part}` comes twice; give it a weight instead"));
            }
            classes.push(class);
        }
        if classes.len() > MOST_CLASSES {
            return Err(format!(
                "{} classes are too many, {MOST_CLASSES} are possible",
                classes.len()
            ));
        }
        Ok(Self(classes))
    }
}

fn class(text: &str) -> Option<Class> {
    let (sizes, weight) = text.split_once(':').unwrap_or((text, "1"));
    let (words, answer) = sizes.split_once('x')?;
    let number = |text: &str, most: u32| text.parse().ok().filter(|n| (1..=most).contains(n));
    Some(Class {
        words: number(words, MOST_WORDS)?,
        answer: number(answer, MOST_TOKENS)?,
        weight: number(weight, 1000)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_come_as_often_as_their_weights_say() {
        let mix: Mix = "24x32:3, 400x128".parse().unwrap();
        let of = |words, answer, weight| Class { words, answer, weight };
        assert_eq!(mix.classes(), [of(24, 32, 3), of(400, 128, 1)]);
        let at = [0.0, 0.7499, 0.75, 0.9999].map(|share| mix.at(share));
        assert_eq!(at, [0, 0, 1, 1]);
    }

    #[test]
    fn what_is_no_class_is_named() {
        for wrong in [
            "", "24", "0x1", "1x0", "1x1:0", "-1x5", "1x1:1001", "999999x1", "axb", "8x8,,8x9",
        ] {
            assert!(wrong.parse::<Mix>().unwrap_err().contains("WORDSxTOKENS"), "{wrong}");
        }
        assert!("8x8,8x8:2".parse::<Mix>().unwrap_err().contains("twice"));
        let many = (1..=9).map(|n| format!("{n}x1")).collect::<Vec<_>>().join(",");
        assert!(many.parse::<Mix>().unwrap_err().contains("too many"));
    }
}

//! Whether load changes answers: the same requests again, one after the other, when nobody else asks.

use super::client::Client;
use super::drive::unless_cancelled;
use super::outcome::Ending;
use super::plan::Request;
use llama_turboquant::CancelToken;
use serde::Serialize;

/// Differences that are shown.
const SHOWN: usize = 5;
/// Characters of them.
const CONTEXT: usize = 60;

/// What the comparison gave.
#[derive(Debug, Clone, PartialEq, Serialize, Default)]
pub struct Verified {
    /// Answers that were compared.
    pub compared: usize,
    /// Of these, alike to the last byte.
    pub identical: usize,
    /// And not.
    pub differing: usize,
    /// Requests that were not answered alone.
    pub unanswered: usize,
    /// The first of those that differ.
    pub differences: Vec<Difference>,
}

/// Two answers to the same request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The beginning of the prompt, which tells which request it was.
    pub request: String,
    /// The character where they part, from 0.
    pub at: usize,
    /// What follows there under load.
    pub under_load: String,
    /// And alone.
    pub alone: String,
}

/// Where two texts part; `None`: they are the same.
pub fn difference(request: &str, under_load: &str, alone: &str) -> Option<Difference> {
    if under_load == alone {
        return None;
    }
    let at = under_load
        .chars()
        .zip(alone.chars())
        .take_while(|(a, b)| a == b)
        .count();
    let from = |text: &str| text.chars().skip(at).take(CONTEXT).collect();
    Some(Difference {
        request: request.chars().take(CONTEXT).collect(),
        at,
        under_load: from(under_load),
        alone: from(alone),
    })
}

/// Asks the sample again. `progress` hears how many are done.
pub async fn verify(
    client: &Client,
    sample: Vec<(Request, String)>,
    cancel: &CancelToken,
    mut progress: impl FnMut(usize),
) -> Verified {
    let mut verified = Verified::default();
    for (done, (request, under_load)) in sample.into_iter().enumerate() {
        let Some(alone) = unless_cancelled(cancel, client.ask(&request.staying(), None, true)).await else {
            break;
        };
        progress(done + 1);
        if alone.ending != Ending::Answered {
            verified.unanswered += 1;
            continue;
        }
        verified.compared += 1;
        match difference(&request.prompt, &under_load, &alone.text) {
            None => verified.identical += 1,
            Some(difference) => {
                verified.differing += 1;
                if verified.differences.len() < SHOWN {
                    verified.differences.push(difference);
                }
            }
        }
    }
    verified
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_found_by_characters() {
        assert_eq!(difference("q", "same", "same"), None);
        let found = difference("q", "größer als", "größer und").unwrap();
        assert_eq!(
            (found.at, found.under_load.as_str(), found.alone.as_str()),
            (7, "als", "und")
        );
        let shorter = difference("q", "ab", "abc").unwrap();
        assert_eq!(
            (shorter.at, shorter.under_load.as_str(), shorter.alone.as_str()),
            (2, "", "c")
        );
    }
}

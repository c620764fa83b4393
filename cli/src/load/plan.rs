//! Which requests come, from one seed: the same plan for every server that is compared.

use super::mix::Mix;
use llama_turboquant::verify::rng::Rng;
use std::time::Duration;

/// Words of the prompts: common, short, and in every vocabulary.
const WORDS: [&str; 64] = [
    "the", "river", "runs", "past", "an", "old", "stone", "mill", "where", "two", "men", "load", "grain", "into", "a",
    "cart", "and", "talk", "about", "rain", "that", "fell", "all", "week", "on", "their", "fields", "near", "town",
    "while", "children", "count", "birds", "over", "roofs", "of", "houses", "made", "from", "wood", "with", "small",
    "windows", "open", "to", "south", "so", "light", "comes", "in", "early", "each", "day", "before", "market",
    "people", "bring", "bread", "milk", "fish", "salt", "for", "others", "who",
];

/// How requests are made.
#[derive(Debug, Clone)]
pub struct Plan {
    /// From which everything follows.
    pub seed: u64,
    /// Sizes of the requests.
    pub mix: Mix,
    /// The share of requests whose client leaves before the answer ends, 0 to 1.
    pub leaving: f64,
}

/// When a client leaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Leave {
    /// After so much of the time that the first token of such a request has usually taken, 0 to 1, if none has come by then.
    Waiting(f64),
    /// As soon as a part of the prompt is computed, where the server tells; else with the first token.
    Prefill,
    /// After so many pieces of the answer.
    Decode(u32),
}

/// One request.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The number of its class in the mix.
    pub class: usize,
    /// What is asked.
    pub prompt: String,
    /// Tokens of the answer at most.
    pub max_tokens: u32,
    /// Seed of its sampler.
    pub seed: u32,
    /// When its client leaves; `None`: it waits for the end.
    pub leave: Option<Leave>,
}

impl Request {
    /// The same, of a client that waits for the end.
    pub fn staying(&self) -> Self {
        Self {
            leave: None,
            ..self.clone()
        }
    }
}

impl Plan {
    /// Request `number` of client `client`. Every prompt is its own from the first words on, so that none is answered from what
    /// was computed for another.
    pub fn request(&self, client: usize, number: u64) -> Request {
        let mut rng = self.rng(1 + client as u64, number);
        let class = self.mix.at(rng.uniform());
        let size = self.mix.classes()[class];
        let leave = (rng.uniform() < self.leaving).then(|| match rng.below(3) {
            0 => Leave::Waiting(rng.uniform()),
            1 => Leave::Prefill,
            _ => Leave::Decode(1 + rng.below(size.answer as usize) as u32),
        });
        let mut prompt = format!("{client}-{number}:");
        for _ in 0..size.words {
            prompt.push(' ');
            prompt.push_str(WORDS[rng.below(WORDS.len())]);
        }
        Request {
            class,
            prompt,
            max_tokens: size.answer,
            // samplers take 32 bits, and some servers none above 31
            seed: (rng.bits() >> 33) as u32,
            leave,
        }
    }

    /// When requests arrive, from the start: a Poisson process of `rate` requests per second, as of people who know nothing of
    /// each other. Times between arrivals are exponential.
    pub fn arrivals(&self, rate: f64) -> impl Iterator<Item = Duration> {
        let mut rng = self.rng(0, 0);
        let mut at = 0.0;
        std::iter::repeat_with(move || {
            at += -(1.0 - rng.uniform()).ln() / rate;
            Duration::from_secs_f64(at)
        })
    }

    /// A generator of its own for each pair: what one client asks does not depend on how often another one came.
    fn rng(&self, a: u64, b: u64) -> Rng {
        let mixed = [self.seed, a, b].into_iter().fold(0, |state: u64, value| {
            // SplitMix64's finalizer (Steele, Lea, Flood 2014)
            let mut z = state.wrapping_add(value).wrapping_add(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        });
        Rng::new(mixed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(seed: u64, leaving: f64) -> Plan {
        Plan {
            seed,
            mix: "8x16:3,100x32:1".parse().unwrap(),
            leaving,
        }
    }

    #[test]
    fn a_seed_makes_the_same_plan_and_another_seed_another() {
        let all = |plan: &Plan| {
            (0..4)
                .flat_map(|c| (0..50).map(move |n| (c, n)))
                .map(|(c, n)| plan.request(c, n))
                .collect::<Vec<_>>()
        };
        assert_eq!(all(&plan(7, 0.3)), all(&plan(7, 0.3)));
        assert_ne!(all(&plan(7, 0.3)), all(&plan(8, 0.3)));
        let times = |seed| plan(seed, 0.0).arrivals(5.0).take(100).collect::<Vec<_>>();
        assert_eq!(times(7), times(7));
        assert_ne!(times(7), times(8));
    }

    #[test]
    fn prompts_differ_from_their_beginning() {
        let plan = plan(1, 0.0);
        let firsts: std::collections::BTreeSet<String> = (0..20)
            .flat_map(|c| (0..20).map(move |n| (c, n)))
            .map(|(c, n)| plan.request(c, n).prompt.split(' ').next().unwrap().to_owned())
            .collect();
        assert_eq!(firsts.len(), 400);
    }

    #[test]
    fn shares_and_sizes_are_what_was_asked_for() {
        let plan = plan(3, 0.33);
        let all: Vec<_> = (0..4000).map(|n| plan.request(0, n)).collect();
        let share = |of: &dyn Fn(&Request) -> bool| all.iter().filter(|r| of(r)).count() as f64 / 4000.0;
        assert!((share(&|r| r.class == 0) - 0.75).abs() < 0.03);
        for stage in 0..3 {
            let at = share(&|r| {
                matches!(
                    (stage, r.leave),
                    (0, Some(Leave::Waiting(_))) | (1, Some(Leave::Prefill)) | (2, Some(Leave::Decode(_)))
                )
            });
            assert!((at - 0.11).abs() < 0.03, "stage {stage}: {at}");
        }
        for request in &all {
            let size = plan.mix.classes()[request.class];
            assert_eq!(request.prompt.split(' ').count(), 1 + size.words as usize);
            assert_eq!(request.max_tokens, size.answer);
            if let Some(Leave::Decode(n)) = request.leave {
                assert!((1..=size.answer).contains(&n));
            }
        }
    }

    #[test]
    fn arrivals_are_a_poisson_process_of_the_rate() {
        let times: Vec<f64> = plan(5, 0.0)
            .arrivals(20.0)
            .take(20_000)
            .map(|t| t.as_secs_f64())
            .collect();
        let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean * 20.0 - 1.0).abs() < 0.03, "{mean}");
        // an exponential distribution's deviation is its mean
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.05, "{variance}");
    }
}

//! Counting what became of all requests.

use super::fairness::{self, Turn};
use super::mix::{Class, Mix};
use super::outcome::{Ending, Exchange, Problem, Stage};
use super::plan::Request;
use super::report::{ClassReport, FairnessReport, Latency, Left, ProblemCount, Refusals, Report, Requests, Throughput};
use super::summary::Durations;
use llama_turboquant::verify::rng::Rng;
use std::collections::BTreeMap;
use std::time::Duration;

/// When a request was to be sent, and was, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct When {
    /// When it was due: latencies count from here, so that a request that had to wait for a slow server before it could even
    /// be sent is not counted as a quick one (coordinated omission).
    pub due: Duration,
    /// When it was sent, the last time.
    pub sent: Duration,
}

/// Counts and durations so far.
#[derive(Debug)]
pub struct Tally {
    classes: Vec<OfClass>,
    problems: BTreeMap<(bool, Option<u16>, String), (u64, String)>,
    left: Left,
    with_retry_after: u64,
    retries: u64,
    cut: u64,
    turns: Vec<Turn>,
    /// Tokens that each client was sent.
    clients: Vec<u64>,
    sample: Sample,
    end: Duration,
}

#[derive(Debug)]
struct OfClass {
    class: Class,
    sent: u64,
    answered: u64,
    refused: u64,
    failed: u64,
    left: u64,
    ttft: Durations,
    gap: Durations,
    total: Durations,
    prompt_tokens: u64,
    prompts_counted: u64,
    answer_tokens: u64,
}

/// Answers that are kept to be compared: each of all that came has the same chance (reservoir sampling, Vitter 1985, R).
#[derive(Debug)]
struct Sample {
    size: usize,
    seen: usize,
    kept: Vec<(Request, String)>,
    rng: Rng,
}

impl Sample {
    fn offer(&mut self, request: &Request, text: &str) {
        self.seen += 1;
        if self.kept.len() < self.size {
            self.kept.push((request.clone(), text.to_owned()));
        } else {
            let at = self.rng.below(self.seen);
            if let Some(place) = self.kept.get_mut(at) {
                *place = (request.clone(), text.to_owned());
            }
        }
    }
}

impl Tally {
    /// Of no request; keeps `sample` answers.
    pub fn new(mix: &Mix, clients: usize, sample: usize, seed: u64) -> Self {
        let of = |class: &Class| OfClass {
            class: *class,
            sent: 0,
            answered: 0,
            refused: 0,
            failed: 0,
            left: 0,
            ttft: Durations::default(),
            gap: Durations::default(),
            total: Durations::default(),
            prompt_tokens: 0,
            prompts_counted: 0,
            answer_tokens: 0,
        };
        Self {
            classes: mix.classes().iter().map(of).collect(),
            problems: BTreeMap::new(),
            left: Left::default(),
            with_retry_after: 0,
            retries: 0,
            cut: 0,
            turns: Vec::new(),
            clients: vec![0; clients],
            sample: Sample {
                size: sample,
                seen: 0,
                kept: Vec::new(),
                rng: Rng::new(seed),
            },
            end: Duration::ZERO,
        }
    }

    /// What the first token of a class has usually taken; `None`: none has come.
    pub fn usual(&self, class: usize) -> Option<Duration> {
        self.classes[class].ttft.median()
    }

    /// Requests that have ended.
    pub fn ended(&self) -> u64 {
        self.classes.iter().map(|class| class.sent).sum()
    }

    /// Answered, refused, failed, for the line of progress.
    pub fn so_far(&self) -> (u64, u64, u64) {
        let sum = |of: fn(&OfClass) -> u64| self.classes.iter().map(of).sum();
        (
            sum(|class| class.answered),
            sum(|class| class.refused),
            sum(|class| class.failed),
        )
    }

    /// A refused request is sent again.
    pub fn retried(&mut self, problem: &Problem) {
        self.with_retry_after += u64::from(problem.retry_after.is_some());
        self.retries += 1;
    }

    /// The answers that were kept.
    pub fn take_sample(&mut self) -> Vec<(Request, String)> {
        std::mem::take(&mut self.sample.kept)
    }

    /// A request of `client` has ended.
    pub fn add(&mut self, client: usize, request: &Request, when: When, exchange: &Exchange) {
        if exchange.ending == Ending::Cut {
            self.cut += 1;
            return;
        }
        let since_due = |at: Duration| (when.sent + at).saturating_sub(when.due);
        let class = &mut self.classes[request.class];
        self.end = self.end.max(when.sent + exchange.end);
        class.sent += 1;
        let mut tokens = exchange.pieces.len() as u64;
        if let Some(&first) = exchange.pieces.first() {
            class.ttft.add(since_due(first));
        }
        for pair in exchange.pieces.windows(2) {
            class.gap.add(pair[1] - pair[0]);
        }
        match &exchange.ending {
            Ending::Answered => {
                class.answered += 1;
                class.total.add(since_due(exchange.end));
                tokens = exchange.told.n_answer.unwrap_or(tokens);
                if let Some(n) = exchange.told.n_prompt {
                    class.prompt_tokens += n;
                    class.prompts_counted += 1;
                }
                if let Some(&first) = exchange.pieces.first() {
                    let begun = first.saturating_sub(exchange.told.prefill.unwrap_or_default());
                    self.turns.push(Turn {
                        client,
                        class: request.class,
                        sent: when.sent,
                        begun: when.sent + begun,
                    });
                }
                self.sample.offer(request, &exchange.text);
            }
            Ending::Refused(problem) => {
                class.refused += 1;
                self.with_retry_after += u64::from(problem.retry_after.is_some());
                self.problem(true, problem);
            }
            Ending::Failed(problem) => {
                class.failed += 1;
                self.problem(false, problem);
            }
            Ending::Left(stage) => {
                class.left += 1;
                *match stage {
                    Stage::Waiting => &mut self.left.waiting,
                    Stage::Prefill => &mut self.left.prefill,
                    Stage::Decode => &mut self.left.decode,
                } += 1;
            }
            Ending::Cut => {}
        }
        self.classes[request.class].answer_tokens += tokens;
        if let Some(sum) = self.clients.get_mut(client) {
            *sum += tokens;
        }
    }

    fn problem(&mut self, refusal: bool, problem: &Problem) {
        let entry = self.problems.entry((refusal, problem.status, problem.code.clone()));
        entry.or_insert_with(|| (0, problem.message.clone())).0 += 1;
    }

    /// The numbers. `open`: clients are no persons who come again, and are not compared.
    pub fn report(&self, open: bool) -> Report {
        let seconds = self.end.as_secs_f64();
        let rate = |n: u64| if seconds > 0.0 { n as f64 / seconds } else { 0.0 };
        let counts = |class: &OfClass| Requests {
            sent: class.sent,
            answered: class.answered,
            refused: class.refused,
            failed: class.failed,
            left: class.left,
            cut: 0,
        };
        let latency = |classes: &[&OfClass]| {
            let all = |of: fn(&OfClass) -> &Durations| {
                let mut sum = Durations::default();
                classes.iter().for_each(|class| sum.extend(of(class)));
                sum.summary()
            };
            Latency {
                ttft_ms: all(|class| &class.ttft),
                gap_ms: all(|class| &class.gap),
                total_ms: all(|class| &class.total),
            }
        };
        let sum = |of: fn(&OfClass) -> u64| -> u64 { self.classes.iter().map(of).sum() };
        let refused = sum(|class| class.refused);
        let clients: Vec<f64> = self.clients.iter().map(|&tokens| tokens as f64).collect();
        let mut problems: Vec<ProblemCount> = self
            .problems
            .iter()
            .map(|((refusal, status, code), (count, message))| ProblemCount {
                status: *status,
                code: code.clone(),
                count: *count,
                refusal: *refusal,
                message: message.clone(),
            })
            .collect();
        problems.sort_by_key(|problem| std::cmp::Reverse(problem.count));
        Report {
            seconds,
            requests: Requests {
                sent: sum(|class| class.sent) + self.cut,
                answered: sum(|class| class.answered),
                refused,
                failed: sum(|class| class.failed),
                left: sum(|class| class.left),
                cut: self.cut,
            },
            throughput: Throughput {
                requests: rate(sum(|class| class.answered)),
                prompt_tokens: (sum(|class| class.prompts_counted) > 0).then(|| rate(sum(|class| class.prompt_tokens))),
                answer_tokens: rate(sum(|class| class.answer_tokens)),
            },
            latency: latency(&self.classes.iter().collect::<Vec<_>>()),
            classes: self
                .classes
                .iter()
                .enumerate()
                .map(|(number, class)| ClassReport {
                    class: class.class,
                    requests: counts(class),
                    prompt_tokens: (class.prompts_counted > 0)
                        .then(|| class.prompt_tokens as f64 / class.prompts_counted as f64),
                    latency: latency(&[class]),
                    fairness: fairness::of_class(&self.turns, Some(number)).between_clients(!open),
                })
                .collect(),
            problems,
            refusals: Refusals {
                count: refused + self.retries,
                with_retry_after: self.with_retry_after,
                retries: self.retries,
            },
            left: self.left,
            fairness: FairnessReport {
                jain_tokens: fairness::jain(&clients).filter(|_| !open),
                overtaken: fairness::overtaken(&self.turns),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::outcome::Told;
    use crate::load::plan::Plan;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn exchange(ending: Ending, pieces: &[u64], end: u64) -> Exchange {
        Exchange {
            ending,
            pieces: pieces.iter().map(|&at| ms(at)).collect(),
            end: ms(end),
            text: "x".into(),
            told: Told::default(),
        }
    }

    fn plan() -> Plan {
        Plan {
            seed: 1,
            mix: "8x16".parse().unwrap(),
            leaving: 0.0,
        }
    }

    fn tally(sample: usize) -> Tally {
        Tally::new(&plan().mix, 2, sample, 1)
    }

    fn at(due: u64, sent: u64) -> When {
        When {
            due: ms(due),
            sent: ms(sent),
        }
    }

    #[test]
    fn latencies_count_from_when_a_request_was_due() {
        let mut tally = tally(0);
        let request = plan().request(0, 0);
        tally.add(
            0,
            &request,
            at(100, 400),
            &exchange(Ending::Answered, &[50, 60, 80], 90),
        );
        let report = tally.report(true);
        let near = |value: Option<f64>, expected: f64| (value.unwrap() / expected - 1.0).abs() < 2e-3;
        assert!(near(report.latency.ttft_ms.p50, 350.0), "{:?}", report.latency.ttft_ms);
        assert!(near(report.latency.total_ms.p50, 390.0));
        assert!(near(report.latency.gap_ms.max, 20.0), "gaps are between pieces");
        assert_eq!(report.seconds, 0.49);
    }

    #[test]
    fn every_request_is_counted_once_by_how_it_ended() {
        let mut tally = tally(0);
        let request = plan().request(0, 0);
        let busy = |after: Option<u64>| Problem {
            status: Some(429),
            code: "queue_full".into(),
            message: "later".into(),
            retry_after: after.map(Duration::from_secs),
        };
        tally.retried(&busy(Some(1)));
        let broken = Problem {
            code: "connection".into(),
            ..Problem::default()
        };
        for ending in [
            Ending::Answered,
            Ending::Refused(busy(None)),
            Ending::Refused(busy(Some(1))),
            Ending::Failed(broken),
            Ending::Left(Stage::Waiting),
            Ending::Left(Stage::Decode),
            Ending::Cut,
        ] {
            tally.add(0, &request, at(0, 0), &exchange(ending, &[1], 2));
        }
        let report = tally.report(false);
        let expected = Requests {
            sent: 7,
            answered: 1,
            refused: 2,
            failed: 1,
            left: 2,
            cut: 1,
        };
        assert_eq!(report.requests, expected);
        assert_eq!(
            (report.left.waiting, report.left.prefill, report.left.decode),
            (1, 0, 1)
        );
        let refusals = report.refusals;
        assert_eq!((refusals.count, refusals.with_retry_after, refusals.retries), (3, 2, 1));
        let first = &report.problems[0];
        assert_eq!(
            (first.status, first.code.as_str(), first.count, first.refusal),
            (Some(429), "queue_full", 2, true)
        );
    }

    #[test]
    fn tokens_are_those_the_server_counts_and_pieces_where_it_does_not() {
        let mut tally = tally(0);
        let request = plan().request(0, 0);
        let mut told = exchange(Ending::Answered, &[1, 2], 1000);
        told.told.n_answer = Some(10);
        told.told.n_prompt = Some(30);
        tally.add(0, &request, at(0, 0), &told);
        tally.add(
            1,
            &request,
            at(0, 0),
            &exchange(Ending::Left(Stage::Decode), &[1, 2, 3], 4),
        );
        let report = tally.report(false);
        assert_eq!(report.throughput.answer_tokens, 13.0);
        assert_eq!(report.throughput.prompt_tokens, Some(30.0));
        assert_eq!(report.classes[0].prompt_tokens, Some(30.0));
        let jain = report.fairness.jain_tokens.unwrap();
        assert!((jain - 169.0 / (2.0 * 109.0)).abs() < 1e-12, "{jain}");
        assert_eq!(tally.report(true).fairness.jain_tokens, None);
    }

    #[test]
    fn a_sample_has_its_size_and_is_of_all() {
        let mut tally = tally(10);
        for number in 0..200 {
            let request = plan().request(0, number);
            tally.add(0, &request, at(0, 0), &exchange(Ending::Answered, &[1], 2));
        }
        let kept = tally.take_sample();
        assert_eq!(kept.len(), 10);
        let late = kept
            .iter()
            .filter(|(request, _)| (100..200).any(|n| plan().request(0, n) == *request));
        assert!(late.count() > 0);
    }
}

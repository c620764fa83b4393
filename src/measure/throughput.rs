//! How fast a model reads prompts and writes answers over a cache, as llama-bench measures it, several caches interleaved.
//!
//! What is timed is llama-bench's: random tokens, computed in batches (`pp`) or one by one (`tg`), after `d` tokens that are
//! in the cache already; no tokenization, no sampling. The cache is filled to the depth once per context. Each run takes
//! back the positions of the run before, and computes the depth anew only where they cannot be taken back (sliding
//! windows, recurrent states).

mod contexts;

pub use contexts::{Contexts, Facts, Host};

use super::latency::Latency;
use super::stats::{self, Bootstrap, Interval};
use super::{Noise, NoiseMeter};
use crate::kv::{CacheShape, KvCacheConfig};
use crate::{CancelToken, Error, ModelMeta, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Test {
    /// Tokens computed in batches.
    pub n_prompt: u32,
    /// Tokens computed one by one, after the prompt.
    pub n_gen: u32,
    /// Tokens in the cache before the clock starts.
    pub n_depth: u32,
}

impl Test {
    /// Tokens that are timed.
    pub fn n_tokens(&self) -> u32 {
        self.n_prompt.saturating_add(self.n_gen)
    }

    /// Cells a context needs for it.
    pub fn n_ctx(&self) -> u32 {
        self.n_tokens().saturating_add(self.n_depth)
    }
}

/// llama-bench's name: `pp512`, `tg128 @ d4096`, `pp512+tg128`.
impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.n_prompt, self.n_gen) {
            (prompt, 0) => write!(f, "pp{prompt}")?,
            (0, generated) => write!(f, "tg{generated}")?,
            (prompt, generated) => write!(f, "pp{prompt}+tg{generated}")?,
        }
        if self.n_depth > 0 {
            write!(f, " @ d{}", self.n_depth)?;
        }
        Ok(())
    }
}

/// A test over a cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// What is timed.
    pub test: Test,
    /// The cache.
    pub kv: KvCacheConfig,
    /// Tokens submitted at once.
    pub n_batch: u32,
    /// Tokens computed at once.
    pub n_ubatch: u32,
    /// Threads; 0: the physical cores this process may use.
    pub n_threads: u32,
}

impl Workload {
    /// Checks it against a model, without its weights.
    ///
    /// # Errors
    /// Nothing to time, batches of no tokens, more tokens than the model was trained with, a cache the model cannot have.
    pub fn check(&self, meta: &ModelMeta) -> Result<()> {
        let test = self.test;
        if test.n_tokens() == 0 {
            return Err(Error::Invalid("a test needs at least one token to time".into()));
        }
        if self.n_batch == 0 || self.n_ubatch == 0 {
            return Err(Error::Invalid(format!("{test}: batches must have at least 1 token")));
        }
        if test.n_ctx() > meta.n_ctx_train {
            let room = meta.n_ctx_train.saturating_sub(test.n_tokens());
            return Err(Error::Invalid(format!(
                "{test} needs a context of {} tokens, the model has {}; the largest depth for this test is {room}",
                test.n_ctx(),
                meta.n_ctx_train
            )));
        }
        self.kv.resolve(meta).map(drop)
    }

    fn shape(&self) -> CacheShape {
        CacheShape {
            n_ctx: self.test.n_ctx(),
            n_ubatch: self.n_ubatch.min(self.n_batch),
            n_seq_max: 1,
            unified: self.kv.unified,
            swa_full: self.kv.swa_full,
        }
    }
}

/// The times of one run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Run {
    /// The prompt, until its last logits are there.
    pub prompt: Duration,
    /// The prompt and the choice of the most probable first token; `None` without a prompt.
    pub first_token: Option<Duration>,
    /// Each generated token.
    pub tokens: Vec<Duration>,
}

impl Run {
    /// All that llama-bench times: sampling excluded.
    pub fn elapsed(&self) -> Duration {
        self.prompt + self.tokens.iter().sum::<Duration>()
    }
}

/// The runs of one arm.
#[derive(Debug, Clone, PartialEq)]
pub struct Speed {
    /// What was timed.
    pub test: Test,
    /// The runs that were finished, in order.
    pub runs: Vec<Run>,
    /// What the arm took and where it ran.
    pub facts: Facts,
}

impl Speed {
    /// Tokens per second of each run.
    pub fn tokens_per_second(&self) -> Vec<f64> {
        let tokens = f64::from(self.test.n_tokens());
        self.runs
            .iter()
            .map(|run| tokens / run.elapsed().as_secs_f64())
            .collect()
    }

    /// Median milliseconds until the first token is known; `None` without a prompt.
    pub fn first_token_ms(&self) -> Option<f64> {
        let times: Vec<f64> = self
            .runs
            .iter()
            .filter_map(|run| Some(1e3 * run.first_token?.as_secs_f64()))
            .collect();
        (!times.is_empty()).then(|| stats::median(&times))
    }

    /// Latency of the generated tokens of all runs; `None` if there are none.
    pub fn latency(&self) -> Option<Latency> {
        Latency::of(self.runs.iter().flat_map(|run| &run.tokens))
    }

    /// How many times faster than `base`, from runs that were made one after the other.
    pub fn ratio(&self, base: &Speed, bootstrap: &Bootstrap) -> Interval {
        bootstrap.median_ratio(&self.tokens_per_second(), &base.tokens_per_second())
    }
}

/// In which order the runs of several arms are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Run i of every arm before run i + 1 of any. What drifts (temperature, other processes) meets all arms alike. Each
    /// round begins with another arm, because the first one after a pause has an advantage.
    Interleaved,
    /// All runs of an arm before the next is opened: for arms that do not fit the memory together.
    Sequential,
}

/// What makes runs: the engine, or a test's script.
pub trait Executor {
    /// What a run yields.
    type Sample;

    /// Prepares an arm: context, depth, warm-up.
    ///
    /// # Errors
    /// If the arm cannot run here.
    fn open(&mut self, arm: usize) -> Result<()>;

    /// One timed run.
    ///
    /// # Errors
    /// The engine's; [`Error::Cancelled`].
    fn run(&mut self, arm: usize) -> Result<Self::Sample>;

    /// Frees what `open` took.
    fn close(&mut self, arm: usize);
}

/// A finished step of [`execute`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The arm.
    pub arm: usize,
    /// Its runs so far; 0: it was opened.
    pub runs: usize,
}

/// Makes `runs` runs of each of `arms` arms. Returns what was finished, and why not all of it.
pub fn execute<E: Executor>(
    executor: &mut E,
    arms: usize,
    runs: usize,
    order: Order,
    mut on_step: impl FnMut(Step),
) -> (Vec<Vec<E::Sample>>, Result<()>) {
    let mut samples: Vec<Vec<E::Sample>> = (0..arms).map(|_| Vec::with_capacity(runs)).collect();
    let together: Vec<Vec<usize>> = match order {
        Order::Interleaved => vec![(0..arms).collect()],
        Order::Sequential => (0..arms).map(|arm| vec![arm]).collect(),
    };
    for set in together {
        let mut attempt = || -> Result<()> {
            for &arm in &set {
                executor.open(arm)?;
                on_step(Step { arm, runs: 0 });
            }
            for round in 0..runs {
                for turn in 0..set.len() {
                    let arm = set[(round + turn) % set.len()];
                    samples[arm].push(executor.run(arm)?);
                    on_step(Step { arm, runs: round + 1 });
                }
            }
            Ok(())
        };
        let outcome = attempt();
        for &arm in &set {
            executor.close(arm);
        }
        if outcome.is_err() {
            return (samples, outcome);
        }
    }
    (samples, Ok(()))
}

/// How [`throughput`] measures.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ThroughputOptions {
    /// Runs of each arm.
    pub runs: usize,
    /// Compute everything once before the first timed run.
    pub warm_up: bool,
    /// Pause before each arm, to cool off.
    pub delay: Duration,
    /// Stops the measurement.
    pub cancel: Option<CancelToken>,
}

impl Default for ThroughputOptions {
    fn default() -> Self {
        Self {
            runs: 5,
            warm_up: true,
            delay: Duration::ZERO,
            cancel: None,
        }
    }
}

/// What [`throughput`] found.
#[derive(Debug)]
pub struct Throughput {
    /// The arms that were opened, with their number, in order. After a stop, with fewer runs than asked for.
    pub arms: Vec<(usize, Speed)>,
    /// How the arms took turns.
    pub order: Order,
    /// How busy others kept the machine.
    pub noise: Option<Noise>,
    /// Why not everything was measured.
    pub stopped: Option<Error>,
}

/// Measures `workloads` on one model, interleaved if their caches fit the memory together.
pub fn throughput(
    host: &Host,
    workloads: &[Workload],
    options: &ThroughputOptions,
    on_step: impl FnMut(Step),
) -> Throughput {
    let order = if workloads.len() > 1 && !host.fits(workloads) {
        Order::Sequential
    } else {
        Order::Interleaved
    };
    let noise = NoiseMeter::start();
    let mut contexts = Contexts::new(host, workloads, options);
    let (runs, outcome) = execute(&mut contexts, workloads.len(), options.runs, order, on_step);
    let noise = noise.finish();
    let arms = contexts
        .into_facts()
        .into_iter()
        .zip(workloads)
        .zip(runs)
        .enumerate()
        .filter_map(|(arm, ((facts, workload), runs))| {
            let test = workload.test;
            Some((
                arm,
                Speed {
                    test,
                    runs,
                    facts: facts?,
                },
            ))
        })
        .collect();
    Throughput {
        arms,
        order,
        noise,
        stopped: outcome.err(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes down what happens; the run numbered `fail_at` fails.
    #[derive(Default)]
    struct Script {
        events: Vec<String>,
        runs: usize,
        fail_at: Option<usize>,
    }

    impl Executor for Script {
        type Sample = usize;

        fn open(&mut self, arm: usize) -> Result<()> {
            self.events.push(format!("open {arm}"));
            Ok(())
        }

        fn run(&mut self, arm: usize) -> Result<usize> {
            if self.fail_at == Some(self.runs) {
                return Err(Error::Cancelled);
            }
            self.events.push(format!("run {arm}"));
            self.runs += 1;
            Ok(self.runs)
        }

        fn close(&mut self, arm: usize) {
            self.events.push(format!("close {arm}"));
        }
    }

    fn events(arms: usize, runs: usize, order: Order) -> String {
        let mut script = Script::default();
        let (samples, outcome) = execute(&mut script, arms, runs, order, |_| {});
        assert!(outcome.is_ok() && samples.iter().all(|arm| arm.len() == runs));
        script.events.join(", ")
    }

    #[test]
    fn interleaved_arms_take_turns_and_each_round_begins_with_another() {
        assert_eq!(
            events(2, 3, Order::Interleaved),
            "open 0, open 1, run 0, run 1, run 1, run 0, run 0, run 1, close 0, close 1"
        );
    }

    #[test]
    fn sequential_arms_are_never_open_together() {
        assert_eq!(
            events(2, 2, Order::Sequential),
            "open 0, run 0, run 0, close 0, open 1, run 1, run 1, close 1"
        );
    }

    #[test]
    fn what_was_measured_before_a_stop_is_kept_and_everything_is_closed() {
        let mut script = Script {
            fail_at: Some(3),
            ..Default::default()
        };
        let mut steps = Vec::new();
        let (samples, outcome) = execute(&mut script, 2, 2, Order::Interleaved, |step| steps.push(step));
        assert!(matches!(outcome, Err(Error::Cancelled)));
        assert_eq!(samples, [vec![1], vec![2, 3]]);
        assert!(script.events.ends_with(&["close 0".into(), "close 1".into()]));
        assert_eq!(steps.last(), Some(&Step { arm: 1, runs: 2 }));
    }

    #[test]
    fn tests_have_llama_bench_names() {
        let name = |n_prompt, n_gen, n_depth| {
            Test {
                n_prompt,
                n_gen,
                n_depth,
            }
            .to_string()
        };
        assert_eq!(name(512, 0, 0), "pp512");
        assert_eq!(name(0, 128, 4096), "tg128 @ d4096");
        assert_eq!(name(512, 128, 0), "pp512+tg128");
    }

    #[test]
    fn speed_counts_what_llama_bench_counts() {
        let ms = Duration::from_millis;
        let run = |prompt, token| Run {
            prompt: ms(prompt),
            first_token: Some(ms(prompt + 1)),
            tokens: vec![ms(token); 4],
        };
        let speed = |runs| Speed {
            test: Test {
                n_prompt: 16,
                n_gen: 4,
                n_depth: 8,
            },
            runs,
            facts: Facts::default(),
        };
        let slow = speed(vec![run(60, 10), run(160, 10)]);
        assert_eq!(slow.tokens_per_second(), [200.0, 100.0]);
        assert_eq!(slow.first_token_ms(), Some(111.0));
        assert!((slow.latency().unwrap().p50_ms - 10.0).abs() < 1e-9);
        let fast = speed(vec![run(30, 5), run(80, 5)]);
        let ratio = fast.ratio(&slow, &Bootstrap::default());
        assert!(
            (ratio.estimate - 2.0).abs() < 1e-9 && ratio.half_width() < 1e-9,
            "{ratio:?}"
        );
        assert_eq!(speed(vec![]).first_token_ms(), None);
        assert_eq!(speed(vec![]).latency(), None);
    }
}

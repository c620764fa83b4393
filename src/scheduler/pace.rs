//! How many tokens go into one step. A step is what everybody waits for: a new job, a cancelled one among several, every
//! answer that is being written. So it is bounded in time, by what earlier steps took on this machine.

use std::time::Duration;

/// Who waits for the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Company {
    /// One job runs; its own cancel token stops the step half-way. A job that comes waits for it.
    Alone,
    /// Others wait, or compute their prompts as well.
    Others,
    /// Others write answers.
    Writers,
}

impl Company {
    fn limit(self) -> Duration {
        Duration::from_millis(match self {
            Self::Alone => 1000,
            Self::Others => 250,
            Self::Writers => 100,
        })
    }
}

/// Steps of fewer tokens say little about prompts.
const TELLING: usize = 16;
/// A guess until the first step is measured.
const FIRST: usize = 128;
/// No step is more than this much larger than one that was measured: its time may not be proportional.
const GROWTH: f64 = 4.0;

/// Chooses the size of steps.
#[derive(Debug)]
pub(super) struct Pace {
    least: usize,
    most: usize,
    /// Tokens of a recent step, and its time.
    measured: Option<(usize, Duration)>,
}

impl Pace {
    /// Steps of at least `least` tokens, whatever they take, and at most `most`.
    pub(super) fn new(least: usize, most: usize) -> Self {
        Self {
            least: least.min(most),
            most,
            measured: None,
        }
    }

    /// Tokens for the next step.
    pub(super) fn budget(&self, company: Company) -> usize {
        let n = match self.measured {
            None => FIRST,
            Some((n, took)) => {
                let room = company.limit().as_secs_f64() / took.as_secs_f64().max(1e-6);
                (n as f64 * room.min(GROWTH)) as usize
            }
        };
        n.clamp(self.least, self.most)
    }

    /// A step of `n` tokens took this long.
    pub(super) fn took(&mut self, n: usize, time: Duration) {
        if n >= TELLING.min(self.most) {
            self.measured = Some((n, time));
        }
    }

    /// What computing `n` tokens of a prompt takes; `None` before the first step.
    pub(super) fn estimate(&self, n: usize) -> Option<Duration> {
        self.measured
            .map(|(tokens, time)| time.mul_f64(n as f64 / tokens as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::{Company, Pace};
    use std::time::Duration;

    /// Steps that a machine of this speed settles at: a fixed part and so much for a token.
    fn settled(company: Company, fixed: f64, per_token: f64) -> (usize, f64) {
        let mut pace = Pace::new(20, 512);
        for _ in 0..10 {
            let n = pace.budget(company);
            pace.took(n, Duration::from_secs_f64(fixed + per_token * n as f64));
        }
        let n = pace.budget(company);
        (n, fixed + per_token * n as f64)
    }

    #[test]
    fn a_slow_machine_takes_small_steps_in_company() {
        for (company, limit) in [(Company::Alone, 1.0), (Company::Others, 0.25), (Company::Writers, 0.1)] {
            let (n, time) = settled(company, 0.0, 0.004);
            assert!(time <= limit * 1.01 && n >= 20, "{company:?}: {n} tokens in {time} s");
        }
    }

    #[test]
    fn a_fast_machine_takes_whole_batches() {
        assert_eq!(settled(Company::Writers, 0.01, 0.0001).0, 512);
    }

    #[test]
    fn steps_never_vanish() {
        assert_eq!(settled(Company::Writers, 5.0, 1.0).0, 20);
        assert_eq!(Pace::new(20, 8).budget(Company::Alone), 8);
    }

    #[test]
    fn steps_that_write_one_token_each_say_nothing() {
        let mut pace = Pace::new(20, 512);
        pace.took(1, Duration::from_secs(9));
        assert_eq!(pace.estimate(10), None);
    }
}

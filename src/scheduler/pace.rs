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
const GROWTH: usize = 4;

/// Chooses the size of steps by what steps of about that size took last. A short prompt costs more for each token than a
/// long one, so one size says little about another.
#[derive(Debug)]
pub(super) struct Pace {
    least: usize,
    most: usize,
    /// Seconds per token of the last step of 2^i to 2^(i+1) - 1 tokens.
    measured: Vec<Option<f64>>,
}

impl Pace {
    /// Steps of at least `least` tokens, whatever they take, and at most `most`.
    pub(super) fn new(least: usize, most: usize) -> Self {
        Self {
            least: least.min(most),
            most,
            measured: vec![None; most.max(1).ilog2() as usize + 1],
        }
    }

    /// Sizes that were measured, largest first: the number of tokens that begins the size, and seconds per token.
    fn sizes(&self) -> impl Iterator<Item = (usize, f64)> {
        let sizes = self.measured.iter().enumerate().rev();
        sizes.filter_map(|(i, per_token)| Some((1 << i, (*per_token)?)))
    }

    /// Tokens for the next step.
    pub(super) fn budget(&self, company: Company) -> usize {
        let limit = company.limit().as_secs_f64();
        let mut end = GROWTH * self.sizes().next().map_or(FIRST / GROWTH, |(from, _)| from);
        let mut n = end;
        for (from, per_token) in self.sizes() {
            n = ((limit / per_token) as usize).min(end);
            if n >= from {
                break;
            }
            end = from; // steps of this size take too long
        }
        n.clamp(self.least, self.most)
    }

    /// A step of `n` tokens took this long. A larger one costs no more for each token: what said otherwise was measured on a
    /// busy machine, and must not keep steps small for ever.
    pub(super) fn took(&mut self, n: usize, time: Duration) {
        if n < TELLING.min(self.most) {
            return;
        }
        let per_token = time.as_secs_f64().max(1e-6) / n as f64;
        let mut sizes = self.measured.iter_mut().skip(n.ilog2() as usize);
        if let Some(size) = sizes.next() {
            *size = Some(per_token);
        }
        for larger in sizes.flatten() {
            *larger = larger.min(per_token);
        }
    }

    /// What computing `n` tokens of a prompt takes; `None` before the first step.
    pub(super) fn estimate(&self, n: usize) -> Option<Duration> {
        let nearest = self
            .sizes()
            .find(|(from, _)| *from <= n)
            .or_else(|| self.sizes().last());
        nearest.map(|(_, per_token)| Duration::from_secs_f64(per_token * n as f64))
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

    /// The end of a prompt is a small step, and the next prompt does not begin with one.
    #[test]
    fn a_small_step_says_nothing_about_large_ones() {
        let mut pace = Pace::new(20, 512);
        for n in [128, 512, 17] {
            pace.took(n, Duration::from_millis(8 + n as u64 / 8));
        }
        assert_eq!(pace.budget(Company::Alone), 512);
        assert_eq!(pace.estimate(1024), Some(Duration::from_millis(144)));
    }

    #[test]
    fn a_slow_moment_is_forgotten() {
        let mut pace = Pace::new(20, 512);
        pace.took(512, Duration::from_secs(2));
        assert!(pace.budget(Company::Writers) < 32);
        pace.took(25, Duration::from_millis(4));
        assert_eq!(pace.budget(Company::Writers), 512);
    }

    #[test]
    fn steps_that_write_one_token_each_say_nothing() {
        let mut pace = Pace::new(20, 512);
        pace.took(1, Duration::from_secs(9));
        assert_eq!(pace.estimate(10), None);
    }
}

//! Whether all were treated alike.

use serde::Serialize;
use std::time::Duration;

/// A request that was answered, as far as its turn matters.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// Whose it was.
    pub client: usize,
    /// Its class.
    pub class: usize,
    /// When it was sent, since the start.
    pub sent: Duration,
    /// When it was begun: the first token, less the time that the server says its prompt took.
    pub begun: Duration,
}

impl Turn {
    fn wait(&self) -> f64 {
        self.begun.saturating_sub(self.sent).as_secs_f64()
    }
}

/// How alike the waits of one class were.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fairness {
    /// Requests that were begun.
    pub n: usize,
    /// Jain's index over the mean waits of clients: 1 where all wait alike, 1/n where one waits and the others do not. Null for
    /// fewer than two clients, and where nobody waited.
    pub jain: Option<f64>,
    /// Median wait before the prompt was begun, ms.
    pub median_wait: Option<f64>,
    /// The longest, ms.
    pub longest_wait: Option<f64>,
    /// The longest over the median.
    pub longest_over_median: Option<f64>,
}

impl Fairness {
    /// Without the comparison of clients, where these are no persons who come again.
    pub fn between_clients(self, compared: bool) -> Self {
        Self {
            jain: self.jain.filter(|_| compared),
            ..self
        }
    }
}

/// How many came later and were begun earlier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Overtaken {
    /// Requests that were begun.
    pub n: usize,
    /// Of these, requests that at least one later request overtook.
    pub any: usize,
    /// Later requests that were begun before it: for 99 of 100 no more than this.
    pub p99: usize,
    /// For the one that was overtaken most.
    pub most: usize,
}

/// Jain's fairness index (Jain, Chiu, Hawe 1984, DEC TR-301): `(sum x)^2 / (n sum x^2)`. `None` for fewer than two values, and
/// where all are 0.
pub fn jain(values: &[f64]) -> Option<f64> {
    let squares: f64 = values.iter().map(|x| x * x).sum();
    let sum: f64 = values.iter().sum();
    (values.len() > 1 && squares > 0.0).then(|| sum * sum / (values.len() as f64 * squares))
}

/// Of the requests of `class`; `None`: of all.
pub fn of_class(turns: &[Turn], class: Option<usize>) -> Fairness {
    let turns = || {
        turns
            .iter()
            .filter(|turn| class.is_none_or(|class| turn.class == class))
    };
    let mut waits: Vec<f64> = turns().map(Turn::wait).collect();
    waits.sort_by(f64::total_cmp);
    let mut clients: std::collections::BTreeMap<usize, (f64, usize)> = std::collections::BTreeMap::new();
    for turn in turns() {
        let (sum, n) = clients.entry(turn.client).or_default();
        *sum += turn.wait();
        *n += 1;
    }
    let means: Vec<f64> = clients.values().map(|(sum, n)| sum / *n as f64).collect();
    let median = (!waits.is_empty()).then(|| waits[(waits.len() - 1) / 2]);
    let longest = waits.last().copied();
    Fairness {
        n: waits.len(),
        jain: jain(&means),
        median_wait: median.map(|s| 1e3 * s),
        longest_wait: longest.map(|s| 1e3 * s),
        longest_over_median: longest
            .zip(median)
            .filter(|(_, median)| *median > 0.0)
            .map(|(longest, median)| longest / median),
    }
}

/// The order of service against the order of arrival.
pub fn overtaken(turns: &[Turn]) -> Overtaken {
    let mut order: Vec<&Turn> = turns.iter().collect();
    order.sort_by_key(|turn| turn.sent);
    // from the last that came: those that came later, by when they were begun
    let mut later: Vec<Duration> = Vec::with_capacity(order.len());
    let mut counts: Vec<usize> = Vec::with_capacity(order.len());
    for turn in order.iter().rev() {
        let earlier = later.partition_point(|begun| *begun < turn.begun);
        counts.push(earlier);
        later.insert(earlier, turn.begun);
    }
    counts.sort_unstable();
    let at = |share: f64| {
        let rank = (share * counts.len() as f64).ceil() as usize;
        rank.checked_sub(1).map_or(0, |rank| counts[rank])
    };
    Overtaken {
        n: counts.len(),
        any: counts.iter().filter(|&&n| n > 0).count(),
        p99: at(0.99),
        most: counts.last().copied().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(client: usize, sent: u64, begun: u64) -> Turn {
        Turn {
            client,
            class: client % 2,
            sent: Duration::from_millis(sent),
            begun: Duration::from_millis(begun),
        }
    }

    #[test]
    fn jains_index_is_one_for_equals_and_falls_to_one_nth() {
        assert_eq!(jain(&[3.0, 3.0, 3.0]), Some(1.0));
        assert_eq!(jain(&[1.0, 0.0, 0.0, 0.0]), Some(0.25));
        assert_eq!(jain(&[1.0, 2.0]), Some(0.9));
        assert_eq!((jain(&[]), jain(&[1.0]), jain(&[0.0, 0.0])), (None, None, None));
    }

    #[test]
    fn nobody_is_overtaken_where_all_are_served_in_order() {
        let turns: Vec<_> = (0..10).map(|n| turn(0, n, 100 + n)).collect();
        assert_eq!(
            overtaken(&turns),
            Overtaken {
                n: 10,
                any: 0,
                p99: 0,
                most: 0
            }
        );
    }

    #[test]
    fn who_waits_while_all_others_pass_is_seen() {
        let mut turns: Vec<_> = (1..10).map(|n| turn(0, n, 100 + n)).collect();
        turns.push(turn(1, 0, 500));
        assert_eq!(
            overtaken(&turns),
            Overtaken {
                n: 10,
                any: 1,
                p99: 9,
                most: 9
            }
        );
    }

    #[test]
    fn equal_times_are_no_overtaking() {
        let turns = [turn(0, 0, 50), turn(1, 1, 50), turn(2, 2, 50)];
        assert_eq!(overtaken(&turns).any, 0);
        assert_eq!(
            overtaken(&[]),
            Overtaken {
                n: 0,
                any: 0,
                p99: 0,
                most: 0
            }
        );
    }

    #[test]
    fn waits_are_compared_within_a_class() {
        let turns = [turn(0, 0, 10), turn(2, 0, 10), turn(4, 0, 40), turn(1, 0, 1000)];
        let even = of_class(&turns, Some(0));
        assert_eq!(
            (even.n, even.median_wait, even.longest_wait),
            (3, Some(10.0), Some(40.0))
        );
        assert_eq!(even.longest_over_median, Some(4.0));
        assert!((even.jain.unwrap() - 3600.0 / (3.0 * 1800.0)).abs() < 1e-12);
        assert_eq!(of_class(&turns, None).n, 4);
        assert_eq!(of_class(&turns, Some(7)).median_wait, None);
    }
}

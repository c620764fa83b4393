//! The server while it is loaded, and after: its memory, and whether its slots come free.

use super::client::Client;
use llama_turboquant::{CancelToken, memory};
use serde::Serialize;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Between two looks at the memory.
const INTERVAL: Duration = Duration::from_secs(1);
/// What loads, fills and warms belongs to the first minute.
const WARM_UP: f64 = 60.0;
/// How long slots may take to come free when nobody asks any more.
const SETTLE: Duration = Duration::from_secs(10);

/// Resident memory over the load.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Resident {
    /// Seconds since the start and bytes.
    pub samples: Vec<(f64, u64)>,
}

/// How the memory went after the first minute.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Growth {
    /// Bytes after the first minute.
    pub at_first: u64,
    /// At the end.
    pub at_last: u64,
    /// The least since then.
    pub least: u64,
    /// And the most.
    pub most: u64,
    /// The most over what it was after the first minute, less 1.
    pub growth: f64,
}

/// Slots after the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Slots {
    /// How many there are.
    pub total: usize,
    /// Of these, busy although nobody asks any more; looked at for 10 s.
    pub stuck: usize,
    /// Milliseconds until none was busy; null: that did not happen.
    pub settled_ms: Option<u64>,
}

impl Resident {
    /// Looks once in a second until `done`.
    pub async fn watch(pid: u32, done: &CancelToken) -> Self {
        let start = Instant::now();
        let mut samples = Vec::new();
        while !done.is_cancelled() {
            let read = tokio::task::spawn_blocking(move || memory::resident_of(pid)).await;
            match read.ok().flatten() {
                Some(bytes) => samples.push((start.elapsed().as_secs_f64(), bytes)),
                None => break, // it has ended
            }
            tokio::time::sleep(INTERVAL).await;
        }
        Self { samples }
    }

    /// How it went after the first minute; `None` for loads that are no longer than that.
    pub fn growth(&self) -> Option<Growth> {
        let after = || {
            self.samples
                .iter()
                .filter(|(at, _)| *at >= WARM_UP)
                .map(|(_, bytes)| *bytes)
        };
        let (first, last) = (after().next()?, after().next_back()?);
        let most = after().max()?;
        (after().count() > 1).then(|| Growth {
            at_first: first,
            at_last: last,
            least: after().min().unwrap_or(first),
            most,
            growth: most as f64 / first as f64 - 1.0,
        })
    }
}

/// Waits until no slot is busy, and tells which still are; `None` for servers without a list of slots.
pub async fn slots(client: &Client) -> Option<Slots> {
    let start = Instant::now();
    loop {
        let (total, busy) = look(client).await?;
        let waited = start.elapsed();
        if busy == 0 || waited >= SETTLE {
            return Some(Slots {
                total,
                stuck: busy,
                settled_ms: (busy == 0).then_some(waited.as_millis() as u64),
            });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn look(client: &Client) -> Option<(usize, usize)> {
    let (status, body) = client.get("/slots").await.ok()?;
    let list: Vec<Value> = serde_json::from_str(&body).ok().filter(|_| status == 200)?;
    let busy = list.iter().filter(|slot| slot["is_processing"] == true).count();
    Some((list.len(), busy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_counts_from_the_end_of_the_first_minute() {
        let samples = vec![(0.0, 10), (59.0, 50), (60.5, 100), (70.0, 103), (80.0, 99)];
        let growth = Resident { samples }.growth().unwrap();
        assert_eq!(
            (growth.at_first, growth.at_last, growth.least, growth.most),
            (100, 99, 99, 103)
        );
        assert!((growth.growth - 0.03).abs() < 1e-12);
    }

    #[test]
    fn a_short_load_says_nothing_about_growth() {
        let samples = vec![(0.0, 10), (30.0, 50), (60.5, 100)];
        assert_eq!(Resident { samples }.growth(), None);
    }
}

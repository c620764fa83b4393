//! A plan in words.

use super::{MemoryPlan, Share};

/// A name, and its part of a share.
type Purpose = (&'static str, fn(&Share) -> u64);

/// `1.50 GiB`, or MiB below one.
pub(crate) fn human(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib >= 1024.0 {
        format!("{:.2} GiB", mib / 1024.0)
    } else {
        format!("{mib:.2} MiB")
    }
}

impl MemoryPlan {
    /// What it takes, in one line: `20.48 GiB (15.39 GiB weights, 3.20 GiB KV cache of 131072 tokens, ...)`.
    pub fn describe(&self) -> String {
        let sum = |pick: fn(&Share) -> u64| self.pools.iter().map(|pool| pick(&pool.share)).sum::<u64>();
        let mut parts = vec![
            format!("{} weights", human(sum(|share| share.weights))),
            format!("{} KV cache of {} tokens", human(sum(|share| share.kv)), self.n_ctx),
        ];
        let more: [Purpose; 6] = [
            ("recurrent state", |share| share.recurrent),
            ("scratch", |share| share.compute),
            ("cell tables", |share| share.cells),
            ("projector", |share| share.projector),
            ("draft model", |share| share.draft),
            ("program", |share| share.program),
        ];
        for (name, pick) in more {
            if sum(pick) > 0 {
                parts.push(format!("{} {name}", human(sum(pick))));
            }
        }
        format!("{} ({})", human(self.total()), parts.join(", "))
    }
}

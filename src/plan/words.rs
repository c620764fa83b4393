//! A plan in words.

use super::{MemoryPlan, Share};
use crate::memory::human_bytes;

impl MemoryPlan {
    /// What it takes, in one line: `20.48 GiB (15.39 GiB weights, 3.20 GiB KV cache of 131072 tokens, ...)`.
    pub fn describe(&self) -> String {
        let sum = |pick: fn(&Share) -> u64| self.pools.iter().map(|pool| pick(&pool.share)).sum::<u64>();
        let mut parts = Vec::new();
        for (name, pick) in Share::PURPOSES {
            match (name, human_bytes(sum(pick))) {
                ("KV cache", bytes) => parts.push(format!("{bytes} {name} of {} tokens", self.n_ctx)),
                (_, bytes) if name == "weights" || sum(pick) > 0 => parts.push(format!("{bytes} {name}")),
                _ => {}
            }
        }
        format!("{} ({})", human_bytes(self.total()), parts.join(", "))
    }
}

//! Identifiers for answers and tool calls.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// `prefix` and 24 hex digits. Unique within the process and unlikely to repeat across processes;
/// not a secret.
pub fn new_id(prefix: &str) -> String {
    // The standard library's hasher starts from a random key, so a counter is all it takes.
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}{:016x}{:08x}", KEY.hash_one(count), count as u32)
}

#[cfg(test)]
mod tests {
    use super::new_id;

    #[test]
    fn ids_differ_and_keep_their_prefix() {
        let (a, b) = (new_id("call_"), new_id("call_"));
        assert_ne!(a, b);
        assert!(a.starts_with("call_") && a.len() == "call_".len() + 24);
    }
}

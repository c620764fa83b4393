//! What is dropped is given back. Alone in its program: other tests beside it would hold models and caches.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

mod support;

use llama_turboquant::{KvCacheConfig, KvType, Model};
use support::{context, prefill, story_tokens};

/// Bytes of the heap that are in use, of every arena, mapped blocks included. What the allocator keeps for later does not
/// count, so a leak shows whatever the allocator does with what was given back.
fn heap_in_use() -> i64 {
    // `mallinfo2` with its wider fields is missing before glibc 2.33; the test stays far below 2 GiB.
    #[allow(deprecated)]
    // SAFETY: the function takes the allocator's own locks and reads its counters.
    let info = unsafe { libc::mallinfo() };
    i64::from(info.uordblks) + i64::from(info.hblkhd)
}

#[test]
fn creating_and_dropping_contexts_and_models_does_not_leak() {
    const CACHE: i64 = 2048 * 8 * 2 * 2 * 66;
    let cycles = |count: usize| {
        for _ in 0..count {
            let model = Model::load(support::tiny_path()).expect("a model");
            let mut context = context(&model, 2048, KvCacheConfig::uniform(KvType::Turbo4));
            prefill(&mut context, &story_tokens(&model)[..32]);
        }
        heap_in_use()
    };
    // the first rounds pay what a process pays once
    let before = cycles(3);
    let after = cycles(20);
    // a leak of a hundredth of each round's cache would be twice this
    assert!(after < before + CACHE / 10, "{before} -> {after} bytes");
}

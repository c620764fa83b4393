//! Several sequences in one context, several contexts in one process: none influences another.

mod support;

use llama_turboquant::{Batch, Context, ContextConfig, Error, KvCacheConfig, KvType, LayerPolicy, Model, Token};
use std::sync::Barrier;
use support::{
    TURBO, assert_alike, config, context, decode_all, noise_tokens, prefill, shape, story_tokens, synth, tiny,
};

fn of_sequences(model: &Model, n_seq_max: u32, kv: KvCacheConfig) -> Context {
    model
        .context(ContextConfig {
            n_seq_max,
            ..config(256 * n_seq_max, kv)
        })
        .expect("a context")
}

fn kinds() -> Vec<KvCacheConfig> {
    let types = [
        KvType::F16,
        KvType::Q8_0,
        KvType::Turbo4,
        KvType::Turbo3,
        KvType::Turbo2,
    ];
    types
        .into_iter()
        .flat_map(|ty| {
            [true, false].map(|unified| KvCacheConfig {
                unified,
                ..KvCacheConfig::uniform(ty)
            })
        })
        .collect()
}

#[test]
fn a_copied_sequence_continues_like_its_original() {
    let tokens = story_tokens(&tiny());
    let (head, next) = (&tokens[..64], &tokens[64..72]);
    for kv in kinds() {
        let mut context = of_sequences(&tiny(), 3, kv.clone());
        decode_all(&mut context, head, 0, 0, 64);
        context.memory().copy(0, 2, 0..i32::MAX).expect("a copy");
        assert_eq!(context.memory().positions(2), Some((0, 63)));
        let copy = decode_all(&mut context, next, 2, 64, 1);
        let original = decode_all(&mut context, next, 0, 64, 1);
        assert_alike(kv.k != KvType::F16, &copy, &original, &format!("{kv:?}"));
        assert!(context.memory().remove_all(0), "the copy outlives the original");
        assert_eq!(context.memory().positions(2), Some((0, 71)));
    }
}

#[test]
fn copies_that_go_different_ways_do_not_mix() {
    let tokens = story_tokens(&tiny());
    for kv in kinds() {
        let mut context = of_sequences(&tiny(), 2, kv.clone());
        decode_all(&mut context, &tokens[..48], 0, 0, 48);
        context.memory().copy(0, 1, 0..i32::MAX).expect("a copy");
        decode_all(&mut context, &tokens[100..110], 1, 48, 10);
        let beside = decode_all(&mut context, &tokens[48..56], 0, 48, 1);
        let mut alone = of_sequences(&tiny(), 2, kv.clone());
        decode_all(&mut alone, &tokens[..48], 0, 0, 48);
        let expected = decode_all(&mut alone, &tokens[48..56], 0, 48, 1);
        assert_alike(kv.k != KvType::F16, &beside, &expected, &format!("{kv:?}"));
    }
}

#[test]
fn a_part_of_a_sequence_is_shared_in_a_unified_cache_and_refused_in_others() {
    let tokens = story_tokens(&tiny());
    for kv in kinds() {
        let mut context = of_sequences(&tiny(), 2, kv.clone());
        decode_all(&mut context, &tokens[..40], 0, 0, 40);
        let mut memory = context.memory();
        match memory.copy(0, 1, 0..20) {
            Ok(()) => assert!(kv.unified && memory.positions(1) == Some((0, 19)), "{kv:?}"),
            Err(error) => {
                assert!(
                    !kv.unified && matches!(error, Error::Unsupported(_)),
                    "{kv:?}: {error:?}"
                );
                assert!(error.to_string().contains("0..20"), "{error}");
            }
        }
        memory.copy(0, 1, 0..40).expect("all of it, spelled out");
        assert_eq!(memory.positions(1), Some((0, 39)));
    }
}

#[test]
fn sequences_in_one_batch_get_the_logits_they_get_alone() {
    let tokens = story_tokens(&tiny());
    for kv in kinds() {
        let mut context = of_sequences(&tiny(), 2, kv.clone());
        decode_all(&mut context, &tokens[..40], 0, 0, 40);
        decode_all(&mut context, &tokens[60..90], 1, 0, 30);
        let mut batch = Batch::new(2);
        batch.push(tokens[40], 40, 0, true);
        batch.push(tokens[90], 30, 1, true);
        context.decode(&batch).expect("decode");
        for (entry, range) in [(0, 0..41), (1, 60..91)] {
            let mut alone = of_sequences(&tiny(), 2, kv.clone());
            let (last, head) = tokens[range].split_last().expect("tokens");
            decode_all(&mut alone, head, 0, 0, 40);
            let expected = decode_all(&mut alone, &[*last], 0, head.len() as i32, 1).remove(0);
            let error = support::relative_error(&expected, context.logits(entry).expect("logits"));
            // f16 attends in another order of additions when two sequences share a batch
            assert!(error < 0.02, "{kv:?} sequence {entry}: {error}");
        }
    }
}

/// The policies that two contexts of one process use side by side.
fn policies() -> [KvCacheConfig; 4] {
    let mode = |mode| LayerPolicy::mode(mode).expect("a mode");
    [
        KvCacheConfig::uniform(KvType::Turbo2).with_layers(mode(0)),
        KvCacheConfig::uniform(KvType::Turbo2).with_layers(mode(1)),
        KvCacheConfig::asymmetric(KvType::Turbo4, KvType::Turbo3).with_layers(mode(5)),
        KvCacheConfig::uniform(KvType::Q4_0),
    ]
}

fn alone(kv: &KvCacheConfig, tokens: &[Token]) -> Vec<f32> {
    prefill(&mut context(&tiny(), 256, kv.clone()), tokens)
}

/// A known bug of a fork: the mode was a process-wide static, so the first context decided for all.
#[test]
fn contexts_with_different_policies_do_not_influence_each_other() {
    let tokens = &story_tokens(&tiny())[..80];
    let expected = policies().map(|kv| alone(&kv, tokens));
    assert!(
        expected.windows(2).all(|pair| pair[0] != pair[1]),
        "the policies differ in effect"
    );
    let mut contexts = policies().map(|kv| context(&tiny(), 256, kv));
    for context in &mut contexts {
        decode_all(context, &tokens[..40], 0, 0, 256);
    }
    let mut reference = policies().map(|kv| context(&tiny(), 256, kv));
    for ((context, reference), kv) in contexts.iter_mut().zip(&mut reference).zip(policies()) {
        let beside = decode_all(context, &tokens[40..], 0, 40, 256);
        decode_all(reference, &tokens[..40], 0, 0, 256);
        assert_eq!(beside, decode_all(reference, &tokens[40..], 0, 40, 256), "{kv:?}");
    }
}

#[test]
fn contexts_created_at_the_same_time_get_their_own_types() {
    let tokens = story_tokens(&tiny());
    let tokens = &tokens[..48];
    let expected = policies().map(|kv| alone(&kv, tokens));
    let start = Barrier::new(4);
    for _ in 0..4 {
        std::thread::scope(|scope| {
            for (kv, expected) in policies().into_iter().zip(&expected) {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    let mut context = context(&tiny(), 256, kv.clone());
                    let engine: u64 = context.memory_use().expect("report").kv.values().sum();
                    assert_eq!(context.kv_bytes().total(), engine, "{kv:?}");
                    assert_eq!(prefill(&mut context, tokens), *expected, "{kv:?}");
                });
            }
        });
    }
}

#[test]
fn removing_the_end_of_a_sequence_takes_it_back() {
    let tokens = story_tokens(&tiny());
    for ty in TURBO {
        let mut context = context(&tiny(), 256, KvCacheConfig::uniform(ty));
        decode_all(&mut context, &tokens[..60], 0, 0, 60);
        decode_all(&mut context, &tokens[200..220], 0, 60, 20);
        assert!(context.memory().remove(0, 60..i32::MAX));
        let again = decode_all(&mut context, &tokens[60..64], 0, 60, 1);
        let mut fresh = support::context(&tiny(), 256, KvCacheConfig::uniform(ty));
        decode_all(&mut fresh, &tokens[..60], 0, 0, 60);
        assert_eq!(again, decode_all(&mut fresh, &tokens[60..64], 0, 60, 1), "{ty}");
    }
}

#[test]
fn recurrent_states_cannot_be_cut_and_say_so() {
    let model = synth(&shape("lfm2", 4, 2, 128));
    let mut context = context(&model, 256, KvCacheConfig::uniform(KvType::Turbo4));
    decode_all(&mut context, &noise_tokens(&model, 20), 0, 0, 20);
    assert!(!context.memory().remove(0, 10..i32::MAX), "a state cannot go back");
    assert!(context.memory().remove_all(0));
    assert_eq!(context.memory().positions(0), None);
}

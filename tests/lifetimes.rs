//! Ownership and threads: what may be sent, shared, dropped first, stopped, and misused.

mod support;

use llama_turboquant::engine::synth::SynthParams;
use llama_turboquant::{Batch, CancelToken, Context, ContextConfig, Error, KvCacheConfig, KvType, Model};
use std::cell::RefCell;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use support::{config, context, decode_all, last_logits, noise_tokens, prefill, shape, story_tokens, synth, tiny};

fn turbo() -> KvCacheConfig {
    KvCacheConfig::uniform(KvType::Turbo4)
}

const _: () = {
    const fn send<T: Send>() {}
    const fn sync<T: Sync>() {}
    send::<Model>();
    sync::<Model>();
    send::<Context>();
    send::<CancelToken>();
    sync::<CancelToken>();
    send::<Error>();
    sync::<Error>();
};

/// Compiles only while `Context` is not `Sync`: otherwise both impls apply and `_` is ambiguous.
const _: fn() = || {
    trait AmbiguousIfSync<A> {
        fn check() {}
    }
    struct NotSync;
    impl<T: ?Sized> AmbiguousIfSync<()> for T {}
    impl<T: ?Sized + Sync> AmbiguousIfSync<NotSync> for T {}
    <Context as AmbiguousIfSync<_>>::check();
};

#[test]
fn a_context_keeps_its_model_alive() {
    let path = support::scratch("kept.gguf");
    shape("llama", 2, 1, 64).write(&path).expect("a model");
    let model = Model::load(&path).expect("a model");
    let tokens = noise_tokens(&model, 16);
    let mut context = context(&model, 256, turbo());
    drop(model);
    assert!(prefill(&mut context, &tokens).iter().all(|x| x.is_finite()));
    assert_eq!(context.model().path(), path);
    drop(context);
    std::fs::remove_file(path).expect("nothing holds the file");
}

#[test]
fn a_context_moves_between_threads() {
    let tokens = story_tokens(&tiny());
    let in_two = |context: &mut Context| {
        decode_all(context, &tokens[..32], 0, 0, 32);
        decode_all(context, &tokens[32..64], 0, 32, 32)
    };
    let expected = in_two(&mut context(&tiny(), 256, turbo()));
    let mut context = context(&tiny(), 256, turbo());
    let logits = std::thread::spawn(move || {
        decode_all(&mut context, &tokens[..32], 0, 0, 32);
        std::thread::spawn(move || decode_all(&mut context, &tokens[32..64], 0, 32, 32))
            .join()
            .expect("inner")
    });
    assert_eq!(logits.join().expect("outer"), expected);
}

#[test]
fn a_model_is_used_by_many_threads_at_once() {
    let model = tiny();
    let texts: Vec<String> = (0..4).map(|i| format!("Thread {i} asks: What is turbo4?")).collect();
    let alone: Vec<_> = texts
        .iter()
        .map(|text| model.tokenize(text, false, true).expect("tokens"))
        .collect();
    std::thread::scope(|scope| {
        for (text, alone) in texts.iter().zip(&alone) {
            let model = &model;
            scope.spawn(move || {
                for _ in 0..50 {
                    assert_eq!(model.tokenize(text, false, true).expect("tokens"), *alone);
                    assert_eq!(model.detokenize(alone, true).expect("text"), *text);
                }
            });
        }
    });
}

#[test]
fn cancelling_from_another_thread_stops_a_prefill_and_the_context_stays_usable() {
    let model = synth(&SynthParams {
        layers: 8,
        ff: 2048,
        ..shape("llama", 8, 2, 128)
    });
    let tokens = noise_tokens(&model, 4096);
    let mut context = model
        .context(ContextConfig {
            n_batch: 4096,
            n_ubatch: 512,
            ..config(4096, turbo())
        })
        .expect("a context");
    let token = CancelToken::new();
    context.set_cancel(Some(token.clone()));

    let mut batch = Batch::new(tokens.len());
    for (position, &token) in tokens.iter().enumerate() {
        batch.push(token, position as i32, 0, position + 1 == tokens.len());
    }
    let (started, start) = mpsc::channel();
    let canceller = std::thread::spawn(move || {
        start.recv().expect("the start");
        std::thread::sleep(Duration::from_millis(150));
        token.cancel();
        Instant::now()
    });
    started.send(()).expect("a canceller");
    let error = context.decode(&batch).expect_err("cancelled");
    let stopped = Instant::now();
    let asked = canceller.join().expect("the canceller");
    assert!(matches!(error, Error::Cancelled), "{error:?}");
    let delay = stopped.saturating_duration_since(asked);
    println!("stopped {delay:?} after the request");
    assert!(delay < Duration::from_secs(1), "{delay:?}");

    context.set_cancel(None);
    context.memory().clear();
    let after = decode_all(&mut context, &tokens[..48], 0, 0, 48).pop().expect("logits");
    let fresh = last_logits(&model, 4096, turbo(), &tokens[..48]);
    assert_eq!(after, fresh, "a cancelled context computes what a fresh one does");
}

#[test]
fn a_token_cancelled_before_the_start_stops_at_once() {
    let mut context = context(&tiny(), 256, turbo());
    let token = CancelToken::new();
    token.cancel();
    context.set_cancel(Some(token));
    let mut batch = Batch::new(1);
    batch.push(5, 0, 0, true);
    assert!(matches!(context.decode(&batch), Err(Error::Cancelled)));
    context.set_cancel(Some(CancelToken::new()));
    context.memory().clear();
    context.decode(&batch).expect("another token, another request");
}

#[test]
fn bad_batches_are_refused_by_name_and_change_nothing() {
    let model = tiny();
    let n_vocab = model.meta().n_vocab as i32;
    let mut context = model
        .context(ContextConfig {
            n_batch: 300,
            n_seq_max: 2,
            ..config(512, turbo())
        })
        .expect("a context");
    let one = |token, position, sequence| {
        let mut batch = Batch::new(1);
        batch.push(token, position, sequence, true);
        batch
    };
    let mut large = Batch::new(301);
    for position in 0..301 {
        large.push(1, position, 0, false);
    }
    let table = [
        (Batch::new(0), "empty"),
        (large, "301"),
        (one(-1, 0, 0), "token -1"),
        (one(n_vocab, 0, 0), "vocabulary of 4096"),
        (one(i32::MAX, 0, 0), "2147483647"),
        (one(5, -1, 0), "position -1"),
        (one(5, 0, -1), "sequence -1"),
        (one(5, 0, 2), "sequence 2"),
    ];
    for (batch, part) in table {
        let error = context.decode(&batch).expect_err(part);
        assert!(
            matches!(error, Error::Invalid(_)) && error.to_string().contains(part),
            "{part}: {error:?}"
        );
        assert_eq!(context.memory().positions(0), None, "{part}");
    }
    context.decode(&one(5, 0, 1)).expect("a good batch");
    let error = context.decode(&one(5, 7, 1)).expect_err("a gap in the positions");
    assert!(matches!(error, Error::Invalid(_)), "{error:?}");
}

#[test]
fn a_full_cache_says_so_and_can_be_emptied() {
    let mut context = context(&tiny(), 256, turbo());
    let tokens = noise_tokens(&tiny(), 256);
    decode_all(&mut context, &tokens, 0, 0, 256);
    let mut batch = Batch::new(1);
    batch.push(5, 256, 0, true);
    let error = context.decode(&batch).expect_err("a full cache");
    assert!(
        matches!(
            error,
            Error::ContextFull {
                n_prompt: 1,
                n_ctx: 256
            }
        ),
        "{error:?}"
    );
    assert!(context.memory().remove_all(0));
    decode_all(&mut context, &tokens[..8], 0, 0, 8);
}

#[test]
fn logits_exist_only_where_they_were_asked_for() {
    let mut context = context(&tiny(), 256, turbo());
    assert!(context.logits(0).is_none(), "nothing was decoded");
    let mut batch = Batch::new(3);
    for position in 0..3 {
        batch.push(5 + position, position, 0, position == 2);
    }
    context.decode(&batch).expect("decode");
    assert!(context.logits(0).is_none() && context.logits(1).is_none() && context.logits(3).is_none());
    assert_eq!(context.logits(2).map(<[f32]>::len), Some(4096));
    assert!(context.logits(usize::MAX).is_none());
}

#[test]
fn sequences_that_do_not_exist_are_left_alone() {
    let mut context = context(&tiny(), 256, turbo());
    decode_all(&mut context, &noise_tokens(&tiny(), 8), 0, 0, 8);
    let mut memory = context.memory();
    for sequence in [-1, 1, 255, 256, i32::MAX, i32::MIN] {
        assert!(!memory.remove(sequence, 0..4), "{sequence}");
        assert!(memory.copy(0, sequence, 0..4).is_err() && memory.copy(sequence, 0, 0..4).is_err());
        assert_eq!(memory.positions(sequence), None);
        assert!(memory.shift(sequence, 0..4, 1).is_err());
        assert!(context.save_seq(sequence, Vec::new()).is_err());
        memory = context.memory();
    }
    assert_eq!(memory.positions(0), Some((0, 7)));
}

// Thread-local objects end in reverse order of their first use: this one after the text in which the engine's log lines of the
// thread are put together, which was used when the context was made.
#[test]
fn a_context_may_outlive_the_other_locals_of_its_thread() {
    thread_local!(static KEPT: RefCell<Option<Context>> = const { RefCell::new(None) });
    for _ in 0..8 {
        let ended = std::thread::spawn(|| {
            KEPT.with_borrow_mut(|kept| *kept = Some(context(&tiny(), 256, turbo())));
        })
        .join();
        assert!(ended.is_ok());
    }
    let mut other = context(&tiny(), 256, turbo());
    decode_all(&mut other, &noise_tokens(&tiny(), 8), 0, 0, 8);
}

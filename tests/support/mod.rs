//! Models, contexts and comparisons that the engine contract tests share.
#![allow(dead_code)] // each test program uses its part

pub mod adapter;
pub mod child;
pub mod mmproj;
pub mod scheduling;
pub mod slot_file;
pub mod uncuttable;

use llama_turboquant::engine::synth::SynthParams;
use llama_turboquant::{Batch, Context, ContextConfig, KvCacheConfig, KvType, Model, Token};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

pub const TURBO: [KvType; 3] = [KvType::Turbo4, KvType::Turbo3, KvType::Turbo2];

pub fn tiny_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny-q8_0.gguf")
}

/// The embedded model: 8 KV layers, heads of 128 values, 2 KV heads for 4 query heads.
pub fn tiny() -> Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL
        .get_or_init(|| Model::load(tiny_path()).expect("the embedded model loads"))
        .clone()
}

/// A path for a scratch file that no other test or test program uses.
pub fn scratch(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{number}-{name}", std::process::id()))
}

/// A random model of this shape, made once per test program.
pub fn synth(params: &SynthParams) -> Model {
    static MADE: OnceLock<Mutex<HashMap<String, Model>>> = OnceLock::new();
    let mut made = MADE
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    made.entry(format!("{params:?}"))
        .or_insert_with(|| {
            let path = scratch("synth.gguf");
            params.write(&path).expect("a synthetic model");
            let model = Model::builder(&path)
                .mmap(false)
                .load()
                .expect("a synthetic model loads");
            std::fs::remove_file(&path).expect("the weights are in memory");
            model
        })
        .clone()
}

/// A small random model of an architecture: 2 layers, narrow feed-forward part.
pub fn shape(arch: &str, heads: u32, kv_heads: u32, head_dim: u32) -> SynthParams {
    SynthParams {
        heads,
        kv_heads,
        head_dim,
        ff: 128,
        ..SynthParams::of(arch)
    }
}

/// One thread, so that tests side by side do not wait for each other at every graph node.
pub fn config(n_ctx: u32, kv: KvCacheConfig) -> ContextConfig {
    ContextConfig {
        n_ctx,
        n_threads: 1,
        kv,
        ..Default::default()
    }
}

pub fn context(model: &Model, n_ctx: u32, kv: KvCacheConfig) -> Context {
    model.context(config(n_ctx, kv)).expect("a context")
}

/// Text of the kind the embedded model was trained on: up to 8 facts, filler, questions about the facts. About 46
/// tokens a fact.
pub fn story(facts: usize) -> String {
    const FACTS: [(&str, &str); 8] = [
        ("Stella", "blue"),
        ("Otto", "white"),
        ("Louis", "orange"),
        ("Walter", "green"),
        ("Nadia", "violet"),
        ("Taran", "black"),
        ("Eva", "pink"),
        ("Lelen", "red"),
    ];
    const FILLER: [&str; 4] = [
        "A goose and a sheep walked along the lake. The meadow was lost and smooth.",
        "The wind moved the flat leaves. The night was new, and the lighthouse was empty.",
        "The road to the bakery is long and dusty. They counted ten shells and went home.",
        "The librarian and the nurse met in the farm. She painted the pebble blue.",
    ];
    let mut text = String::new();
    for (i, (name, color)) in FACTS[..facts].iter().enumerate() {
        text += &format!(
            "{}\nThe favorite color for {name} is {color}.\n",
            FILLER[i % FILLER.len()]
        );
    }
    for (name, color) in FACTS[..facts].iter().rev() {
        text += &format!(
            "Question: What is the favorite color for {name}?\nAnswer: The favorite color for {name} is {color}.\n"
        );
    }
    text
}

pub fn story_tokens(model: &Model) -> Vec<Token> {
    model.tokenize(&story(8), false, false).expect("tokens")
}

/// Tokens for a random model: any will do, as long as they differ.
pub fn noise_tokens(model: &Model, n: usize) -> Vec<Token> {
    let mut state = 1_u32;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 8) % model.meta().n_vocab) as Token
        })
        .collect()
}

/// Appends `tokens` to `seq` from position `from`, in batches of `at_once`; the logits of every token.
pub fn decode_all(context: &mut Context, tokens: &[Token], seq: i32, from: i32, at_once: usize) -> Vec<Vec<f32>> {
    let mut rows = Vec::with_capacity(tokens.len());
    let mut position = from;
    for chunk in tokens.chunks(at_once) {
        let mut batch = Batch::new(chunk.len());
        for &token in chunk {
            batch.push(token, position, seq, true);
            position += 1;
        }
        context.decode(&batch).expect("decode");
        rows.extend((0..chunk.len()).map(|i| context.logits(i).expect("logits").to_vec()));
    }
    rows
}

/// Appends `tokens` to sequence 0 of an empty context; the logits of the last token.
pub fn prefill(context: &mut Context, tokens: &[Token]) -> Vec<f32> {
    let at_once = context.n_batch() as usize;
    decode_all(context, tokens, 0, 0, at_once)
        .pop()
        .expect("at least one token")
}

/// The logits of a fresh context of this cache after `tokens`.
pub fn last_logits(model: &Model, n_ctx: u32, kv: KvCacheConfig, tokens: &[Token]) -> Vec<f32> {
    prefill(&mut context(model, n_ctx, kv), tokens)
}

pub fn top1(logits: &[f32]) -> usize {
    logits
        .iter()
        .enumerate()
        .max_by(|a, b| a.1.total_cmp(b.1))
        .expect("a vocabulary")
        .0
}

/// The share of rows whose most probable token is the same.
pub fn agreement(a: &[Vec<f32>], b: &[Vec<f32>]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).filter(|(a, b)| top1(a) == top1(b)).count() as f64 / a.len() as f64
}

/// Kullback-Leibler divergence of the distribution `q` from `p`, in nats.
pub fn divergence(p: &[f32], q: &[f32]) -> f64 {
    let (p, q) = (log_softmax(p), log_softmax(q));
    p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum()
}

/// Mean of [`divergence`] over rows.
pub fn mean_divergence(p: &[Vec<f32>], q: &[Vec<f32>]) -> f64 {
    assert_eq!(p.len(), q.len());
    p.iter().zip(q).map(|(p, q)| divergence(p, q)).sum::<f64>() / p.len() as f64
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|&x| (f64::from(x) - max).exp()).sum();
    logits.iter().map(|&x| f64::from(x) - max - sum.ln()).collect()
}

/// The logits of the same tokens computed in different places of a cache, or in different batches. Over f16 they are equal to
/// the last bit. Our kernels take a compressed cache in tiles, so sums end in other digits elsewhere, and a last digit
/// may turn another layer's key into another index: predictions of the embedded model then move by about 1e-4 nats,
/// a tenth of what turbo4 costs. Tokens of another sequence move them by more than .1.
pub fn assert_alike(compressed: bool, a: &[Vec<f32>], b: &[Vec<f32>], what: &str) {
    if compressed {
        let moved = mean_divergence(a, b);
        assert!(moved < 3e-3, "{what}: {moved} nats");
    } else {
        assert_eq!(a, b, "{what}");
    }
}

/// The difference of two logit vectors relative to the spread of the first: |a - b| / |a - mean(a)|.
pub fn relative_error(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let mean = a.iter().map(|&x| f64::from(x)).sum::<f64>() / a.len() as f64;
    let spread: f64 = a.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum();
    let error: f64 = a
        .iter()
        .zip(b)
        .map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2))
        .sum();
    (error / spread).sqrt()
}

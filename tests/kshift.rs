//! Moving a sequence to other positions without computing it again: the K of a turbo cache is un-rotated, turned by
//! RoPE and rotated back. Exact up to a second rounding, and refused where it could not be.

mod support;

use llama_turboquant::engine::synth::SynthParams;
use llama_turboquant::{Context, Error, KvCacheConfig, KvType, LayerPolicy, Model, Token};
use support::{TURBO, agreement, context, decode_all, last_logits, mean_divergence, noise_tokens, relative_error, shape, story_tokens, synth, tiny};

const KEEP_FROM: usize = 100;

fn uniform(ty: KvType) -> KvCacheConfig {
    KvCacheConfig::uniform(ty).with_layers(LayerPolicy::Uniform)
}

/// Removes the first `n` positions of sequence 0 and moves the rest to the start.
fn drop_head(context: &mut Context, n: i32) {
    let mut memory = context.memory();
    assert!(memory.can_shift());
    assert!(memory.remove(0, 0..n));
    memory.shift(0, n..i32::MAX, -n).expect("a shift");
}

/// The logits of the last token when everything before it was computed at other positions and shifted.
fn shifted(model: &Model, kv: KvCacheConfig, tokens: &[Token]) -> Vec<f32> {
    let (last, head) = tokens.split_last().expect("tokens");
    let mut context = context(model, 512, kv);
    decode_all(&mut context, head, 0, 0, 256);
    drop_head(&mut context, KEEP_FROM as i32);
    let kept = (head.len() - KEEP_FROM) as i32;
    assert_eq!(context.memory().positions(0), Some((0, kept - 1)));
    decode_all(&mut context, &[*last], 0, kept, 1).remove(0)
}

/// One layer: its K depends on a token and its position alone, so a shift must give what a fresh evaluation gives.
/// What is left is the rounding of the type, which a shifted K goes through twice.
#[test]
fn a_shifted_cache_equals_a_fresh_one_up_to_rounding() {
    for (head_dim, types) in [(64, &KvType::ALL[..]), (128, &KvType::ALL[..]), (256, &TURBO[..])] {
        let model = synth(&SynthParams { layers: 1, ..shape("llama", 2, 1, head_dim) });
        let tokens = noise_tokens(&model, 300);
        let exact = last_logits(&model, 512, uniform(KvType::F32), &tokens[KEEP_FROM..]);
        for &ty in types {
            let fresh = last_logits(&model, 512, uniform(ty), &tokens[KEEP_FROM..]);
            let moved = shifted(&model, uniform(ty), &tokens);
            let (rounding, shift) = (relative_error(&exact, &fresh), relative_error(&fresh, &moved));
            println!("head {head_dim} {ty}: rounding {rounding:.5}, shift {shift:.5}");
        }
    }
}

//! Moving a sequence to other positions without computing it again: the K of a turbo cache is un-rotated, turned by
//! RoPE and rotated back. Exact up to a second rounding, and refused where it could not be.

mod support;

use llama_turboquant::engine::synth::SynthParams;
use llama_turboquant::{Context, Error, KvCacheConfig, KvType, LayerPolicy, Model, Token};
use support::{
    TURBO, agreement, context, decode_all, last_logits, mean_divergence, noise_tokens, relative_error, scratch, shape,
    story_tokens, synth, tiny,
};

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
/// What is left is rounding: a fresh K is rounded once, a shifted one twice, so they differ by three independent
/// roundings of K, 1.7 times the error of one.
#[test]
fn a_shifted_cache_equals_a_fresh_one_up_to_rounding() {
    let shapes = [
        (shape("llama", 2, 1, 64), &KvType::ALL[..]),
        (shape("llama", 2, 1, 128), &KvType::ALL[..]),
        (shape("llama", 2, 1, 192), &TURBO[..]),
        (shape("llama", 2, 1, 256), &TURBO[..]),
        (shape("gemma3", 2, 1, 128), &TURBO[..]),
        (shape("qwen3", 4, 1, 128), &TURBO[..]),
    ];
    for (params, types) in shapes {
        let label = format!("{} of {}", params.arch, params.head_dim);
        let model = synth(&SynthParams { layers: 1, ..params });
        let tokens = noise_tokens(&model, 300);
        let bar = |rounding: f64| 0.002 + 1.9 * rounding;
        let mut turbo4 = f64::NAN;
        let exact = last_logits(&model, 512, uniform(KvType::F32), &tokens[KEEP_FROM..]);
        for ty in types.iter().copied().filter(|ty| *ty != KvType::BF16) {
            let fresh = last_logits(&model, 512, uniform(ty), &tokens[KEEP_FROM..]);
            let moved = shifted(&model, uniform(ty), &tokens);
            let (rounding, shift) = (relative_error(&exact, &fresh), relative_error(&fresh, &moved));
            println!("{label} {ty}: rounding {rounding:.5}, shift {shift:.5}");
            turbo4 = if ty == KvType::Turbo4 { bar(rounding) } else { turbo4 };
            assert!(
                shift < bar(rounding),
                "{label} {ty}: rounding {rounding}, shift {shift}"
            );
        }
        // the bar would see a cache with wrong positions
        let mut elsewhere = tokens[KEEP_FROM..].to_vec();
        elsewhere[..199].reverse();
        let wrong = relative_error(&exact, &last_logits(&model, 512, uniform(KvType::F32), &elsewhere));
        assert!(
            wrong > 2.0 * turbo4,
            "{label}: wrong positions give {wrong}, the bar for turbo4 is {turbo4}"
        );
    }
}

/// All layers of a trained model. The text asks for facts that went with the head, so the model is unsure and small
/// errors show: the measure is what the same types do to the same text without a shift.
#[test]
fn the_embedded_model_reads_on_after_a_shift() {
    let tokens = story_tokens(&tiny());
    let (head, next) = tokens.split_at(300);
    let run = |ty, shift: bool| {
        let mut context = context(&tiny(), 512, uniform(ty));
        decode_all(&mut context, if shift { head } else { &head[60..] }, 0, 0, 256);
        if shift {
            drop_head(&mut context, 60);
        }
        decode_all(&mut context, next, 0, 240, 64)
    };
    let base = [true, false].map(|shift| run(KvType::F16, shift));
    for ty in [
        KvType::Q8_0,
        KvType::Q4_0,
        KvType::Turbo4,
        KvType::Turbo3,
        KvType::Turbo2,
    ] {
        let logits = [true, false].map(|shift| run(ty, shift));
        let [moved, fresh] = [0, 1].map(|i| (agreement(&base[i], &logits[i]), mean_divergence(&base[i], &logits[i])));
        println!("tiny {ty}: same top-1 and divergence, shifted {moved:.5?}, fresh {fresh:.5?}");
        assert!(
            moved.0 >= fresh.0 - 0.08 && moved.1 <= 0.005 + 6.0 * fresh.1,
            "{ty}: shifted {moved:?}, fresh {fresh:?}"
        );
    }
}

#[test]
fn a_shift_is_repeated_as_often_as_the_context_fills() {
    let tokens = story_tokens(&tiny());
    for ty in TURBO {
        let mut context = context(&tiny(), 256, uniform(ty));
        let mut position = 0;
        for chunk in tokens.chunks(32) {
            if position + 32 > 256 {
                drop_head(&mut context, 64);
                position -= 64;
            }
            let logits = decode_all(&mut context, chunk, 0, position, 32);
            assert!(logits.iter().flatten().all(|x| x.is_finite()), "{ty} at {position}");
            position += chunk.len() as i32;
        }
        assert_eq!(context.memory().positions(0), Some((0, position - 1)));
    }
}

fn refused(model: &Model, kv: KvCacheConfig) {
    let mut context = context(model, 256, kv.clone());
    decode_all(&mut context, &noise_tokens(model, 16), 0, 0, 16);
    let mut memory = context.memory();
    assert!(!memory.can_shift(), "{kv:?}");
    assert!(memory.remove(0, 0..4), "removing is no shift");
    let error = memory.shift(0, 4..i32::MAX, -4).expect_err("a refusal");
    assert!(matches!(error, Error::Unsupported(_)), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("cannot be shifted") && text.contains("Re-evaluate"),
        "{text}"
    );
    decode_all(&mut context, &noise_tokens(model, 4), 0, 16, 4); // nothing happened
}

/// RoPE turns the first half of each head only; a rotated K mixes both halves.
fn partial_rope() -> Model {
    let path = scratch("partial-rope.gguf");
    shape("gemma3", 2, 1, 128).write(&path).expect("a model");
    let mut bytes = std::fs::read(&path).expect("the model");
    let key = b"gemma3.rope.dimension_count";
    let at = bytes
        .windows(key.len())
        .position(|window| window == key)
        .expect("the key")
        + key.len();
    assert_eq!(bytes[at..at + 8], [4, 0, 0, 0, 128, 0, 0, 0], "u32 128");
    bytes[at + 4] = 64;
    std::fs::write(&path, bytes).expect("the edited model");
    let model = Model::builder(&path).mmap(false).load().expect("a model");
    std::fs::remove_file(path).expect("the weights are in memory");
    assert_eq!(model.meta().layers[0].n_rot, 64);
    model
}

#[test]
fn a_shift_is_refused_where_rope_covers_a_part_of_the_head() {
    let model = partial_rope();
    for ty in TURBO.into_iter().chain([KvType::Q8_0]) {
        refused(&model, uniform(ty));
    }
    assert!(
        context(&model, 256, uniform(KvType::F16)).memory().can_shift(),
        "plain values are turned in place"
    );
    let mixed = KvCacheConfig::asymmetric(KvType::F16, KvType::Turbo4);
    assert!(
        context(&model, 256, mixed).memory().can_shift(),
        "V is not moved by a shift"
    );
}

#[test]
fn a_shift_is_refused_where_a_quantized_k_is_not_rotated() {
    let model = synth(&shape("llama", 2, 1, 96));
    refused(&model, uniform(KvType::Q8_0));
    refused(&model, uniform(KvType::Q4_0));
    assert!(context(&model, 256, uniform(KvType::F16)).memory().can_shift());
}

#[test]
fn a_shift_is_refused_where_rope_cannot_compute_in_the_type() {
    refused(&tiny(), uniform(KvType::BF16));
    let mut map = vec![(KvType::Turbo4, KvType::Turbo4); 8];
    assert!(
        context(
            &tiny(),
            256,
            uniform(KvType::F16).with_layers(LayerPolicy::PerLayer(map.clone()))
        )
        .memory()
        .can_shift()
    );
    map[5].0 = KvType::BF16;
    refused(&tiny(), uniform(KvType::F16).with_layers(LayerPolicy::PerLayer(map)));
}

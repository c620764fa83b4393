//! Turbo caches in models that keep more than plain K and V: sliding windows, recurrent layers, biases.

mod support;

use llama_turboquant::engine::synth::SynthParams;
use llama_turboquant::{ContextConfig, KvCacheConfig, KvType, LayerPolicy, Model};
use support::{TURBO, config, decode_all, noise_tokens, relative_error, shape, synth};

fn mean_error(a: &[Vec<f32>], b: &[Vec<f32>]) -> f64 {
    a.iter().zip(b).map(|(a, b)| relative_error(a, b)).sum::<f64>() / a.len() as f64
}

fn uniform(ty: KvType) -> KvCacheConfig {
    KvCacheConfig {
        guard: false,
        ..KvCacheConfig::uniform(ty).with_layers(LayerPolicy::Uniform)
    }
}

/// The logits of `n` tokens, computed 32 at a time.
fn run(model: &Model, kv: KvCacheConfig, n: usize) -> Vec<Vec<f32>> {
    let config = ContextConfig {
        n_batch: 64,
        n_ubatch: 32,
        ..config(1024, kv)
    };
    decode_all(
        &mut model.context(config).expect("a context"),
        &noise_tokens(model, n),
        0,
        0,
        32,
    )
}

fn gemma(window: u32) -> Model {
    synth(&SynthParams {
        layers: 4,
        window,
        ..shape("gemma3", 4, 1, 128)
    })
}

/// More bits, less error, and even two bits are far from noise (unrelated logits have an error of 1.4). Returns the
/// mean errors of the first and of the last 48 tokens for each type.
fn errors_follow_the_bits(model: &Model, n: usize) -> Vec<(KvType, f64, f64)> {
    let base = run(model, uniform(KvType::F16), n);
    let mut last = 0.0;
    [KvType::Q8_0, KvType::Turbo4, KvType::Turbo3, KvType::Turbo2]
        .map(|ty| {
            let logits = run(model, uniform(ty), n);
            let error = mean_error(&base, &logits);
            let (early, late) = (
                mean_error(&base[..48], &logits[..48]),
                mean_error(&base[n - 48..], &logits[n - 48..]),
            );
            println!(
                "{} {ty}: {error:.4}, early {early:.4}, late {late:.4}",
                model.meta().architecture
            );
            assert!(
                error > last && error < 0.7,
                "{} {ty}: {error}, with more bits {last}",
                model.meta().architecture
            );
            last = error;
            (ty, early, late)
        })
        .to_vec()
}

#[test]
fn sliding_windows_work_beyond_the_window() {
    for (ty, early, late) in errors_follow_the_bits(&gemma(64), 400) {
        assert!(late < 2.0 * early, "{ty}: {early} within the window, {late} beyond it");
    }
}

#[test]
fn a_windowed_cache_computes_what_a_full_one_does() {
    let model = gemma(64);
    for ty in [
        KvType::F16,
        KvType::Q8_0,
        KvType::Turbo4,
        KvType::Turbo3,
        KvType::Turbo2,
    ] {
        let windowed = run(&model, uniform(ty), 400);
        let full = run(
            &model,
            KvCacheConfig {
                swa_full: true,
                ..uniform(ty)
            },
            400,
        );
        let error = mean_error(&windowed, &full);
        println!("{ty}: {error:.6}");
        assert!(error < 0.005, "{ty}: {error}");
    }
}

#[test]
fn the_window_is_felt() {
    let (narrow, wide) = (
        run(&gemma(64), uniform(KvType::Turbo4), 300),
        run(&gemma(512), uniform(KvType::Turbo4), 300),
    );
    assert!(
        mean_error(&narrow[..64], &wide[..64]) < 0.005,
        "within the window nothing differs"
    );
    assert!(
        mean_error(&narrow[200..], &wide[200..]) > 0.05,
        "beyond it something is out of sight"
    );
}

#[test]
fn hybrid_models_compress_their_attention_layers_alone() {
    let model = synth(&SynthParams {
        layers: 6,
        ..shape("lfm2", 4, 2, 128)
    });
    let attention: Vec<usize> = model.meta().kv_layers().map(|(number, _)| number).collect();
    assert!(model.meta().hybrid && attention.len() < 6 && !attention.is_empty());
    for ty in TURBO {
        let context = support::context(&model, 256, uniform(ty));
        let layers: Vec<usize> = context.kv().layers.iter().map(|layer| layer.layer).collect();
        assert_eq!(layers, attention);
        assert!(context.kv_bytes().recurrent > 0);
    }
    errors_follow_the_bits(&model, 200);
}

#[test]
fn every_architecture_decodes_as_it_prefills() {
    for arch in ["llama", "qwen2", "qwen3", "gemma3", "lfm2"] {
        let model = synth(&shape(arch, 4, 2, 128));
        let tokens = noise_tokens(&model, 48);
        for ty in TURBO {
            let run = |at_once| decode_all(&mut support::context(&model, 256, uniform(ty)), &tokens, 0, 0, at_once);
            let error = mean_error(&run(48), &run(1));
            println!("{arch} {ty}: {error:.5}");
            assert!(error < 0.02, "{arch} {ty}: {error}");
        }
    }
}

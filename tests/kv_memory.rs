//! The bytes that are planned are the bytes that are allocated. Planning needs no context, so users and the
//! selector rely on it; here every planned number is compared with the engine's own report.

mod support;

use llama_turboquant::engine::synth::SynthParams;
use llama_turboquant::kv::{KvBytes, Layout};
use llama_turboquant::{ContextConfig, KvCacheConfig, KvType, LayerPolicy, Model};
use support::{config, shape, synth, tiny};

fn allocated(model: &Model, config: ContextConfig) -> (KvBytes, u64) {
    let context = model.context(config).expect("a context");
    let engine = context.memory_use().expect("a memory report").kv.values().sum();
    (context.kv_bytes(), engine)
}

/// Creates the context and compares, to the byte.
fn check(what: &str, model: &Model, config: ContextConfig) -> KvBytes {
    let label = format!("{what}: {config:?}");
    let (planned, engine) = allocated(model, config);
    assert_eq!(planned.total(), engine, "{label}: planned {planned:?}");
    planned
}

/// All pairs worth a context of their own: each type with itself, and the mixed pairs that users run.
fn pairs() -> Vec<(KvType, KvType)> {
    let mixed = [
        (KvType::Q8_0, KvType::Turbo4),
        (KvType::Q8_0, KvType::Turbo3),
        (KvType::Turbo4, KvType::Turbo3),
        (KvType::F16, KvType::Turbo2),
        (KvType::Turbo2, KvType::F32),
    ];
    KvType::ALL.into_iter().map(|ty| (ty, ty)).chain(mixed).collect()
}

fn uniform(ty: KvType) -> KvCacheConfig {
    KvCacheConfig::uniform(ty).with_layers(LayerPolicy::Uniform)
}

#[test]
fn every_type_and_pair_takes_the_planned_bytes_in_the_embedded_model() {
    for (k, v) in pairs() {
        check("tiny", &tiny(), config(512, KvCacheConfig::asymmetric(k, v)));
    }
}

#[test]
fn every_layer_policy_takes_the_planned_bytes() {
    let policies = (0..=7).map(|mode| LayerPolicy::mode(mode).expect("a mode")).chain([
        LayerPolicy::Auto,
        LayerPolicy::Uniform,
        LayerPolicy::EdgesHigh {
            first: 1,
            last: 3,
            ty: KvType::Q8_0,
        },
        LayerPolicy::EdgesHigh {
            first: 2,
            last: 0,
            ty: KvType::F16,
        },
        LayerPolicy::PerLayer((0..8).map(|i| (KvType::ALL[i + 4], KvType::ALL[11 - i])).collect()),
    ]);
    let mut sizes = Vec::new();
    for policy in policies {
        for (k, v) in [(KvType::Turbo3, KvType::Turbo2), (KvType::Turbo4, KvType::Turbo4)] {
            let kv = KvCacheConfig::asymmetric(k, v).with_layers(policy.clone());
            sizes.push(check("policy", &tiny(), config(256, kv)).cache());
        }
    }
    sizes.sort_unstable();
    sizes.dedup();
    assert!(sizes.len() >= 12, "the policies differ in what they cost: {sizes:?}");
}

#[test]
fn every_context_length_is_rounded_as_the_engine_rounds_it() {
    for n_ctx in [1, 255, 256, 257, 300, 1000, 1024, 4097, 8192] {
        let planned = check("length", &tiny(), config(n_ctx, uniform(KvType::Turbo4)));
        // 8 layers, K and V, 2 heads of 66 bytes, cells in steps of 256
        assert_eq!(
            planned.cache(),
            u64::from(n_ctx.next_multiple_of(256)) * 8 * 2 * 2 * 66,
            "{n_ctx}"
        );
        assert_eq!(
            planned,
            uniform(KvType::Turbo4).bytes(tiny().meta(), n_ctx).expect("a plan"),
            "{n_ctx}"
        );
    }
}

#[test]
fn sequences_share_one_buffer_or_have_one_each() {
    for n_ctx in [256, 700, 1024, 3000] {
        for n_seq_max in [1, 3, 8] {
            for unified in [false, true] {
                let kv = KvCacheConfig {
                    unified,
                    ..uniform(KvType::Turbo3)
                };
                let config = ContextConfig {
                    n_seq_max,
                    ..config(n_ctx, kv)
                };
                let planned = check("sequences", &tiny(), config.clone());
                let context = tiny().context(config).expect("a context");
                let cells = if unified {
                    context.n_ctx_seq()
                } else {
                    context.n_ctx_seq() * n_seq_max
                };
                assert_eq!(planned.cache(), u64::from(cells) * 8 * 2 * 2 * 50);
            }
        }
    }
}

#[test]
fn every_head_size_and_head_ratio_takes_the_planned_bytes() {
    for (heads, kv_heads, head_dim) in [
        (4, 4, 64),
        (4, 1, 128),
        (8, 1, 64),
        (2, 2, 192),
        (4, 1, 256),
        (2, 1, 96),
        (2, 1, 80),
        (1, 1, 576),
    ] {
        let model = synth(&shape("llama", heads, kv_heads, head_dim));
        for (k, v) in pairs() {
            let kv = KvCacheConfig::asymmetric(k, v);
            let fits = [k, v].iter().all(|ty| ty.layout(head_dim).is_some());
            match model.context(config(256, kv.clone())) {
                Ok(context) => {
                    assert!(fits, "{k}/{v} at {head_dim}");
                    let engine: u64 = context.memory_use().expect("report").kv.values().sum();
                    assert_eq!(
                        context.kv_bytes().total(),
                        engine,
                        "{k}/{v} at {head_dim}, {kv_heads} KV heads"
                    );
                }
                Err(error) => assert!(!fits, "{k}/{v} at {head_dim}: {error}"),
            }
        }
    }
}

#[test]
fn many_layers_with_a_mode_take_the_planned_bytes() {
    let model = synth(&SynthParams {
        layers: 13,
        ..shape("llama", 2, 1, 64)
    });
    for mode in 0..=7 {
        let policy = LayerPolicy::mode(mode).expect("a mode");
        check(
            "13 layers",
            &model,
            config(256, KvCacheConfig::uniform(KvType::Turbo2).with_layers(policy)),
        );
    }
}

#[test]
fn sliding_windows_take_the_planned_bytes() {
    let model = synth(&SynthParams {
        layers: 6,
        window: 64,
        ..shape("gemma3", 4, 1, 128)
    });
    assert!(
        model.meta().swa && model.meta().layers.iter().any(|layer| !layer.swa),
        "both kinds of layer"
    );
    for ty in [KvType::F16, KvType::Q8_0, KvType::Turbo4, KvType::Turbo2] {
        for n_ctx in [256, 1000, 4096] {
            for (n_batch, n_ubatch) in [(2048, 512), (512, 64), (300, 512)] {
                for (n_seq_max, unified) in [(1, false), (3, false), (3, true)] {
                    for swa_full in [false, true] {
                        let kv = KvCacheConfig {
                            unified,
                            swa_full,
                            ..KvCacheConfig::uniform(ty)
                        };
                        let config = ContextConfig {
                            n_batch,
                            n_ubatch,
                            n_seq_max,
                            ..config(n_ctx, kv)
                        };
                        check("gemma3", &model, config);
                    }
                }
            }
        }
    }
    let bytes = |swa_full| {
        check(
            "gemma3",
            &model,
            config(
                4096,
                KvCacheConfig {
                    swa_full,
                    ..uniform(KvType::Turbo4)
                },
            ),
        )
        .cache()
    };
    assert!(bytes(false) * 2 < bytes(true), "a window saves most of the cache");
}

#[test]
fn recurrent_layers_cost_states_that_do_not_grow_with_the_context() {
    let model = synth(&SynthParams {
        layers: 6,
        ..shape("lfm2", 4, 2, 128)
    });
    assert!(
        model.meta().hybrid && model.meta().kv_layers().count() < 6,
        "some layers have no KV cache"
    );
    let mut states = Vec::new();
    for ty in [KvType::F16, KvType::Turbo4, KvType::Turbo3] {
        for n_ctx in [256, 2048] {
            for (n_seq_max, unified) in [(1, false), (3, false), (3, true)] {
                let kv = KvCacheConfig {
                    unified,
                    ..KvCacheConfig::uniform(ty)
                };
                let planned = check(
                    "lfm2",
                    &model,
                    ContextConfig {
                        n_seq_max,
                        ..config(n_ctx, kv)
                    },
                );
                states.push((planned.recurrent, u64::from(n_seq_max)));
            }
        }
    }
    let one = states[0].0;
    assert!(
        one > 0 && states.iter().all(|(bytes, sequences)| *bytes == one * sequences),
        "{states:?}"
    );
}

#[test]
fn mla_latents_take_the_planned_bytes_and_have_no_values() {
    let model = synth(&shape("deepseek2", 4, 1, 64));
    for ty in [KvType::F32, KvType::F16, KvType::Q8_0] {
        if ty.layout(model.meta().layers[0].head_dim_k).is_some() {
            assert_eq!(check("deepseek2", &model, config(512, KvCacheConfig::uniform(ty))).v, 0);
        }
    }
}

#[test]
fn turbo_caches_are_3_88_5_12_and_7_53_times_smaller_than_f16() {
    let f16 = check("ratio", &tiny(), config(4096, uniform(KvType::F16))).cache();
    // 128 values: 256 bytes as f16
    for (ty, bytes, printed) in [
        (KvType::Turbo4, 66, "3.88"),
        (KvType::Turbo3, 50, "5.12"),
        (KvType::Turbo2, 34, "7.53"),
    ] {
        let turbo = check("ratio", &tiny(), config(4096, uniform(ty))).cache();
        assert_eq!(f16 * bytes, turbo * 256, "{ty}");
        assert_eq!(format!("{:.2}", f16 as f64 / turbo as f64), printed, "{ty}");
    }
}

#[test]
fn rotations_cost_one_small_matrix_per_side_of_a_layer() {
    let planned = check("rotation", &tiny(), config(256, uniform(KvType::Turbo4)));
    assert_eq!(planned.rotation, 8 * 2 * 4 * 128 * 128);
    assert_eq!(
        check("rotation", &tiny(), config(256, uniform(KvType::F16))).rotation,
        0
    );
}

#[test]
fn a_layout_counts_rows_in_whole_blocks() {
    let layout: Layout = KvType::Turbo4.layout(128).expect("a layout");
    assert_eq!((layout.row_bytes(128), layout.row_bytes(1024)), (66, 528));
}

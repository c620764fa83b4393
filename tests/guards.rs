//! What cannot work, or would ruin a model, is said before anything is allocated, with what to do instead.

mod support;

use llama_turboquant::engine::synth::SynthParams;
use llama_turboquant::kv::{KvIssue, KvNotice};
use llama_turboquant::{ContextConfig, Error, KvCacheConfig, KvType, LayerPolicy, Model};
use std::time::{Duration, Instant};
use support::{TURBO, config, context, noise_tokens, shape, synth, tiny};

fn refusal(model: &Model, config: ContextConfig) -> Error {
    model.context(config).expect_err("a refusal")
}

#[test]
fn a_head_size_that_a_type_cannot_store_is_named_with_the_types_that_can() {
    let model = synth(&shape("llama", 2, 1, 96));
    for ty in TURBO {
        for kv in [
            KvCacheConfig::asymmetric(ty, KvType::F16),
            KvCacheConfig::asymmetric(KvType::F16, ty),
        ] {
            let error = refusal(&model, config(256, kv.with_layers(LayerPolicy::Uniform)));
            assert!(
                matches!(&error, Error::UnsupportedKv(KvIssue::HeadDim { head_dim: 96, .. })),
                "{error:?}"
            );
            let text = error.to_string();
            for part in [ty.name(), "96", "128 and 64", "f16", "q8_0", "q4_0"] {
                assert!(text.contains(part), "{part} is missing in: {text}");
            }
            let works = text.split("types that work").nth(1).expect("the types that work");
            assert!(!works.contains("turbo"), "{text}");
        }
    }
    context(&model, 256, KvCacheConfig::uniform(KvType::Q8_0));
}

#[test]
fn a_head_size_beyond_q8_blocks_leaves_the_plain_types() {
    let model = synth(&shape("llama", 2, 1, 80));
    let text = refusal(&model, config(256, KvCacheConfig::uniform(KvType::Q8_0))).to_string();
    assert!(text.contains("80") && text.ends_with("f32, f16, bf16"), "{text}");
}

#[test]
fn mla_latents_refuse_turbo_and_take_q8_0() {
    let model = synth(&shape("deepseek2", 4, 1, 64));
    assert!(model.meta().mla);
    for ty in TURBO {
        let error = refusal(&model, config(256, KvCacheConfig::uniform(ty)));
        assert!(matches!(&error, Error::UnsupportedKv(KvIssue::Mla { .. })), "{error:?}");
        let text = error.to_string();
        assert!(
            text.contains("deepseek2") && text.contains("MLA") && text.contains("q8_0"),
            "{text}"
        );
    }
    let mut works = context(&model, 256, KvCacheConfig::uniform(KvType::Q8_0));
    let logits = support::prefill(&mut works, &noise_tokens(&model, 16));
    assert!(logits.iter().all(|x| x.is_finite()));
}

#[test]
fn a_sparse_attention_indexer_refuses_turbo() {
    let mut meta = tiny().meta().clone();
    meta.indexer = true;
    let issue = KvCacheConfig::uniform(KvType::Turbo4)
        .validate(&meta)
        .expect_err("an issue")
        .remove(0);
    assert!(
        matches!(&issue, KvIssue::Indexer { .. }) && issue.to_string().contains("q8_0"),
        "{issue}"
    );
    assert_eq!(KvCacheConfig::uniform(KvType::Q8_0).validate(&meta), Ok(()));
}

#[test]
fn a_device_that_could_not_build_its_kernels_says_why() {
    let refusal = |faults: &[&str]| {
        KvIssue::DeviceFallback {
            device: "MTL0".into(),
            k: KvType::Turbo4,
            v: KvType::Turbo3,
            head_dim: 128,
            works: "f16/f16, q8_0/q8_0".into(),
            faults: faults.iter().map(|&fault| fault.to_owned()).collect(),
        }
        .to_string()
    };
    let broken = refusal(&["the Metal library turbo_vec_128 does not compile: program_source:7:1: error: no"]);
    for part in [
        "MTL0",
        "turbo4/turbo3",
        "turbo_vec_128 does not compile: program_source:7:1: error",
        "f16/f16, q8_0/q8_0",
        "turboquant verify --report",
        "--no-kv-offload",
    ] {
        assert!(broken.contains(part), "{part} is missing in: {broken}");
    }
    assert!(!refusal(&[]).contains("verify"), "nothing is broken there");
}

#[test]
fn qwen2_keys_are_kept_at_q8_0_unless_the_guard_is_off() {
    let model = synth(&shape("qwen2", 4, 2, 128));
    let kv = KvCacheConfig::asymmetric(KvType::Turbo4, KvType::Turbo3);
    let guarded = context(&model, 256, kv.clone());
    assert!(
        guarded
            .kv()
            .layers
            .iter()
            .all(|layer| (layer.k, layer.v) == (KvType::Q8_0, KvType::Turbo3))
    );
    let [notice] = &guarded.kv().notices[..] else {
        panic!("{:?}", guarded.kv().notices)
    };
    assert_eq!(
        *notice,
        KvNotice::KeyGuard {
            architecture: "qwen2".into(),
            asked: KvType::Turbo4
        }
    );
    let text = notice.to_string();
    assert!(
        text.contains("qwen2") && text.contains("turbo4") && text.contains("--no-kv-guard"),
        "{text}"
    );

    let free = context(&model, 256, KvCacheConfig { guard: false, ..kv });
    assert!(free.kv().layers.iter().all(|layer| layer.k == KvType::Turbo4));
    assert_eq!(free.kv().notices, []);
}

#[test]
fn turbo2_values_raise_the_edges_by_default_and_say_so() {
    let default = context(&tiny(), 256, KvCacheConfig::uniform(KvType::Turbo2));
    assert_eq!(default.kv().notices, [KvNotice::DefaultMode { mode: 7 }]);
    let values: Vec<KvType> = default.kv().layers.iter().map(|layer| layer.v).collect();
    let (high, low) = (KvType::Q8_0, KvType::Turbo2);
    assert_eq!(values, [high, high, low, low, low, low, high, high]);
    let text = default.kv().notices[0].to_string();
    assert!(
        text.contains("mode 7") && text.contains("TURBO_LAYER_ADAPTIVE=0"),
        "{text}"
    );

    let uniform = context(
        &tiny(),
        256,
        KvCacheConfig::uniform(KvType::Turbo2).with_layers(LayerPolicy::Uniform),
    );
    assert_eq!(uniform.kv().notices, []);
    let few = context(
        &synth(&shape("llama", 2, 1, 128)),
        256,
        KvCacheConfig::uniform(KvType::Turbo2),
    );
    assert_eq!(few.kv().notices, [], "two layers are too few for a mode");
}

#[test]
fn a_cache_beyond_the_memory_is_refused_at_once_with_the_numbers() {
    let model = tiny();
    let before = Instant::now();
    let error = refusal(&model, config(i32::MAX as u32, KvCacheConfig::uniform(KvType::F16)));
    assert!(
        before.elapsed() < Duration::from_secs(2),
        "refused after {:?}",
        before.elapsed()
    );
    let Error::OutOfMemory { what, need, free } = &error else {
        panic!("{error:?}")
    };
    // 8 layers, K and V, 2 heads of 128 f16 values, rounded up to 2^31 cells
    assert_eq!(*need, (1 << 31) * 8 * 2 * 2 * 256);
    assert!(
        free < need && what.contains("2147483647") && what.contains("f16/f16"),
        "{error}"
    );
    let text = error.to_string();
    assert!(
        text.contains(&need.to_string()) && text.contains(&free.to_string()),
        "{text}"
    );
}

#[test]
fn a_context_beyond_the_engines_limit_is_refused() {
    let text = refusal(&tiny(), config(u32::MAX, KvCacheConfig::uniform(KvType::Turbo2))).to_string();
    assert!(text.contains("4294967295") && text.contains("2147483647"), "{text}");
}

#[test]
fn settings_out_of_range_are_refused_with_their_value() {
    let base = config(256, KvCacheConfig::default());
    let table = [
        (
            ContextConfig {
                n_seq_max: 0,
                ..base.clone()
            },
            "0 sequences",
        ),
        (
            ContextConfig {
                n_seq_max: 257,
                ..base.clone()
            },
            "257 sequences",
        ),
        (
            ContextConfig {
                n_threads: 100_000,
                ..base.clone()
            },
            "100000 threads",
        ),
        (
            ContextConfig {
                n_threads_batch: 513,
                ..base.clone()
            },
            "513 threads",
        ),
        (
            ContextConfig {
                n_batch: 0,
                ..base.clone()
            },
            "n_batch",
        ),
        (ContextConfig { n_ubatch: 0, ..base }, "n_ubatch"),
    ];
    for (config, part) in table {
        let error = refusal(&tiny(), config);
        assert!(
            matches!(error, Error::Invalid(_)) && error.to_string().contains(part),
            "{error:?}"
        );
    }
}

#[test]
fn zeros_mean_the_models_context_and_the_machines_cores() {
    let model = synth(&SynthParams {
        n_ctx: 777,
        ..shape("llama", 2, 1, 64)
    });
    let context = model
        .context(ContextConfig {
            n_ctx: 0,
            ..Default::default()
        })
        .expect("a context");
    assert_eq!(context.config().n_ctx, 777);
    assert_eq!(context.n_ctx(), 1024, "rounded up to 256");
    assert!(context.config().n_threads >= 1 && context.config().n_threads_batch == context.config().n_threads);
}

#[test]
fn a_layer_map_of_another_length_is_refused_with_both_numbers() {
    let map = LayerPolicy::PerLayer(vec![(KvType::F16, KvType::Turbo4); 5]);
    let text = refusal(&tiny(), config(256, KvCacheConfig::default().with_layers(map))).to_string();
    assert!(text.contains("5 entries") && text.contains("8 layers"), "{text}");
}

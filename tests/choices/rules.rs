//! The rule's parts, one at a time.

use super::*;
use llama_turboquant::choose::{CPU, MapCandidate};
use llama_turboquant::kv::{LayerMap, LayerPair};
use llama_turboquant::{Backend, LayerPolicy};

fn pair(k: KvType, v: KvType) -> Wishes {
    Wishes {
        k: Some(k),
        v: Some(v),
        ..Wishes::default()
    }
}

#[track_caller]
fn reason_for(decision: &Decision, name: &str) -> (&'static str, String) {
    let found = decision.rejected.iter().find(|rejected| rejected.name == name);
    let rejected = found.unwrap_or_else(|| panic!("{name} is not among the rejected"));
    (rejected.reason.code, rejected.reason.text.clone())
}

#[track_caller]
fn text_of<'a>(reasons: &'a [llama_turboquant::choose::Reason], code: &str) -> &'a str {
    let found = reasons.iter().find(|reason| reason.code == code);
    &found.unwrap_or_else(|| panic!("no {code} in {reasons:?}")).text
}

// ---- wishes ----

#[test]
fn explicit_types_are_obeyed() {
    let decision = decided(
        &model_27b(),
        &machine("mac-36gb"),
        &pair(KvType::Turbo3, KvType::Turbo2),
    );
    assert_eq!((decision.kv.k, decision.kv.v), (KvType::Turbo3, KvType::Turbo2));
    assert_eq!(reason_for(&decision, "turbo4").0, "asked");
}

#[test]
fn one_explicit_side_leaves_the_other_to_us() {
    let wishes = Wishes {
        k: Some(KvType::Q8_0),
        ..context(32_768)
    };
    let decision = decided(&model_27b(), &machine("mac-36gb"), &wishes);
    assert_eq!(decision.name, "q8_0/turbo4");
    let wishes = Wishes {
        v: Some(KvType::Turbo3),
        ..context(32_768)
    };
    assert_eq!(
        decided(&model_27b(), &machine("mac-36gb"), &wishes).name,
        "turbo4/turbo3"
    );
}

#[test]
fn a_context_that_does_not_fit_becomes_the_longest_that_does_and_says_so() {
    let decision = decided(&model_8b(), &with_memory(6 * GIB), &context(131_072));
    assert!(
        decision.n_ctx < 131_072 && decision.n_ctx.is_multiple_of(256),
        "{}",
        decision.summary()
    );
    let text = text_of(&decision.reasons, "context_shortened");
    assert!(
        text.contains("131072") && text.contains(&decision.n_ctx.to_string()),
        "{text}"
    );
    let longer = Wishes {
        min_ctx: Some(decision.n_ctx + 256),
        ..context(131_072)
    };
    let text = refused(&model_8b(), &with_memory(6 * GIB), &longer);
    assert!(text.contains(&format!("{} tokens", decision.n_ctx)), "{text}");
}

#[test]
fn explicit_types_shorten_the_context_and_do_not_change() {
    let wishes = Wishes {
        n_ctx: Some(131_072),
        ..pair(KvType::F16, KvType::F16)
    };
    let decision = decided(&model_27b(), &with_memory(30 * GIB), &wishes);
    assert_eq!(decision.name, "f16");
    assert!(decision.n_ctx < 131_072);
}

#[test]
fn the_floor_holds_where_memory_is_short() {
    let wishes = Wishes {
        floor: Some(KvType::Turbo4),
        ..context(131_072)
    };
    let decision = decided(&model_8b(), &with_memory(8 * GIB), &wishes);
    assert_eq!(decision.name, "turbo4");
    assert!(decision.n_ctx < 131_072);
    assert_eq!(reason_for(&decision, "turbo3").0, "floor");
}

#[test]
fn a_floor_above_turbo4_is_what_is_paid_for() {
    let wishes = Wishes {
        floor: Some(KvType::Q8_0),
        ..context(32_768)
    };
    assert_eq!(decided(&model_8b(), &with_memory(20 * GIB), &wishes).name, "q8_0");
}

#[test]
fn wishes_that_contradict_each_other_are_both_named() {
    let floor = Wishes {
        floor: Some(KvType::Turbo4),
        ..pair(KvType::Turbo4, KvType::Turbo2)
    };
    let least = Wishes {
        min_ctx: Some(8192),
        ..context(4096)
    };
    let map = Wishes {
        layers: Some(LayerPolicy::PerLayer(vec![(KvType::Turbo4, KvType::Turbo4); 40])),
        ..pair(KvType::F16, KvType::F16)
    };
    let low_map = Wishes {
        layers: Some(LayerPolicy::PerLayer(vec![(KvType::Turbo4, KvType::Turbo2); 40])),
        floor: Some(KvType::Turbo4),
        ..Wishes::default()
    };
    for (wishes, parts) in [
        (floor, ["a floor of turbo4", "V as turbo2"]),
        (least, ["a context of 4096", "a least context of 8192"]),
        (map, ["a layer map of 40 layers", "K as f16"]),
        (low_map, ["a floor of turbo4", "a layer map with V as turbo2"]),
    ] {
        let text = refused(&model_27b(), &machine("mac-64gb"), &wishes);
        assert!(
            parts.iter().all(|part| text.contains(part)) && text.contains("contradict"),
            "{text}"
        );
    }
}

#[test]
fn numbers_out_of_range_are_refused_with_the_range() {
    let slots = |n| Wishes {
        n_slots: Some(n),
        ..Wishes::default()
    };
    let floor = Wishes {
        floor: Some(KvType::Q4_1),
        ..Wishes::default()
    };
    let map = Wishes {
        layers: Some(LayerPolicy::PerLayer(vec![(KvType::Turbo4, KvType::Turbo4); 3])),
        ..Wishes::default()
    };
    for (wishes, part) in [
        (context(0), "0 tokens"),
        (context(u32::MAX), "2147483647"),
        (slots(0), "1 to 256"),
        (slots(257), "1 to 256"),
        (floor, "turbo4"),
        (map, "40 layers"),
    ] {
        let text = refused(&model_27b(), &machine("mac-64gb"), &wishes);
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn more_layers_than_the_model_has_are_all_of_them() {
    let wishes = Wishes {
        gpu_layers: Some(GpuLayers::Count(999)),
        ..context(32_768)
    };
    let decision = decided(&model_27b(), &machine("pc-gpu-24gb"), &wishes);
    assert_eq!(decision.gpu_layers, GpuLayers::Count(999));
    assert_eq!(
        decision.plan.pools.last().map(|pool| pool.share.weights),
        Some(model_27b().weights.total())
    );
}

#[test]
fn layers_that_were_asked_for_are_not_moved() {
    let wishes = Wishes {
        gpu_layers: Some(GpuLayers::Count(10)),
        ..context(32_768)
    };
    let decision = decided(&model_27b(), &machine("pc-gpu-24gb"), &wishes);
    assert_eq!(decision.gpu_layers, GpuLayers::Count(10));
}

#[test]
fn slots_are_four_unless_asked_for() {
    let decision = decided(&model_8b(), &machine("pc-gpu-24gb"), &Wishes::default());
    assert_eq!(decision.n_slots, 4);
    assert!(decision.kv.unified, "slots share all cells");
    let wishes = Wishes {
        n_slots: Some(1),
        ..Wishes::default()
    };
    let decision = decided(&model_8b(), &machine("pc-gpu-24gb"), &wishes);
    assert!(decision.n_slots == 1 && !decision.kv.unified);
}

#[test]
fn slots_that_do_not_fit_are_not_taken() {
    let mut recurrent = model_8b();
    for layer in &mut recurrent.meta.layers {
        layer.recurrent_bytes = GIB / 32; // 1 GiB of state for each slot
    }
    let decision = decided(&recurrent, &with_memory(8 * GIB), &context(4096));
    assert_eq!(decision.n_slots, 1);
}

#[test]
fn a_context_beyond_training_warns_of_rope() {
    let mut short = model_8b();
    short.meta.n_ctx_train = 8192;
    let decision = decided(&short, &machine("mac-36gb"), &context(16_384));
    let text = text_of(&decision.warnings, "rope");
    assert!(text.contains("8192") && text.contains("rope scaling"), "{text}");
    let decision = decided(&short, &machine("mac-36gb"), &Wishes::default());
    assert_eq!(decision.n_ctx, 8192, "never beyond it unasked");
}

#[test]
fn a_model_trained_with_very_long_contexts_gets_128k_unasked() {
    let mut long = model_8b();
    long.meta.n_ctx_train = 1 << 20;
    let decision = decided(&long, &machine("mac-192gb"), &Wishes::default());
    assert_eq!(decision.n_ctx, 131_072);
    assert!(text_of(&decision.reasons, "context").contains("1048576"));
}

// ---- layer maps ----

fn map(types: &[(KvType, KvType)], mean_kl: Option<f64>) -> Wishes {
    let layers = types.iter().map(|&(k, v)| LayerPair { k, v }).collect();
    Wishes {
        map: Some(MapCandidate {
            map: LayerMap { layers },
            mean_kl,
        }),
        ..context(32_768)
    }
}

#[test]
fn a_measured_layer_map_of_equal_size_is_taken() {
    let mut types = vec![(KvType::Turbo4, KvType::Turbo4); 40];
    types[0].0 = KvType::Turbo3;
    types[1].1 = KvType::Turbo3;
    let decision = decided(&model_27b(), &with_memory(26 * GIB), &map(&types, Some(0.0025)));
    assert_eq!(decision.name, "layer map");
    assert_eq!(reason_for(&decision, "turbo4").0, "larger");
}

#[test]
fn a_layer_map_that_was_measured_to_be_worse_is_not_taken() {
    let types = vec![(KvType::Turbo3, KvType::Turbo3); 40];
    let decision = decided(&model_27b(), &with_memory(26 * GIB), &map(&types, Some(0.02)));
    assert_eq!(decision.name, "turbo4");
    assert_eq!(reason_for(&decision, "layer map").0, "worse");
}

#[test]
fn an_explicit_layer_map_is_obeyed() {
    let policy = LayerPolicy::PerLayer(vec![(KvType::Turbo4, KvType::Turbo3); 40]);
    let wishes = Wishes {
        layers: Some(policy.clone()),
        ..context(32_768)
    };
    let decision = decided(&model_27b(), &machine("mac-36gb"), &wishes);
    assert_eq!(decision.kv.layers, policy);
    assert!((decision.bits - 3.625).abs() < 1e-9);
}

#[test]
fn a_layer_adaptive_mode_applies_to_what_is_chosen() {
    let wishes = Wishes {
        layers: Some(LayerPolicy::mode(1).expect("a mode")),
        ..context(32_768)
    };
    let decision = decided(&model_27b(), &machine("mac-36gb"), &wishes);
    assert_eq!(decision.name, "turbo4@1");
    assert!((decision.bits - (8.0 * 8.5 + 32.0 * 4.125) / 40.0).abs() < 1e-9);
}

// ---- models and devices ----

#[test]
fn a_family_with_huge_k_biases_keeps_k_at_q8_0() {
    let qwen2 = of_architecture(model(4.36, 28, 4, 128), "qwen2");
    let decision = decided(&qwen2, &with_memory(8 * GIB), &context(32_768));
    assert_eq!(decision.name, "q8_0/turbo4");
    for name in ["turbo4", "turbo3", "q4_0"] {
        assert_eq!(reason_for(&decision, name).0, "guard", "{name}");
    }
    let text = refused(&qwen2, &with_memory(8 * GIB), &pair(KvType::Turbo4, KvType::Turbo4));
    assert!(text.contains("--no-kv-guard") && text.contains("q8_0"), "{text}");
    let unguarded = Wishes {
        no_guard: true,
        ..pair(KvType::Turbo4, KvType::Turbo4)
    };
    assert_eq!(decided(&qwen2, &with_memory(8 * GIB), &unguarded).name, "turbo4");
}

#[test]
fn a_family_with_sensitive_keys_gets_quantized_ones_only_when_nothing_else_fits() {
    let sensitive = of_architecture(model(11.3, 24, 8, 64), "gpt-oss");
    assert_eq!(
        decided(&sensitive, &with_memory(20 * GIB), &context(32_768)).kv.k,
        KvType::F16
    );
    let wishes = Wishes {
        min_ctx: Some(131_072),
        ..context(131_072)
    };
    let tight = decided(&sensitive, &with_memory(14 * GIB), &wishes);
    assert!(tight.kv.k.is_quantized(), "{}", tight.summary());
    assert!(text_of(&tight.warnings, "sensitive_keys").contains("gpt-oss"));
}

#[test]
fn latents_and_indexers_take_no_turbo_type() {
    let mut latents = model_8b();
    latents.meta.mla = true;
    let mut indexer = model_8b();
    indexer.meta.indexer = true;
    for model in [latents, indexer] {
        let decision = decided(&model, &machine("pc-no-gpu-32gb"), &context(8192));
        assert_eq!(decision.name, "q8_0");
        assert_eq!(reason_for(&decision, "turbo4").0, "model");
    }
}

#[test]
fn a_device_without_turbo_kernels_gets_what_it_runs() {
    let model = model_27b();
    let support = upstream_only(&model, "CUDA0");
    let decide = |wishes: Wishes| choose(&model, &machine("pc-gpu-24gb"), &support, &wishes);
    let decision = decide(context(32_768)).expect("a choice");
    assert_eq!(decision.name, "q8_0");
    let (code, text) = reason_for(&decision, "turbo4");
    assert!(
        code == "device" && text.contains("CUDA0") && text.contains("f16, q8_0, q4_0"),
        "{text}"
    );
    assert!(
        !decision
            .warnings
            .iter()
            .any(|warning| warning.code == "unchecked_device")
    );
    let text = decide(pair(KvType::Turbo4, KvType::Turbo4))
        .expect_err("refused")
        .to_string();
    assert!(
        text.contains("CUDA0 cannot run attention over a turbo4/turbo4 cache"),
        "{text}"
    );
    let in_main_memory = Wishes {
        kv_in_main_memory: true,
        ..context(32_768)
    };
    assert_eq!(decide(in_main_memory).expect("a choice").name, "turbo4");
}

#[test]
fn a_device_that_is_not_here_counts_as_able_and_that_is_said() {
    let decision = decided(&model_27b(), &machine("mac-36gb"), &context(32_768));
    assert!(text_of(&decision.warnings, "unchecked_device").contains("MTL0"));
}

#[test]
fn the_processor_of_this_build_runs_every_turbo_pair_that_can_be_chosen() {
    let model = model_8b();
    let support = Support::of(Backend::init().expect("an engine"), &model.meta).expect("its devices");
    for ty in [
        KvType::Turbo4,
        KvType::Turbo3,
        KvType::Turbo2,
        KvType::Q8_0,
        KvType::F16,
    ] {
        assert_eq!(support.runs(CPU, ty, ty, (128, 128)), Some(true), "{ty}");
    }
    let decision = choose(&model, &machine("pc-no-gpu-32gb"), &support, &context(32_768)).expect("a choice");
    assert_eq!(decision.name, "turbo4");
}

#[test]
fn a_split_on_a_mac_names_the_limit_that_can_be_raised() {
    let decision = decided(&model_27b(), &machine("mac-32gb"), &context(131_072));
    let text = text_of(&decision.warnings, "wired_limit");
    assert!(text.contains("iogpu.wired_limit_mb="), "{text}");
    let card = decided(&model_27b(), &machine("pc-gpu-16gb"), &context(32_768));
    assert!(!card.warnings.iter().any(|warning| warning.code == "wired_limit"));
}

// ---- what is not known, and what does not fit ----

#[test]
fn unknown_memory_is_said_and_the_choice_is_cautious() {
    let mut machine = machine("pc-no-gpu-32gb");
    machine.memory.available = Fact::unknown("no permission");
    let decision = decided(&model_8b(), &machine, &Wishes::default());
    assert_eq!(
        (decision.name.as_str(), decision.n_ctx, decision.n_slots),
        ("turbo4", 8192, 1)
    );
    assert!(text_of(&decision.warnings, "unknown_memory").contains("no permission"));
}

#[test]
fn the_model_that_is_said_to_fit_does_and_a_larger_one_does_not() {
    for machine in [machine("mac-16gb"), machine("pc-gpu-12gb"), machine("container-8gb")] {
        let advice = match decide(&model(60.0, 80, 8, 128), &machine, &Wishes::default()) {
            Err(NoFit::Memory(advice)) => advice,
            other => panic!("{other:?}"),
        };
        let with = |bytes: u64| {
            let mut model = model(60.0, 80, 8, 128);
            model.weights.layers = vec![bytes / 80; 80];
            decide(&model, &machine, &context(advice.context))
        };
        let room = advice.weights_that_fit;
        assert!(with(room / 100 * 98).is_ok(), "{}: {advice}", machine.label);
        assert!(with(room / 100 * 102).is_err(), "{}: {advice}", machine.label);
        let text = advice.to_string();
        assert!(text.contains("too little") && text.contains("Q4_K_M"), "{text}");
        assert!(advice.rejected.iter().any(|rejected| rejected.name == "turbo4"));
    }
}

#[test]
fn memory_facts_of_the_reference_model() {
    let model = model_27b();
    let machine = with_memory(200 * GIB);
    let plan = |ty: KvType, n_ctx| {
        let wishes = Wishes {
            k: Some(ty),
            v: Some(ty),
            n_slots: Some(1),
            ..context(n_ctx)
        };
        decided(&model, &machine, &wishes).plan
    };
    assert_eq!(plan(KvType::F16, 32_768).cache.cache(), 5120 << 20, "160 KiB per token");
    assert_eq!(plan(KvType::F16, 65_536).cache.cache(), 10_240 << 20);
    // 4.125 bits: the 4.25 of the reference's 4-bit type gave 1,360 and 2,720 MiB
    assert_eq!(plan(KvType::Turbo4, 32_768).cache.cache(), 1320 << 20);
    assert_eq!(plan(KvType::Turbo4, 65_536).cache.cache(), 2640 << 20);
    for (ty, n_ctx, gb) in [
        (KvType::F16, 65_536, 26.0),
        (KvType::F16, 131_072, 38.0),
        (KvType::Turbo4, 65_536, 20.5),
        (KvType::Turbo4, 131_072, 23.4),
    ] {
        let total = plan(ty, n_ctx).total() as f64 / GIB as f64;
        assert!(
            (total / gb - 1.0).abs() < 0.06,
            "{ty} at {n_ctx}: {total:.1} GiB, known {gb}"
        );
    }
}

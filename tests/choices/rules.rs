//! What is asked for, and what is left to us.

use super::*;
use llama_turboquant::LayerPolicy;
use llama_turboquant::choose::MapCandidate;
use llama_turboquant::kv::{LayerMap, LayerPair};

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

//! What a model, a device or the memory does not allow.

use super::*;
use llama_turboquant::Backend;
use llama_turboquant::choose::CPU;

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

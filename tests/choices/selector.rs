//! The selector's contract: the behaviour its users rely on.

use super::*;
use llama_turboquant::choose::select::{Level, Request, Selection, select};

fn request(n_ctx: u32) -> Request {
    Request {
        n_ctx,
        prefer: None,
        force_cpu: false,
    }
}

#[track_caller]
fn selected(footprint: &Footprint, machine: &Machine, request: &Request) -> Selection {
    select(footprint, machine, &Support::unknown(), request).unwrap_or_else(|error| panic!("{error}"))
}

/// A model of that many GB in the selector's default shape, on a card of that many.
#[track_caller]
fn on_card(card: u64, model_gb: f64, n_ctx: u32) -> Selection {
    selected(&model(model_gb, 40, 8, 128), &with_card(card * GIB), &request(n_ctx))
}

#[test]
fn a_64_gb_gpu_with_a_14_gb_model_at_32k_gets_turbo4_with_headroom() {
    let selection = on_card(64, 14.0, 32_768);
    assert_eq!((selection.level, selection.quality), (Level::Turbo4, "best"));
    assert!(selection.headroom_gb.is_some_and(|gb| gb > 4.0) && selection.headroom_gb > Some(40.0));
}

#[test]
fn a_16_gb_gpu_with_a_14_gb_model_at_128k_gets_at_most_4_2_bits() {
    assert!(on_card(16, 14.0, 131_072).bits_per_channel <= 4.2);
}

#[test]
fn an_8_gb_gpu_with_a_16_gb_model_at_128k_gets_turbo2_with_a_warning() {
    let selection = on_card(8, 16.0, 131_072);
    assert_eq!(selection.level, Level::Turbo2);
    assert!(
        selection
            .warnings
            .iter()
            .any(|warning| warning.starts_with("OVERCOMMITTED"))
    );
    assert!(selection.headroom_gb < Some(0.0));
    let n: u32 = selection.server_flags["-ngl"]
        .parse()
        .expect("a number of layers that does fit");
    assert!((1..40).contains(&n));
}

#[test]
fn an_18_gb_gpu_with_a_16_gb_model_at_64k_warns() {
    assert!(!on_card(18, 16.0, 65_536).warnings.is_empty());
}

#[test]
fn the_reasoning_names_the_level_and_the_memory() {
    let selection = selected(&model_27b(), &machine("mac-36gb"), &request(32_768));
    assert!(
        selection.reasoning.contains("turbo4") && selection.reasoning.contains("Apple M3"),
        "{}",
        selection.reasoning
    );
    let selection = on_card(64, 14.0, 32_768);
    assert!(selection.reasoning.contains("RTX"), "{}", selection.reasoning);
}

#[test]
fn turbo4_takes_about_four_times_less_than_f16() {
    let selection = on_card(64, 14.0, 32_768);
    assert!(
        (selection.compression_ratio - 3.8788).abs() < 1e-9,
        "{}",
        selection.compression_ratio
    );
    let ratio = selection.parts_gb.kv_as_f16 / selection.parts_gb.kv;
    assert!((3.8..4.0).contains(&ratio), "{ratio}");
    assert_eq!(selection.bits_per_channel, 4.125, "true bits, not advertised ones");
}

#[test]
fn a_longer_context_costs_more_and_more_bits_cost_more() {
    let totals = [8192, 32_768, 131_072].map(|n_ctx| on_card(64, 14.0, n_ctx).total_required_gb);
    assert!(totals[0] < totals[1] && totals[1] < totals[2], "{totals:?}");
    let levels = on_card(64, 14.0, 131_072).levels;
    let kv: Vec<f64> = levels.iter().filter_map(|level| level.kv_gb).collect();
    let bits: Vec<f64> = levels.iter().filter_map(|level| level.bits_per_channel).collect();
    assert!(bits[0] > bits[1] && bits[1] > bits[2] && bits[3] > bits[0], "{bits:?}");
    assert!(kv[0] > kv[1] && kv[1] > kv[2] && kv[3] > kv[0], "{kv:?}");
}

#[test]
fn the_first_level_whose_headroom_is_there_is_taken() {
    // the needs of the levels at 128K, and what the card must have for each
    let levels = on_card(64, 14.0, 131_072).levels;
    for level in levels.iter().filter(|plan| plan.level != Level::Q4_0) {
        let need = level.total_required_gb.expect("a need") + level.level.minimum_headroom_gb();
        let card = |gb: f64| {
            selected(
                &model(14.0, 40, 8, 128),
                &with_card((gb * GIB as f64) as u64),
                &request(131_072),
            )
            .level
        };
        assert_eq!(card(need + 0.01), level.level);
        let less = card(need - 0.01);
        assert!(less > level.level || level.level == Level::Turbo2, "{less}");
    }
}

#[test]
fn headroom_below_2_gb_warns_and_below_0_is_overcommitted() {
    let need = on_card(64, 14.0, 32_768).levels[2]
        .total_required_gb
        .expect("turbo2's need");
    let warnings = |gb: f64| {
        let machine = with_card(((need + gb) * GIB as f64) as u64);
        let selection = selected(&model(14.0, 40, 8, 128), &machine, &request(32_768));
        selection.warnings.join("\n")
    };
    assert!(!warnings(2.1).contains("headroom") && !warnings(2.1).contains("OVERCOMMITTED"));
    assert!(warnings(1.0).contains("only 1.0 GB of headroom"), "{}", warnings(1.0));
    assert!(warnings(-0.5).contains("OVERCOMMITTED: 0.5 GB"), "{}", warnings(-0.5));
}

#[test]
fn nothing_that_does_not_fit_is_q4_0_unless_it_is_preferred() {
    for card in [1, 4, 8, 12] {
        assert_eq!(on_card(card, 16.0, 131_072).level, Level::Turbo2);
    }
    for prefer in Level::ALL {
        let request = Request {
            prefer: Some(prefer),
            ..request(131_072)
        };
        let selection = selected(&model(16.0, 40, 8, 128), &with_card(8 * GIB), &request);
        assert_eq!(selection.level, prefer);
        assert!(
            selection.reasoning.contains("It was asked for"),
            "{}",
            selection.reasoning
        );
    }
}

#[test]
fn the_pool_is_what_metal_lets_a_process_use_on_apple_silicon() {
    let selection = selected(&model_27b(), &machine("mac-36gb"), &request(32_768));
    assert_eq!(selection.available_gb, Some(27.0));
    assert!(selection.hardware.is_apple_silicon);
    assert_eq!(selection.hardware.total_memory_gb, Some(36.0));
    assert_eq!(selection.hardware.gpu_memory_gb, Some(27.0));
}

#[test]
fn without_a_device_or_with_force_cpu_the_pool_is_main_memory() {
    let selection = selected(&model_8b(), &machine("pc-no-gpu-32gb"), &request(32_768));
    assert_eq!(selection.available_gb, Some(28.0));
    assert!(!selection.server_flags.contains_key("-ngl"));
    let forced = Request {
        force_cpu: true,
        ..request(32_768)
    };
    let selection = selected(&model_8b(), &machine("pc-gpu-8gb"), &forced);
    assert_eq!(
        (selection.available_gb, selection.server_flags["-ngl"].as_str()),
        (Some(28.0), "0")
    );
}

#[test]
fn several_cards_are_one_pool_and_all_listed() {
    let selection = selected(&model(39.6, 80, 8, 128), &machine("pc-two-gpus"), &request(32_768));
    assert_eq!(selection.available_gb, Some(45.5));
    assert_eq!(selection.hardware.gpus.len(), 2);
}

#[test]
fn memory_that_cannot_be_read_is_stated_and_no_number_is_made_up() {
    let mut machine = machine("pc-no-gpu-32gb");
    machine.memory.available = Fact::unknown("no permission");
    let selection = selected(&model_8b(), &machine, &request(32_768));
    assert_eq!((selection.available_gb, selection.headroom_gb), (None, None));
    assert!(
        selection.warnings[0].contains("no permission"),
        "{:?}",
        selection.warnings
    );
    assert_eq!(selection.hardware.unknown["available_memory_gb"], "no permission");
}

#[test]
fn the_environment_and_flags_are_those_of_the_level() {
    let selection = selected(&model_27b(), &machine("mac-36gb"), &request(65_536));
    assert_eq!(selection.env_vars["TURBO_LAYER_ADAPTIVE"], "0");
    let flags: Vec<(&str, &str)> = selection
        .server_flags
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    assert_eq!(flags, [("-c", "65536"), ("-ctk", "turbo4"), ("-ctv", "turbo4")]);
    let turbo2 = on_card(8, 16.0, 131_072);
    assert_eq!(
        turbo2.env_vars["TURBO_LAYER_ADAPTIVE"], "7",
        "what turbo2 means by itself"
    );
    assert!((turbo2.bits_per_channel - (2.125 + (4.0 * 8.5 + 36.0 * 2.125) / 40.0) / 2.0).abs() < 1e-3);
}

#[test]
fn turbo2_of_a_model_of_few_layers_is_uniform_because_mode_7_would_take_more_than_turbo3() {
    let selection = selected(&model(16.0, 8, 8, 128), &with_card(8 * GIB), &request(131_072));
    assert_eq!(
        (selection.level, selection.env_vars["TURBO_LAYER_ADAPTIVE"].as_str()),
        (Level::Turbo2, "0")
    );
    assert_eq!(selection.bits_per_channel, 2.125);
}

#[test]
fn q4_0_is_for_models_and_devices_that_can_have_no_turbo_type() {
    let odd_heads = model(2.23, 32, 32, 96);
    let selection = selected(&odd_heads, &machine("mac-36gb"), &request(8192));
    assert_eq!((selection.level, selection.quality), (Level::Q4_0, "fast"));
    assert!(
        selection.levels[0]
            .unsupported
            .as_ref()
            .is_some_and(|why| why.contains("96"))
    );
    let model = model_8b();
    let support = upstream_only(&model, "CUDA0");
    let selection = select(&model, &machine("pc-gpu-24gb"), &support, &request(8192)).expect("q4_0");
    assert_eq!(selection.level, Level::Q4_0);
    let preferred = Request {
        prefer: Some(Level::Turbo4),
        ..request(8192)
    };
    let error = select(&model, &machine("pc-gpu-24gb"), &support, &preferred).expect_err("refused");
    assert!(error.to_string().contains("CUDA0 cannot run"), "{error}");
}

#[test]
fn a_family_with_huge_k_biases_keeps_k_at_q8_0_and_says_so() {
    let qwen2 = of_architecture(model(4.36, 28, 4, 128), "qwen2");
    let selection = selected(&qwen2, &machine("mac-36gb"), &request(32_768));
    assert_eq!(selection.server_flags["-ctk"], "q8_0");
    assert_eq!(selection.bits_per_channel, 6.3125);
    assert!(
        selection.warnings.iter().any(|warning| warning.contains("q8_0")),
        "{:?}",
        selection.warnings
    );
}

#[test]
fn the_longest_context_keeps_the_headroom_and_the_next_does_not() {
    let selection = selected(&model_27b(), &with_card(24 * GIB), &request(32_768));
    let longest = selection.longest_context.expect("a context");
    let level_at = |n_ctx| selected(&model_27b(), &with_card(24 * GIB), &request(n_ctx)).level;
    assert_eq!(
        (level_at(longest), level_at(longest + 256)),
        (Level::Turbo4, Level::Turbo3)
    );
}

#[test]
fn a_context_of_nothing_or_beyond_the_engine_is_refused() {
    for n_ctx in [0, 1 << 31, u32::MAX] {
        let error =
            select(&model_8b(), &machine("mac-36gb"), &Support::unknown(), &request(n_ctx)).expect_err("refused");
        assert!(error.to_string().contains("2147483647"), "{error}");
    }
}

//! The type table of this crate is the engine's: ids, names, blocks, bytes.

mod support;

use llama_turboquant::engine::codec::{self, GgmlType};
use llama_turboquant::engine::probe;
use llama_turboquant::{Backend, KvType};

#[test]
fn every_layout_is_the_engines() {
    Backend::init().expect("the engine starts");
    for ty in KvType::ALL {
        let layouts: Vec<_> = ty.layouts().collect();
        assert!(!layouts.is_empty(), "{ty} has no layout");
        for layout in layouts {
            let engine = GgmlType::named(layout.name).unwrap_or_else(|error| panic!("{ty}: {error}"));
            let (block, bytes) = (engine.block() as u32, engine.block_bytes() as u32);
            assert_eq!(
                (layout.id, layout.block, layout.bytes),
                (engine.id(), block, bytes),
                "{}",
                layout.name
            );
        }
    }
}

#[test]
fn every_layout_stores_what_the_engine_writes() {
    Backend::init().expect("the engine starts");
    for layout in KvType::ALL.into_iter().flat_map(KvType::layouts) {
        let ty = GgmlType::named(layout.name).expect("a type");
        let row: Vec<f32> = (0..256).map(|i| (i as f32 * 0.37).sin()).collect();
        let packed = probe::quantize(ty, &row).expect("quantize");
        assert_eq!(packed.len() as u64, layout.row_bytes(256), "{}", layout.name);
        assert_eq!(
            probe::dequantize(ty, &packed).expect("dequantize").len(),
            256,
            "{}",
            layout.name
        );
    }
}

#[test]
fn the_turbo_rows_are_those_of_the_engines_registry() {
    Backend::init().expect("the engine starts");
    let engine = codec::types().expect("the registry");
    let ours: Vec<_> = support::TURBO.into_iter().flat_map(KvType::layouts).collect();
    assert_eq!(ours.len(), engine.len());
    for (ours, engine) in ours.iter().zip(&engine) {
        assert_eq!(
            (ours.id, ours.name, ours.family, ours.bits, ours.block, ours.bytes),
            (
                engine.id,
                engine.name.as_str(),
                engine.family.as_str(),
                engine.bits,
                engine.block as u32,
                engine.bytes as u32
            )
        );
    }
}

#[test]
fn turbo_ids_are_clear_of_upstreams_and_fit_one_signed_byte() {
    for layout in support::TURBO.into_iter().flat_map(KvType::layouts) {
        assert!((100..128).contains(&layout.id), "{layout:?}");
        assert!(GgmlType::from_id(99).is_none(), "the ids below ours are reserved");
    }
}

#[test]
fn unknown_ids_and_names_are_no_types() {
    for id in [-1, 4, 44, 99, 106, 1000, i32::MIN, i32::MAX] {
        assert!(GgmlType::from_id(id).is_none(), "{id}");
    }
    assert!(GgmlType::named("turbo5").unwrap_err().to_string().contains("turbo5"));
}

#[test]
fn the_help_text_of_a_wrong_name_lists_every_type() {
    let message = "q3_k".parse::<KvType>().unwrap_err().to_string();
    assert!(message.contains("q3_k"), "{message}");
    for ty in KvType::ALL {
        assert!(message.contains(ty.name()), "{ty} is missing in: {message}");
    }
}

#[test]
fn names_are_read_in_any_case_and_survive_json() {
    for ty in KvType::ALL {
        assert_eq!(ty.name().to_uppercase().parse(), Ok(ty));
        let json = serde_json::to_string(&ty).expect("JSON");
        assert_eq!(json, format!("\"{ty}\""));
        assert_eq!(serde_json::from_str::<KvType>(&json).expect("a type"), ty);
    }
}

#[test]
fn types_are_listed_from_most_to_fewest_bits() {
    assert!(KvType::ALL.is_sorted_by(|a, b| a.bits_per_value() >= b.bits_per_value()));
}

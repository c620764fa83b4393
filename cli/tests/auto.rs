//! What `serve` and `run` make of options that leave something open.

use clap::Parser;
use llama_turboquant::choose::Decision;
use llama_turboquant::machine::{Fact, Machine};
use llama_turboquant::{GpuLayers, KvType};
use llama_turboquant_cli::args::{Args, Command};
use llama_turboquant_cli::auto::{Auto, Refused};
use llama_turboquant_cli::settings::{CacheType, ModelSettings};

const MIB: u64 = 1 << 20;

/// What `serve` with these options and the embedded model starts from.
fn settings(options: &str) -> ModelSettings {
    let line = ["turboquant", "serve"].into_iter().chain(options.split_whitespace());
    match Args::parse_from(line).command {
        Command::Serve(args) => ModelSettings::for_slots(&args.model, args.serving.parallel).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// A PC without a card that has so much memory left.
fn with_free(bytes: u64) -> Machine {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/data/machines/pc-no-gpu-32gb.json"
    );
    let mut machine = Machine::read(path).unwrap();
    machine.memory.available = Fact::Known(bytes);
    machine
}

fn settle(options: &str, machine: &Machine, whole: bool) -> Result<(ModelSettings, Option<Decision>), Refused> {
    let mut settings = settings(options);
    let decision = Auto::open(&settings, 0)
        .unwrap()
        .settle(&mut settings, machine, whole)?;
    Ok((settings, decision))
}

fn types(settings: &ModelSettings) -> (CacheType, CacheType) {
    (settings.k, settings.v)
}

#[test]
fn what_is_left_open_is_filled_in() {
    let (settings, decision) = settle("", &with_free(8 << 30), false).unwrap();
    assert_eq!(
        types(&settings),
        (CacheType::Fixed(KvType::Turbo4), CacheType::Fixed(KvType::Turbo4))
    );
    let context = &settings.context;
    assert_eq!((context.n_ctx, context.n_seq_max, context.kv.unified), (8192, 4, true));
    let decision = decision.expect("something was open");
    assert!(
        decision.plan.exact && decision.plan.fits(),
        "{}",
        decision.plan.describe()
    );
    assert!(!decision.reasons.is_empty());
}

#[test]
fn what_is_said_stays() {
    let options = "--cache-type-k q8_0 --cache-type-v turbo3 -c 512 --parallel 2";
    let (settings, decision) = settle(options, &with_free(8 << 30), false).unwrap();
    assert!(decision.is_none(), "nothing is open");
    assert_eq!((settings.context.n_ctx, settings.context.n_seq_max), (512, 2));
    let (settings, _) = settle("--cache-type-k q8_0", &with_free(8 << 30), false).unwrap();
    assert_eq!(settings.k, CacheType::Fixed(KvType::Q8_0));
    let (settings, _) = settle("--gpu-layers 3", &with_free(8 << 30), false).unwrap();
    assert_eq!(settings.engine.gpu_layers, GpuLayers::Count(3));
    let (settings, _) = settle("-c 0 --parallel 1", &with_free(8 << 30), false).unwrap();
    assert_eq!(settings.context.n_ctx, 8192, "0 is what the model was trained with");
}

#[test]
fn where_memory_is_short_the_context_is_and_that_is_said() {
    let enough = settle("", &with_free(8 << 30), false).unwrap().1.unwrap();
    let free = enough.plan.total() + enough.plan.margin - 8 * MIB;
    let (settings, decision) = settle("", &with_free(free), false).unwrap();
    let decision = decision.unwrap();
    assert!(
        settings.context.n_ctx < 8192 || decision.name != "turbo4",
        "{decision:?}"
    );
    assert!(decision.plan.fits());
    // beside other models a server does not make do with less than the usual context
    let tight = with_free(free - 6 * MIB);
    if let Ok((settings, _)) = settle("", &tight, true) {
        assert_eq!(settings.context.n_ctx, 8192);
    }
}

#[test]
fn what_fits_nowhere_is_refused_with_the_numbers() {
    let refused = settle("", &with_free(20 * MIB), false).unwrap_err();
    let text = refused.to_string();
    for part in ["does not fit", "20.0 MiB", "too little"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let floor = settle("--kv-floor turbo4 --cache-type-v turbo2", &with_free(8 << 30), false).unwrap_err();
    assert!(floor.to_string().contains("contradict"), "{floor}");
    let whole = settle("--fit off", &with_free(72 * MIB), false);
    assert!(
        matches!(whole, Err(Refused::NoFit(_))),
        "no shorter context than it was trained with: {whole:?}"
    );
    let least = settle("-c 1048576 --fit-ctx 1048576", &with_free(512 * MIB), false).unwrap_err();
    assert!(matches!(least, Refused::NoFit(_)), "{least}");
}

#[test]
fn memory_that_is_kept_for_others_is_not_taken() {
    let (_, decision) = settle("--fit-target 2048", &with_free(8 << 30), false).unwrap();
    assert_eq!(decision.unwrap().plan.margin, 2048 * MIB);
    assert!(settle("--fit-target 8192", &with_free(8 << 30), false).is_err());
}

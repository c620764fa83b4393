//! What is planned is what the engine allocates, and what a process then occupies: within 2 %, on every shape.
//! What a process occupies is its own, so each measurement of it runs in one.

mod support;

use llama_turboquant::engine::synth::SynthParams;
use llama_turboquant::kv::LayerPolicy;
use llama_turboquant::machine::{Machine, Pool};
use llama_turboquant::plan::{Allocated, Footprint, MemoryPlan, Setup};
use llama_turboquant::{GpuLayers, KvCacheConfig, KvType, Model};
use std::path::{Path, PathBuf};
use support::child::{is_child, value};
use support::{scratch, shape, tiny_path};

/// Every architecture that `model synth` writes: full attention, biased keys, normed keys, sliding windows, recurrent layers, MLA.
const SHAPES: [(&str, u32, u32, u32); 6] = [
    ("llama", 4, 2, 64),
    ("qwen2", 4, 2, 64),
    ("qwen3", 4, 2, 128),
    ("gemma3", 4, 2, 128),
    ("lfm2", 4, 2, 128),
    ("deepseek2", 4, 1, 64),
];

fn synth_file(arch: &str, layers: u32) -> PathBuf {
    let (_, heads, kv_heads, head_dim) = *SHAPES.iter().find(|(name, ..)| *name == arch).expect("a shape");
    let path = scratch(arch);
    let params = SynthParams {
        layers,
        ..shape(arch, heads, kv_heads, head_dim)
    };
    params.write(&path).expect("a synthetic model");
    path
}

fn setup(k: KvType, v: KvType, n_ctx: u32, n_slots: u32, unified: bool) -> Setup {
    Setup {
        n_ctx,
        n_slots,
        n_outputs: n_slots,
        kv: KvCacheConfig {
            unified,
            guard: false,
            ..KvCacheConfig::asymmetric(k, v).with_layers(LayerPolicy::Uniform)
        },
        gpu_layers: GpuLayers::Count(0),
        ..Setup::default()
    }
}

/// The machine at hand, as the planner sees it.
fn here() -> Machine {
    Machine::detect().expect("facts")
}

fn plan(path: &Path, setup: &Setup) -> Option<MemoryPlan> {
    let (mut footprint, model) = Footprint::open(path, setup.gpu_layers).expect("a footprint");
    setup.kv.resolve(model.meta()).ok()?;
    footprint.learn(&model, setup).expect("the engine's plan");
    Some(MemoryPlan::new(&footprint, setup, &here()).expect("a plan"))
}

/// How far `planned` is from `measured`, in percent.
fn off(planned: u64, measured: u64) -> f64 {
    (planned as f64 / measured as f64 - 1.0) * 100.0
}

#[test]
fn every_shape_allocates_what_was_planned_within_2_percent() {
    let mut files: Vec<PathBuf> = SHAPES.iter().map(|(arch, ..)| synth_file(arch, 4)).collect();
    files.push(tiny_path());
    let mut compared = 0;
    for path in &files {
        let model = Model::load(path).expect("a model");
        for (k, v) in [
            (KvType::F16, KvType::F16),
            (KvType::Q8_0, KvType::Q8_0),
            (KvType::Turbo4, KvType::Turbo4),
            (KvType::Q8_0, KvType::Turbo2),
        ] {
            for (n_ctx, n_slots, unified) in [(256, 1, false), (4096, 1, false), (5000, 3, false), (8192, 4, true)] {
                let setup = setup(k, v, n_ctx, n_slots, unified);
                let Some(plan) = plan(path, &setup) else { continue };
                let context = llama_turboquant::ContextConfig {
                    n_ctx,
                    n_seq_max: n_slots,
                    kv: setup.kv.clone(),
                    ..Default::default()
                };
                let used = model
                    .context(context)
                    .expect("a context")
                    .memory_use()
                    .expect("a report");
                let sum = |pick: fn(&llama_turboquant::plan::Share) -> u64| {
                    plan.pools.iter().map(|p| pick(&p.share)).sum::<u64>()
                };
                let label = format!("{} {k}/{v} {n_ctx} in {n_slots}", path.display());
                let (weights, kv): (u64, u64) = (used.model.values().sum(), used.kv.values().sum());
                assert!(
                    off(sum(|s| s.weights), weights).abs() < 2.0,
                    "{label}: weights {plan:?} {used:?}"
                );
                assert_eq!(sum(|s| s.kv + s.recurrent), kv, "{label}");
                assert!(plan.exact, "{label}");
                compared += 1;
            }
        }
    }
    assert!(compared > 90, "{compared} comparisons");
}

/// The child of [`a_process_occupies_what_was_planned_within_2_percent`].
fn measure_here() {
    let case = std::env::var("TURBOQUANT_TEST_CASE").expect("a case");
    let mut parts = case.split(' ');
    let mut next = || parts.next().expect("a part");
    let path = match next() {
        "tiny" => tiny_path(),
        arch => synth_file(arch, 8),
    };
    let (k, v) = (next().parse().expect("a type"), next().parse().expect("a type"));
    let (n_ctx, n_slots) = (next().parse().expect("a context"), next().parse().expect("slots"));
    let setup = setup(k, v, n_ctx, n_slots, n_slots > 1);
    let plan = plan(&path, &setup).expect("a plan");
    let model = Model::builder(&path)
        .gpu_layers(setup.gpu_layers)
        .load()
        .expect("a model");
    let measured = Allocated::measure(&model, &setup).expect("a context");
    println!("share={:?}", plan.pools[0].share);
    println!("measured={measured:?}");
    println!("planned={}", plan.taken(Pool::Main));
    println!("peak={}", measured.peak_resident.expect("Linux tells"));
}

#[test]
#[cfg(target_os = "linux")]
fn a_process_occupies_what_was_planned_within_2_percent() {
    const NAME: &str = "a_process_occupies_what_was_planned_within_2_percent";
    if is_child(NAME) {
        return measure_here();
    }
    let mut wrong = Vec::new();
    for case in [
        "tiny turbo4 turbo4 4096 1",
        "tiny f16 f16 16384 4",
        "llama q8_0 turbo2 8192 1",
        "qwen3 turbo3 turbo3 8192 1",
        "gemma3 turbo4 turbo4 16384 1",
        "lfm2 f16 f16 8192 2",
        "deepseek2 f16 f16 4096 1",
    ] {
        let output = support::child::rerun(NAME, &[("TURBOQUANT_TEST_CASE", case)]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let number = |key: &str| -> u64 {
            let line = text.lines().find_map(|line| line.split_once(&format!("{key}=")));
            line.and_then(|(_, value)| value.parse().ok())
                .unwrap_or_else(|| panic!("{case}: {text}"))
        };
        let (planned, peak) = (number("planned"), number("peak"));
        println!(
            "{case}: planned {planned} peak {peak} off {:+.2} %\n{text}",
            off(planned, peak)
        );
        if off(planned, peak).abs() > 2.0 {
            wrong.push(format!(
                "{case}: planned {planned}, occupied {peak}, off {:+.2} %",
                off(planned, peak)
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let _ = value;
}

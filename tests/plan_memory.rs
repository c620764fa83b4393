//! What is planned is what the engine allocates, on every shape, and what a process then occupies. What a process occupies is its
//! own, so each measurement of it runs in one.

mod support;

use llama_turboquant::engine::synth::SynthParams;
use llama_turboquant::kv::LayerPolicy;
use llama_turboquant::machine::Machine;
use llama_turboquant::plan::{Allocated, Footprint, MemoryPlan, Setup};
use llama_turboquant::{GpuLayers, KvCacheConfig, KvType, Model};
use std::path::{Path, PathBuf};
use support::child::is_child;
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
fn scratch_buffers_of_the_engines_plan_are_those_it_allocates_and_no_straight_line() {
    let dry = Model::builder(tiny_path()).metadata_only(true).load().expect("a model");
    let real = Model::load(tiny_path()).expect("a model");
    let mut sizes = Vec::new();
    for n_ctx in [512, 2048, 4096, 8192] {
        let config = llama_turboquant::ContextConfig {
            n_ctx,
            kv: KvCacheConfig::uniform(KvType::Turbo4),
            ..Default::default()
        };
        let planned = dry.plan_context(&config).expect("a plan").buffers;
        let used = real.context(config).expect("a context").memory_use().expect("a report");
        assert_eq!((&planned.compute, &planned.kv), (&used.compute, &used.kv), "{n_ctx}");
        sizes.push(planned.compute.values().sum::<u64>());
    }
    assert!(
        sizes[3] < sizes[2] && sizes[2] > sizes[1],
        "the allocator packs better at 8192 cells than at 4096: {sizes:?}"
    );
}

#[test]
fn a_model_without_weights_plans_and_does_not_compute() {
    let dry = Model::builder(tiny_path()).metadata_only(true).load().expect("a model");
    let refused = dry
        .context(llama_turboquant::ContextConfig::default())
        .expect_err("no weights");
    assert!(refused.to_string().contains("without its weights"), "{refused}");
    let real = Model::load(tiny_path()).expect("a model");
    let refused = real
        .plan_context(&llama_turboquant::ContextConfig::default())
        .expect_err("weights");
    assert!(refused.to_string().contains("loaded without its weights"), "{refused}");
}

#[test]
fn every_shape_allocates_what_was_planned() {
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

/// A model of 130 MB: the program's own pages are a small part of what it takes.
fn medium_file(arch: &str) -> PathBuf {
    let path = scratch(arch);
    let params = SynthParams {
        layers: 5,
        embd: 1024,
        ff: 2048,
        vocab: 8192,
        ..shape(arch, 8, 2, 128)
    };
    params.write(&path).expect("a synthetic model");
    path
}

/// The child of [`a_process_occupies_what_was_planned_but_for_scratch_it_never_touches`].
fn measure_here() {
    let case = std::env::var("TURBOQUANT_TEST_CASE").expect("a case");
    let mut parts = case.split(' ');
    let mut next = || parts.next().expect("a part");
    let path = match next() {
        "tiny" => tiny_path(),
        arch => match arch.strip_prefix("medium-") {
            Some(arch) => medium_file(arch),
            None => synth_file(arch, 8),
        },
    };
    let (k, v) = (next().parse().expect("a type"), next().parse().expect("a type"));
    let (n_ctx, n_slots) = (next().parse().expect("a context"), next().parse().expect("slots"));
    let setup = Setup {
        n_outputs: Setup::default().n_ubatch,
        // several threads would wait for each other at every node of the graph, which takes long where other tests run
        n_threads: 1,
        ..setup(k, v, n_ctx, n_slots, n_slots > 1)
    };
    let plan = plan(&path, &setup).expect("a plan");
    let model = Model::builder(&path)
        .gpu_layers(setup.gpu_layers)
        .load()
        .expect("a model");
    let measured = Allocated::measure(&model, &setup).expect("a context");
    println!("scratch={}", plan.pools[0].share.compute);
    if path != tiny_path() {
        std::fs::remove_file(&path).expect("the file goes");
    }
    println!("planned={}", plan.peak_resident());
    println!("peak={}", measured.peak_resident.expect("Linux tells"));
}

#[test]
#[cfg(target_os = "linux")]
fn a_process_occupies_what_was_planned_but_for_scratch_it_never_touches() {
    const NAME: &str = "a_process_occupies_what_was_planned_but_for_scratch_it_never_touches";
    if is_child(NAME) {
        return measure_here();
    }
    let mut wrong = Vec::new();
    for case in [
        "tiny turbo4 turbo4 1024 1",
        "tiny f16 f16 2048 4",
        "llama q8_0 turbo2 1024 1",
        "gemma3 turbo3 turbo3 1024 1",
        "lfm2 f16 f16 1024 2",
        "deepseek2 f16 f16 1024 1",
        "medium-qwen3 q8_0 turbo4 512 1",
    ] {
        let output = support::child::rerun(NAME, &[("TURBOQUANT_TEST_CASE", case)]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let number = |key: &str| -> u64 {
            let line = text.lines().find_map(|line| line.split_once(&format!("{key}=")));
            line.and_then(|(_, value)| value.parse().ok())
                .unwrap_or_else(|| panic!("{case}: {text}"))
        };
        let (planned, peak) = (number("planned"), number("peak"));
        println!("{case}: planned {planned} peak {peak} off {:+.2} %", off(planned, peak));
        // the engine reserves scratch that no graph of the run writes to: up to a quarter was seen
        let (planned, peak, scratch) = (planned as f64, peak as f64, number("scratch") as f64);
        if planned < 0.98 * peak || planned > 1.02 * peak + scratch / 4.0 {
            wrong.push(format!("{case}: planned {planned}, occupied {peak}, scratch {scratch}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

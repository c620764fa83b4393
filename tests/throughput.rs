//! Timed runs on the engine: what is opened, kept and taken back between them.

#[path = "support/tiny.rs"]
mod tiny;

use llama_turboquant::measure::{Contexts, Executor, Host, Order, Test, ThroughputOptions, Workload, throughput};
use llama_turboquant::{CancelToken, Error, KvCacheConfig, KvType, Model};
use std::path::Path;

fn host() -> Host {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny-q8_0.gguf");
    Host::load(Model::builder(path), true).expect("the embedded model loads")
}

fn workload(n_prompt: u32, n_gen: u32, n_depth: u32, ty: KvType) -> Workload {
    Workload {
        test: Test {
            n_prompt,
            n_gen,
            n_depth,
        },
        kv: KvCacheConfig::uniform(ty),
        n_batch: 64,
        n_ubatch: 64,
        n_threads: 1,
    }
}

fn options(runs: usize) -> ThroughputOptions {
    let mut options = ThroughputOptions::default();
    options.runs = runs;
    options
}

#[test]
fn each_arm_gets_its_runs_times_and_facts() {
    let workloads = [workload(100, 3, 70, KvType::F16), workload(100, 3, 70, KvType::Turbo4)];
    let mut steps = Vec::new();
    let found = throughput(&host(), &workloads, &options(2), |step| {
        steps.push((step.arm, step.runs))
    });
    assert!(found.stopped.is_none(), "{:?}", found.stopped);
    assert_eq!(found.order, Order::Interleaved);
    assert_eq!(steps, [(0, 0), (1, 0), (0, 1), (1, 1), (1, 2), (0, 2)]);
    for (arm, speed) in &found.arms {
        assert_eq!((speed.runs.len(), speed.test), (2, workloads[*arm].test));
        for run in &speed.runs {
            assert_eq!(run.tokens.len(), 3);
            assert!(run.first_token.expect("a prompt was timed") >= run.prompt && run.elapsed() > run.prompt);
        }
        let facts = &speed.facts;
        let kernels = if *arm == 0 { "CPU llama.cpp" } else { "CPU turboquant/" };
        assert!(
            facts.attention.fused && facts.attention.to_string().starts_with(kernels) && facts.n_threads == 1,
            "{facts:?}"
        );
        let (peak, predicted) = (facts.rss_peak.expect("peak"), facts.rss_predicted.expect("predicted"));
        assert!(predicted > facts.kv.total() && peak > facts.kv.total());
        // a test program's own allocations are of the model's order of magnitude: this only finds wrong units
        assert!(
            peak < 20 * predicted && predicted < 20 * peak,
            "{peak} against {predicted}"
        );
    }
    let per_token = |arm: usize| found.arms[arm].1.facts.kv_bytes_per_token;
    // 8192 is what f16 takes in a 7.7M-parameter model of 8 layers with 256 values a side
    assert_eq!(per_token(0), 8192);
    assert!(per_token(0) > 3 * per_token(1));
}

#[test]
fn a_second_run_sees_the_depth_and_not_the_run_before() {
    let workloads = [workload(10, 2, 20, KvType::F16)];
    let host = host();
    let mut contexts = Contexts::new(&host, &workloads, &options(1));
    contexts.open(0).expect("open");
    // the context has cells for one run only (padded to 256): more runs than fit would fail if they piled up
    for _ in 0..30 {
        contexts.run(0).expect("run");
    }
    contexts.close(0);
    assert!(
        matches!(contexts.run(0), Err(Error::Invalid(_))),
        "a closed arm does not run"
    );
}

#[test]
fn what_the_model_cannot_do_is_refused_with_the_numbers() {
    let model = tiny::model();
    let check = |workload: Workload| workload.check(model.meta()).unwrap_err().to_string();
    let message = check(workload(512, 0, 8000, KvType::F16));
    assert!(
        message.contains("8512") && message.contains("8192") && message.contains("7680"),
        "{message}"
    );
    assert!(check(workload(0, 0, 10, KvType::F16)).contains("at least one token"));
    let no_batch = Workload {
        n_batch: 0,
        ..workload(1, 0, 0, KvType::F16)
    };
    assert!(check(no_batch).contains("at least 1"));
    assert!(workload(u32::MAX, 1, 1, KvType::F16).check(model.meta()).is_err());
}

#[test]
fn cancelling_keeps_the_runs_that_were_finished() {
    let cancel = CancelToken::new();
    let mut options = options(1000);
    options.cancel = Some(cancel.clone());
    let workloads = [workload(8, 0, 0, KvType::F16)];
    let found = throughput(&host(), &workloads, &options, |step| {
        if step.runs == 3 {
            cancel.cancel();
        }
    });
    assert!(matches!(found.stopped, Some(Error::Cancelled)), "{:?}", found.stopped);
    assert_eq!(found.arms[0].1.runs.len(), 3);
}

/// glibc keeps the pages of small freed blocks, if one behind them is still used.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn what_was_freed_before_counts_neither_as_occupied_nor_as_predicted() {
    const BLOCK: usize = 32 << 10; // below the size from which the C library maps blocks one by one
    const FREED: u64 = 512 << 20;
    let mut blocks: Vec<Vec<u8>> = (0..FREED as usize / BLOCK).map(|_| vec![1; BLOCK]).collect();
    let mut number = 0;
    blocks.retain(|_| {
        number += 1;
        number % 256 == 0
    });
    let found = throughput(&host(), &[workload(40, 1, 0, KvType::F16)], &options(1), |_| {});
    let facts = &found.arms[0].1.facts;
    let (peak, predicted) = (facts.rss_peak.expect("peak"), facts.rss_predicted.expect("predicted"));
    // the model and what the other tests of this program use are a small part of it
    assert!(
        peak < FREED * 3 / 4 && predicted < FREED * 3 / 4,
        "{peak}, predicted {predicted}"
    );
    assert_eq!(blocks.len(), FREED as usize / BLOCK / 256);
}

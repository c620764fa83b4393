//! `turboquant ceiling`: the longest context before memory refuses, by plan and by trial.

mod trial;

use crate::args::ceiling::CeilingArgs;
use crate::interrupt::{Interrupt, exit_code};
use crate::measuring::caches;
use crate::measuring::progress::Progress;
use crate::measuring::record::{ModelFacts, Record, Sink};
use crate::report::table;
use crate::settings::{EngineSettings, human_bytes};
use anyhow::{Result, bail};
use llama_turboquant::measure::ceiling::{Ceiling, ComputeBytes, planned_ceiling};
use llama_turboquant::{Backend, ContextConfig, KvSpec, Model, memory};
use serde::Serialize;
use serde_json::json;
use std::process::ExitCode;

pub use trial::{Trial, search};

/// `results` of the record.
#[derive(Debug, Default, Serialize)]
pub struct Results {
    /// Bytes that KV cache and scratch buffers may take.
    pub budget: u64,
    /// Row by row.
    pub caches: Vec<Row>,
}

/// One cache.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The cache.
    pub cache: KvSpec,
    /// Bytes that one more token of context takes in the cache.
    pub bytes_per_token: f64,
    /// By plan; `None`: not even the shortest context fits.
    pub planned_n_ctx: Option<u32>,
    /// KV bytes of that context.
    pub planned_kv_bytes: Option<u64>,
    /// Scratch bytes of that context.
    pub planned_compute_bytes: Option<u64>,
    /// By trial; `None`: not tried, or nothing worked.
    pub tried_n_ctx: Option<u32>,
    /// What ended the search, or why there was none.
    pub stopped_by: String,
}

/// Plans and tries.
///
/// # Errors
/// Bad settings, a model that does not load.
pub fn run(args: &CeilingArgs) -> Result<ExitCode> {
    let engine = EngineSettings::new(&args.engine);
    if let Some(n_ctx) = args.attempt {
        return trial::attempt(args, &engine, n_ctx);
    }
    let asked = args.memory.map(gib).transpose()?;
    if args.ubatch_size == 0 {
        bail!("--ubatch-size must be at least 1");
    }
    let sink = Sink::open(&args.output)?;
    let interrupt = Interrupt::install()?;
    let cancel = interrupt.token();
    let model = engine.load(&cancel)?;
    let Some(budget) = asked.or_else(available) else {
        bail!("the free memory of this machine cannot be read; say with --memory how much there is");
    };
    let mut record = Record::new(
        "ceiling",
        ModelFacts::of(&model, &engine),
        json!({"ubatch_size": args.ubatch_size, "memory": asked, "trial": !args.no_trial}),
        Results {
            budget,
            caches: Vec::new(),
        },
    )?;
    let specs = caches::unique(args.kv.clone());
    let mut progress = Progress::new("ceilings", specs.len());
    for (done, spec) in specs.iter().enumerate() {
        progress.at(done);
        progress.say(format!("ceiling of {spec}"));
        if cancel.is_cancelled() {
            break;
        }
        let mut row = plan(&model, &engine, *spec, args.ubatch_size, budget)?;
        if args.no_trial {
            row.stopped_by = "not tried: --no-trial".into();
        } else if let Some(planned) = row.planned_n_ctx {
            let trial = search(&args.engine, *spec, args.ubatch_size, planned, asked, &cancel)?;
            row.tried_n_ctx = trial.n_ctx;
            row.stopped_by = trial.stopped_by;
        }
        record.results.caches.push(row);
        sink.keep(&record)?;
    }
    drop(progress);
    record.complete = !cancel.is_cancelled() && record.results.caches.len() == specs.len();
    if !sink.json() {
        print(&record.results, &model);
    }
    sink.finish(&record)?;
    Ok(exit_code(!cancel.is_cancelled()))
}

/// Bytes of a number of GiB.
///
/// # Errors
/// What is no amount of memory.
fn gib(amount: f64) -> Result<u64> {
    let bytes = amount * f64::from(1 << 30);
    if !(1e6..1e15).contains(&bytes) {
        bail!("--memory {amount}: an amount of GiB from 0.001 to 900000 is needed");
    }
    Ok(bytes as u64)
}

/// What is free for a cache: main memory, and a device's own.
pub fn available() -> Option<u64> {
    let devices = Backend::init().and_then(|backend| backend.devices()).ok()?;
    memory::available_bytes(&devices)
}

/// The planned part of a row.
///
/// # Errors
/// A cache that does not work with the model.
pub fn plan(model: &Model, engine: &EngineSettings, spec: KvSpec, n_ubatch: u32, budget: u64) -> Result<Row> {
    let config = ContextConfig {
        n_batch: n_ubatch.max(ContextConfig::default().n_batch),
        n_ubatch,
        n_threads: engine.threads,
        kv: engine.cache(spec.config()),
        ..ContextConfig::default()
    };
    let kv = config.kv.clone();
    let compute = ComputeBytes::measure(model, &config, budget)?;
    let planned: Option<Ceiling> = planned_ceiling(model, &kv, &config, compute, budget)?;
    let at = |n_ctx: u32| Ok::<u64, llama_turboquant::Error>(kv.bytes(model.meta(), n_ctx)?.cache());
    Ok(Row {
        cache: spec,
        bytes_per_token: (at(1 << 21)? - at(1 << 20)?) as f64 / f64::from(1 << 20),
        planned_n_ctx: planned.map(|ceiling| ceiling.n_ctx),
        planned_kv_bytes: planned.map(|ceiling| ceiling.kv_bytes),
        planned_compute_bytes: planned.map(|ceiling| ceiling.compute_bytes),
        tried_n_ctx: None,
        stopped_by: "nothing fits the budget".into(),
    })
}

fn print(results: &Results, model: &Model) {
    println!("{} for KV cache and scratch buffers", human_bytes(results.budget));
    let tokens = |n: Option<u32>| n.map_or("-".to_owned(), |n| n.to_string());
    let size = |n: Option<u64>| n.map_or("-".to_owned(), human_bytes);
    let first = results
        .caches
        .first()
        .and_then(|row| row.tried_n_ctx.or(row.planned_n_ctx));
    let rows = results.caches.iter().map(|row| {
        let best = row.tried_n_ctx.or(row.planned_n_ctx);
        let ratio = first.zip(best).map(|(first, best)| f64::from(best) / f64::from(first));
        vec![
            row.cache.to_string(),
            format!("{:.0}", row.bytes_per_token),
            tokens(row.planned_n_ctx),
            size(row.planned_kv_bytes),
            size(row.planned_compute_bytes),
            tokens(row.tried_n_ctx),
            ratio.map_or("-".into(), |ratio| format!("{ratio:.2}x")),
        ]
    });
    let header = [
        "cache",
        "B/token",
        "planned n_ctx",
        "KV",
        "scratch",
        "tried n_ctx",
        "longer",
    ];
    println!("{}", table(&header, 1, rows));
    for row in &results.caches {
        println!("{}: {}", row.cache, row.stopped_by);
    }
    let trained = model.meta().n_ctx_train;
    if results
        .caches
        .iter()
        .any(|row| row.planned_n_ctx.is_some_and(|n| n > trained))
    {
        println!("Memory allows more than the {trained} tokens the model was trained with.");
    }
}

//! `turboquant sensitivity`: which layers and which side need the bits, and a map that gives them.

use crate::args::sensitivity::SensitivityArgs;
use crate::console;
use crate::interrupt::{Interrupt, exit_code};
use crate::measuring::data;
use crate::measuring::progress::Progress;
use crate::measuring::record::{ModelFacts, Record, Sink, write_whole};
use crate::report::table;
use crate::settings::EngineSettings;
use anyhow::{Context as _, Result, bail};
use llama_turboquant::measure::stats::{Bootstrap, Interval};
use llama_turboquant::measure::{
    Arm, Corpus, Divergence, MemoryPlan, NoiseMeter, Options, Pair, Side, divergence, sensitivity,
};
use llama_turboquant::{KvCacheConfig, KvType, LayerMap, LayerPolicy, Model};
use serde::Serialize;
use serde_json::json;
use std::process::ExitCode;

/// `results` of the record.
#[derive(Debug, Default, Serialize)]
struct Results {
    base: &'static str,
    probe: String,
    layers: Vec<LayerRow>,
    map: Option<MapResult>,
}

#[derive(Debug, Serialize)]
struct LayerRow {
    layer: usize,
    side: Side,
    kl: Interval,
}

#[derive(Debug, Serialize)]
struct MapResult {
    bits_per_value: f64,
    /// What the map does, and uniform types beside it, on chunks that it was not made on.
    measured: Vec<Measured>,
    #[serde(flatten)]
    map: LayerMap,
}

#[derive(Debug, Serialize)]
struct Measured {
    cache: String,
    bits_per_value: f64,
    /// The sum of single places, extrapolated, on the chunks the map was made on.
    kl_predicted: f64,
    kl: Interval,
    same_top: f64,
}

/// What was typed, checked.
struct Settings {
    engine: EngineSettings,
    probe: KvType,
    types: Vec<KvType>,
}

impl Settings {
    fn new(args: &SensitivityArgs) -> Result<Self> {
        let ty = |name: &String, option: &str| name.trim().parse::<KvType>().with_context(|| option.to_owned());
        let types: Vec<KvType> = args
            .types
            .iter()
            .map(|name| ty(name, "--types"))
            .collect::<Result<_>>()?;
        let least = types.iter().map(|ty| ty.bits_per_value()).fold(f64::INFINITY, f64::min);
        if !args.bits.is_finite() || args.bits < least {
            bail!(
                "--bits {}: the smallest of --types has {least} bits per value",
                args.bits
            );
        }
        if args.chunks == 0 {
            bail!("--chunks must be at least 1");
        }
        let probe = ty(&args.probe, "--probe")?;
        if !probe.is_quantized() {
            bail!("--probe {probe}: an exact type shows nothing; use turbo3 or another quantized one");
        }
        Ok(Self {
            engine: EngineSettings::new(&args.engine),
            probe,
            types,
        })
    }
}

/// Measures, makes the map, measures the map.
///
/// # Errors
/// Bad settings, a model or text that cannot be read.
pub fn run(args: &SensitivityArgs) -> Result<ExitCode> {
    let settings = Settings::new(args)?;
    let sink = Sink::open(&args.output)?;
    let text = data::text(args.file.as_deref(), data::EVAL)?;
    let cancel = Interrupt::install()?.token();
    let model = settings.engine.load(&cancel)?;
    let text_chunks = Corpus::from_text(&model, &text, args.ctx_size)?.spread(2 * args.chunks);
    // a map is not judged by the text it was made on
    let (corpus, check) = text_chunks.halves();
    if check.chunks().is_empty() {
        bail!(
            "{} has one chunk of {} tokens; two are needed, one to measure on and one to check the map",
            data::name(args.file.as_deref(), "eval.txt"),
            args.ctx_size
        );
    }
    let mut record = Record::new(
        "sensitivity",
        ModelFacts::of(&model, &settings.engine),
        json!({
            "text": data::name(args.file.as_deref(), "eval.txt"), "n_ctx": args.ctx_size, "chunks": corpus.chunks().len(), "check_chunks": check.chunks().len(),
            "bits": args.bits, "types": settings.types,
        }),
        Results {
            base: "f16",
            probe: settings.probe.to_string(),
            ..Results::default()
        },
    )?;
    let options = Options::default()
        .threads(settings.engine.threads)
        .cancel(cancel.clone());
    let noise = NoiseMeter::start();
    let measured = {
        let mut progress = Progress::new("sides of layers", 2 * model.meta().kv_layers().count());
        let n_arms = arms_that_fit(&model, &corpus, &options)?;
        sensitivity(&model, &corpus, settings.probe, n_arms, &options, |p| {
            progress.at(p.done)
        })?
    };
    let bootstrap = Bootstrap::default();
    record.results.layers = measured
        .layers
        .iter()
        .map(|row| LayerRow {
            layer: row.layer,
            side: row.side,
            kl: bootstrap.mean(&row.divergence.chunk_kl()),
        })
        .collect();
    sink.keep(&record)?;
    if !sink.json() {
        print_layers(&record.results);
    }
    if let Some((map, allocation)) = measured.map(&settings.types, args.bits)? {
        let mut named = vec![Named {
            cache: "map".into(),
            bits_per_value: allocation.bits_per_value,
            kl_predicted: allocation.divergence,
            kv: KvCacheConfig::default().with_layers(map.policy()),
        }];
        for &ty in &settings.types {
            named.push(Named {
                cache: ty.to_string(),
                bits_per_value: ty.bits_per_value(),
                kl_predicted: measured.predict(&vec![ty; measured.layers.len()])?,
                kv: KvCacheConfig::uniform(ty).with_layers(LayerPolicy::Uniform),
            });
        }
        let checked = check_map(&model, &check, named, &options)?;
        record.complete = checked.is_some();
        record.results.map = Some(MapResult {
            bits_per_value: allocation.bits_per_value,
            measured: checked.unwrap_or_default(),
            map,
        });
    }
    record.heard(noise.finish());
    if let Some(result) = &record.results.map {
        if let Some(path) = &args.map_out {
            write_whole(path, &(serde_json::to_string_pretty(result)? + "\n"))?;
            console::say!("wrote {}; use it with --layer-map", path.display());
        }
        if !sink.json() {
            print_map(result);
        }
    }
    sink.finish(&record)?;
    Ok(exit_code(!cancel.is_cancelled()))
}

/// Caches that can be computed side by side with the exact one.
fn arms_that_fit(model: &Model, corpus: &Corpus, options: &Options) -> Result<usize> {
    let exact = Arm::batched(KvCacheConfig::default());
    let mut arms = vec![exact; 2];
    while arms.len() < 33 && MemoryPlan::new(model, corpus, &arms, options)?.fits() {
        arms.push(arms[0].clone());
    }
    Ok((arms.len() - 2).max(1))
}

/// A cache that the map is compared with, or the map.
struct Named {
    cache: String,
    bits_per_value: f64,
    kl_predicted: f64,
    kv: KvCacheConfig,
}

/// Measures the map and the uniform types; `None`: interrupted.
fn check_map(model: &Model, corpus: &Corpus, named: Vec<Named>, options: &Options) -> Result<Option<Vec<Measured>>> {
    let mut progress = Progress::new("checking the map", corpus.chunks().len());
    let arms: Vec<Arm> = std::iter::once(KvCacheConfig::default())
        .chain(named.iter().map(|named| KvCacheConfig {
            guard: false,
            ..named.kv.clone()
        }))
        .map(Arm::batched)
        .collect();
    let pairs: Vec<Pair> = (1..arms.len()).map(|candidate| Pair { base: 0, candidate }).collect();
    let result = match divergence(model, corpus, &arms, &pairs, options, |p| progress.at(p.done)) {
        Err(llama_turboquant::Error::Cancelled) => return Ok(None),
        result => result?,
    };
    let row = |(named, scores): (Named, Divergence)| Measured {
        cache: named.cache,
        bits_per_value: named.bits_per_value,
        kl_predicted: named.kl_predicted,
        kl: Bootstrap::default().mean(&scores.chunk_kl()),
        same_top: scores.same_top(),
    };
    Ok(result
        .complete
        .then(|| named.into_iter().zip(result.pairs).map(row).collect()))
}

const MILLI: f64 = 1000.0;

fn print_layers(results: &Results) {
    let most = results.layers.iter().map(|row| row.kl.estimate).fold(0.0, f64::max);
    let rows = results.layers.chunks(2).map(|sides| {
        let mut cells = vec![sides[0].layer.to_string()];
        for row in sides {
            let width = (24.0 * row.kl.estimate / most).round().clamp(0.0, 24.0) as usize;
            cells.push("#".repeat(width));
            cells.push(format!(
                "{:.4} \u{b1} {:.4}",
                MILLI * row.kl.estimate,
                MILLI * row.kl.half_width()
            ));
        }
        cells
    });
    println!(
        "KL divergence (nats x 1000) with one side of one layer as {}, all else {}:",
        results.probe, results.base
    );
    println!("{}\n", table(&["layer", "K", "KLD", "V", "KLD"], 1, rows));
}

fn print_map(result: &MapResult) {
    let rows = result
        .map
        .layers
        .iter()
        .enumerate()
        .map(|(layer, pair)| vec![layer.to_string(), pair.k.to_string(), pair.v.to_string()]);
    println!("map: {:.3} bits per value", result.bits_per_value);
    println!("{}\n", table(&["layer", "K", "V"], 3, rows));
    let rows = result.measured.iter().map(|row| {
        vec![
            row.cache.clone(),
            format!("{:.3}", row.bits_per_value),
            format!("{:.4}", MILLI * row.kl_predicted),
            format!(
                "{:.4} \u{b1} {:.4}",
                MILLI * row.kl.estimate,
                MILLI * row.kl.half_width()
            ),
            format!("{:.2}", 100.0 * row.same_top),
        ]
    });
    println!(
        "KLD x 1000: predicted is the sum of single places, on the chunks they were measured on; measured is on others."
    );
    println!(
        "{}",
        table(&["cache", "bits", "predicted", "measured", "same top %"], 1, rows)
    );
}

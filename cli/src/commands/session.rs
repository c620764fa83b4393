//! `turboquant session`: does a long conversation suffer from its cache?

use crate::args::session::SessionArgs;
use crate::console;
use crate::interrupt::{Interrupt, exit_code};
use crate::measuring::caches;
use crate::measuring::progress::Progress;
use crate::measuring::record::{ModelFacts, Record, Sink};
use crate::report::table;
use crate::settings::EngineSettings;
use anyhow::{Result, bail};
use llama_turboquant::measure::session::{
    Conversation, DRIFT_TURN, Drift, LEAST_TURNS, NO_WORSE, SessionRun, TurnResult, Verdict, script, sessions,
};
use llama_turboquant::measure::stats::{Bootstrap, Interval, mean};
use llama_turboquant::measure::{NoiseMeter, Options};
use llama_turboquant::{KvCacheConfig, KvSpec};
use serde::Serialize;
use serde_json::json;
use std::process::ExitCode;

/// The `results` of a record of kind `session`.
#[derive(Debug, Serialize)]
struct Results {
    caches: Vec<CacheResults>,
    /// By number, every turn with every cache, in the order of `caches`.
    conversations: Vec<Conversation>,
}

#[derive(Debug, Serialize)]
struct CacheResults {
    cache: KvSpec,
    turns: Vec<TurnSummary>,
    /// Null for f16 and for conversations that end at turn 30.
    drift: Option<Drift>,
}

/// One turn over all conversations.
#[derive(Debug, Serialize)]
struct TurnSummary {
    /// From 1.
    turn: usize,
    /// Conversations with a recall question in this turn.
    asked: usize,
    /// The share of them that was answered right; null: none asked.
    recalled: Option<f64>,
    /// Mean divergence from f16, in nats; null: it is f16.
    kl: Option<f64>,
}

/// Holds the conversations, and prints recall, divergence and drift. Exit code 130 if it was interrupted.
///
/// # Errors
/// Settings out of range, a record that cannot be written, a model that cannot be loaded, conversations longer than it was
/// trained with.
pub fn run(args: &SessionArgs) -> Result<ExitCode> {
    if args.conversations == 0 {
        bail!("--conversations 0 leaves nothing to measure; use at least 1");
    }
    if args.turns < LEAST_TURNS {
        bail!(
            "--turns {}: facts and questions need at least {LEAST_TURNS} turns",
            args.turns
        );
    }
    // f16 comes first: the others are compared with it
    let specs = caches::unique([KvSpec::F16].into_iter().chain(args.kv.iter().copied()).collect());
    let scripts = (0..args.conversations)
        .map(|number| script(args.turns, args.seed, number))
        .collect::<Result<Vec<_>, _>>()?;
    let engine = EngineSettings::new(&args.engine);
    let sink = Sink::open(&args.output)?;
    let interrupt = Interrupt::install()?;
    let cancel = interrupt.token();
    let model = engine.load(&cancel)?;
    let turns = engine.turns(scripts.len() * specs.len());
    let options = Options::default()
        .threads(turns.threads)
        .parallel(turns.at_once)
        .cancel(cancel);
    let settings = json!({
        "turns": args.turns, "conversations": args.conversations, "kv": specs, "seed": args.seed,
        "drift_after_turn": DRIFT_TURN, "rule": NO_WORSE, "bootstrap": Bootstrap::default(),
        "n_threads": turns.threads, "n_parallel": turns.at_once,
    });
    let mut run = SessionRun {
        conversations: Vec::new(),
        complete: false,
    };
    let mut record = Record::new(
        "session",
        ModelFacts::of(&model, &engine),
        settings,
        results(&specs, &run),
    )?;
    if args.turns <= DRIFT_TURN {
        record
            .warnings
            .push(format!("drift not run: no turn comes after turn {DRIFT_TURN}"));
    }
    if !model.meta().chat_template {
        record
            .warnings
            .push("the model has no chat template: the conversations were `Question:` and `Answer:` lines".into());
    }
    let configs: Vec<KvCacheConfig> = specs.iter().map(|spec| engine.cache(spec.config())).collect();
    let meter = NoiseMeter::start();
    let mut progress = Progress::new("conversations", scripts.len());
    let mut kept = Ok(());
    let held = sessions(&model, &scripts, &configs, &options, |at, conversation| {
        progress.at(at.done);
        if let Some(conversation) = conversation {
            run.conversations.push(conversation.clone());
            if kept.is_ok() {
                record.results = results(&specs, &run);
                kept = sink.keep(&record);
            }
        }
    });
    drop(progress);
    let run = held?;
    kept?;
    record.results = results(&specs, &run);
    record.complete = run.complete;
    record.heard(meter.finish());
    if !sink.json() {
        print_tables(&record.results);
    }
    sink.finish(&record)?;
    if !run.complete {
        console::say!(
            "interrupted: {} of {} conversations came to their end, the tables count those",
            run.conversations.len(),
            scripts.len()
        );
    }
    Ok(exit_code(run.complete))
}

fn results(specs: &[KvSpec], run: &SessionRun) -> Results {
    let caches = specs.iter().enumerate().map(|(cache, spec)| CacheResults {
        cache: *spec,
        turns: turns(run, cache),
        drift: run.drift(cache, &Bootstrap::default()),
    });
    Results {
        caches: caches.collect(),
        conversations: run.conversations.clone(),
    }
}

fn turns(run: &SessionRun, cache: usize) -> Vec<TurnSummary> {
    let longest = run
        .conversations
        .iter()
        .map(|c| c.caches[cache].len())
        .max()
        .unwrap_or(0);
    (0..longest)
        .map(|i| {
            let of = |f: fn(&TurnResult) -> Option<f64>| -> Vec<f64> {
                run.conversations
                    .iter()
                    .filter_map(|c| f(c.caches[cache].get(i)?))
                    .collect()
            };
            let recalled = of(|turn| turn.recalled.map(|yes| f64::from(u8::from(yes))));
            let kl = of(|turn| turn.kl);
            TurnSummary {
                turn: i + 1,
                asked: recalled.len(),
                recalled: (!recalled.is_empty()).then(|| mean(&recalled)),
                kl: (!kl.is_empty()).then(|| mean(&kl)),
            }
        })
        .collect()
}

/// Turns in a row of the first table.
const SPAN: usize = 10;

fn print_tables(results: &Results) {
    let Some(first) = results.caches.first().filter(|cache| !cache.turns.is_empty()) else {
        return;
    };
    let mut header = vec!["turns".to_owned()];
    for cache in &results.caches {
        header.push(format!("{}: recalled", cache.cache));
        if cache.cache != KvSpec::F16 {
            header.push(format!("{}: KL", cache.cache));
        }
    }
    let rows = (0..first.turns.len()).step_by(SPAN).map(|start| {
        let end = (start + SPAN).min(first.turns.len());
        let mut row = vec![format!("{}-{end}", start + 1)];
        for cache in &results.caches {
            let span = &cache.turns[start..end];
            let asked: usize = span.iter().map(|turn| turn.asked).sum();
            let recalled: f64 = span
                .iter()
                .filter_map(|turn| Some(turn.recalled? * turn.asked as f64))
                .sum();
            row.push(format!("{}/{asked}", recalled.round()));
            if cache.cache != KvSpec::F16 {
                let kl: Vec<f64> = span.iter().filter_map(|turn| turn.kl).collect();
                row.push(format!("{:.5}", mean(&kl)));
            }
        }
        row
    });
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    println!("{}\n", table(&header, 1, rows));
    let drifts: Vec<(KvSpec, Drift)> = results
        .caches
        .iter()
        .filter_map(|c| Some((c.cache, c.drift?)))
        .collect();
    if drifts.is_empty() {
        return;
    }
    let rows = drifts.iter().map(|(cache, drift)| {
        vec![
            cache.to_string(),
            format!("{}/{}", drift.recall_before.recalled, drift.recall_before.asked),
            format!("{}/{}", drift.recall_after.recalled, drift.recall_after.asked),
            interval(drift.recall_difference.map(|x| 100.0 * x), 1),
            format!("{:.5}", drift.kl_before),
            format!("{:.5}", drift.kl_after),
            interval(drift.kl_change, 5),
            interval(drift.kl_ratio, 2),
            match drift.verdict {
                Verdict::NoWorse => "no worse than f16",
                Verdict::Worse => "worse than f16",
                Verdict::Undecided => "undecided",
            }
            .into(),
        ]
    });
    let header = [
        "drift",
        "recalled to turn 30",
        "after",
        "after, minus f16's, points",
        "KL to turn 30",
        "after",
        "change",
        "ratio",
        "verdict",
    ];
    println!("{}\n{NO_WORSE}.", table(&header, 1, rows));
}

fn interval(x: Interval, digits: usize) -> String {
    format!("{:.digits$} [{:.digits$}, {:.digits$}]", x.estimate, x.low, x.high)
}

//! `turboquant needle`: are facts from anywhere in a long prompt still found?

mod show;

use crate::args::needle::{Kind, NeedleArgs};
use crate::console;
use crate::interrupt::{Interrupt, exit_code};
use crate::measuring::progress::Progress;
use crate::measuring::record::{ModelFacts, Record, Sink};
use crate::measuring::{caches, data};
use crate::settings::{EngineSettings, Turns};
use anyhow::{Context, Result, bail};
use llama_turboquant::measure::{
    Haystack, Needle, NeedleGrid, NeedleKind, NeedleQuestion, NeedleRun, NoiseMeter, Options, needle_questions,
    needles, parse_needles, stats,
};
use llama_turboquant::{KvCacheConfig, KvSpec, Model};
use serde::Serialize;
use show::Results;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Lengths asked for where the user names none. Past the last the embedded model, which was trained on rows of up to so many
/// tokens, finds little with any cache.
const LENGTHS: [u32; 5] = [256, 512, 1024, 2048, 4096];
/// The shares that a run must be able to tell apart.
const TELL: (f64, f64) = (0.95, 0.99);
/// The record, with all answers, is not written more often than this.
const KEEP: Duration = Duration::from_secs(2);

/// What is asked, as far as it is known without the model.
enum Source {
    Set(Vec<Needle>, String),
    Grid(Haystack, String),
}

#[derive(Debug, Serialize)]
struct Settings {
    lengths: Vec<u32>,
    depths: Vec<f64>,
    needles: Option<usize>,
    trials: Option<usize>,
    kinds: Vec<NeedleKind>,
    seed: Option<u64>,
    haystack: Option<String>,
    set: Option<String>,
    kv: Vec<KvSpec>,
    n_threads: u32,
    n_parallel: u32,
}

/// Asks, and prints what was found. Exit code 130 if it was interrupted.
///
/// # Errors
/// Settings out of range, texts that cannot be read, a record that cannot be written, a model that cannot be loaded or asked.
pub fn run(args: &NeedleArgs) -> Result<ExitCode> {
    check(args)?;
    let specs = caches::unique(args.kv.clone());
    let engine = EngineSettings::new(&args.engine);
    let source = source(args)?;
    let sink = Sink::open(&args.output)?;
    let interrupt = Interrupt::install()?;
    // one token from here on: Ctrl-C while the prompts are written counts as well
    let cancel = interrupt.token();
    let model = engine.load(&cancel)?;
    let mut warnings = Vec::new();
    let (grid, questions) = match &source {
        Source::Set(needles, name) => {
            let questions = needle_questions(&model, needles).with_context(|| format!("--set {name}"))?;
            (None, questions)
        }
        Source::Grid(haystack, _) => {
            let grid = grid(args, haystack.clone(), &model, &mut warnings)?;
            let questions = grid.questions(&model)?;
            (Some(grid), questions)
        }
    };
    let turns = engine.turns(specs.len());
    let options = Options::default()
        .threads(turns.threads)
        .parallel(turns.at_once)
        .cancel(cancel);
    let base = specs.iter().position(|spec| *spec == KvSpec::F16);
    if base.is_none() {
        warnings.push(
            "f16 is not among the caches: a needle that is missed may be the model's fault and not the cache's".into(),
        );
    }
    let settings = settings(&source, grid.as_ref(), &questions, &specs, turns);
    let mut run = NeedleRun {
        answers: Vec::new(),
        complete: false,
    };
    let results = |run: &NeedleRun| Results::new(&specs, base, &questions, run);
    let mut record = Record::new("needle", ModelFacts::of(&model, &engine), settings, results(&run))?;
    record.warnings = warnings;
    let configs: Vec<KvCacheConfig> = specs.iter().map(|spec| engine.cache(spec.config())).collect();
    let meter = NoiseMeter::start();
    let mut progress = Progress::new("needles", questions.len() * specs.len());
    let mut kept = Ok(());
    let mut last_kept = Instant::now();
    let asked = needles(&model, &questions, &configs, &options, |at, answer| {
        progress.at(at.done);
        if let Some(answer) = answer {
            run.answers.push(answer.clone());
            if last_kept.elapsed() >= KEEP && kept.is_ok() {
                last_kept = Instant::now();
                record.results = results(&run);
                kept = sink.keep(&record);
            }
        }
    });
    drop(progress);
    let run = asked?;
    kept?;
    record.results = results(&run);
    record.complete = run.complete;
    record.heard(meter.finish());
    if !sink.json() {
        print!("{}", show::text(&record.results, show::colors()));
    }
    sink.finish(&record)?;
    if !run.complete {
        console::say!(
            "interrupted: {} of {} answers are there, the tables count those",
            run.answers.len(),
            questions.len() * specs.len()
        );
    }
    Ok(exit_code(run.complete))
}

fn check(args: &NeedleArgs) -> Result<()> {
    if args.kv.is_empty() {
        bail!("--kv names no cache");
    }
    if args.set.is_some() {
        return Ok(());
    }
    if args.trials == Some(0) {
        bail!("--trials 0 asks for nothing; use at least 1");
    }
    if args.needles == 0 {
        bail!("--needles 0 leaves nothing to find; use at least 1");
    }
    if let Some(depth) = args.depths.iter().find(|depth| !(0.0..=1.0).contains(*depth)) {
        bail!("--depths {depth}: a depth is between 0 (the first sentence) and 1 (the last)");
    }
    if args.lengths.contains(&0) {
        bail!("--lengths 0: a prompt has at least a question");
    }
    Ok(())
}

fn source(args: &NeedleArgs) -> Result<Source> {
    if let Some(set) = &args.set {
        let file = set.as_deref();
        let name = data::name(file, "needles.jsonl");
        let needles = parse_needles(&data::text(file, data::NEEDLES)?).with_context(|| format!("--set {name}"))?;
        return Ok(Source::Set(needles, name));
    }
    Ok(match &args.haystack {
        None => Source::Grid(Haystack::Generated, "generated".into()),
        Some(file) => {
            let text = data::text(Some(file), data::EVAL)?;
            Source::Grid(Haystack::Text(text.into_owned()), data::name(Some(file), ""))
        }
    })
}

fn grid(args: &NeedleArgs, haystack: Haystack, model: &Model, warnings: &mut Vec<String>) -> Result<NeedleGrid> {
    let n_ctx_train = model.meta().n_ctx_train;
    if let Some(length) = args.lengths.iter().find(|length| **length > n_ctx_train) {
        bail!("--lengths {length}: the model was trained with {n_ctx_train} tokens; use lengths up to that");
    }
    let mut lengths = args.lengths.clone();
    if lengths.is_empty() {
        lengths = LENGTHS.into_iter().filter(|length| *length <= n_ctx_train).collect();
    }
    if lengths.is_empty() {
        bail!("the model was trained with {n_ctx_train} tokens, less than the shortest default; name --lengths");
    }
    lengths.sort_unstable();
    lengths.dedup();
    let kinds = match (args.kind, model.meta().chat_template) {
        (Some(Kind::Plain), _) => vec![NeedleKind::Plain],
        (Some(Kind::Chat), true) => vec![NeedleKind::Chat],
        (Some(Kind::Both) | None, true) => vec![NeedleKind::Plain, NeedleKind::Chat],
        (Some(_), false) => bail!("the model has no chat template; ask its needles with --kind plain"),
        (None, false) => {
            warnings.push("the model has no chat template: all needles were asked as plain text".into());
            vec![NeedleKind::Plain]
        }
    };
    let mut depths = args.depths.clone();
    depths.sort_by(f64::total_cmp);
    depths.dedup();
    let enough = stats::trials_to_tell(TELL.0, TELL.1).div_ceil(lengths.len() * depths.len());
    Ok(NeedleGrid {
        trials: args.trials.unwrap_or(enough),
        facts: args.needles,
        seed: args.seed,
        lengths,
        depths,
        kinds,
        haystack,
    })
}

fn settings_lengths(questions: &[NeedleQuestion]) -> Vec<u32> {
    let mut lengths: Vec<u32> = questions.iter().map(|question| question.n_ctx).collect();
    lengths.sort_unstable();
    lengths.dedup();
    lengths
}

fn settings(
    source: &Source,
    grid: Option<&NeedleGrid>,
    questions: &[NeedleQuestion],
    specs: &[KvSpec],
    turns: Turns,
) -> Settings {
    let mut depths: Vec<f64> = questions.iter().filter_map(|question| question.depth).collect();
    depths.sort_by(f64::total_cmp);
    depths.dedup();
    let (haystack, set) = match source {
        Source::Set(_, name) => (None, Some(name.clone())),
        Source::Grid(_, name) => (Some(name.clone()), None),
    };
    Settings {
        lengths: settings_lengths(questions),
        depths,
        needles: grid.map(|grid| grid.facts),
        trials: grid.map(|grid| grid.trials),
        kinds: [NeedleKind::Plain, NeedleKind::Chat]
            .into_iter()
            .filter(|kind| questions.iter().any(|question| question.kind == *kind))
            .collect(),
        seed: grid.map(|grid| grid.seed),
        haystack,
        set,
        kv: specs.to_vec(),
        n_threads: turns.threads,
        n_parallel: turns.at_once,
    }
}

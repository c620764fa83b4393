//! `turboquant perplexity`: how well a text is predicted with each KV cache, and how far a cache moves the predictions.

mod bars;
mod compare;
mod print;
mod results;
mod score;
mod settings;

use crate::args::perplexity::PerplexityArgs;
use crate::console;
use crate::interrupt::{Interrupt, exit_code};
use crate::measuring::record::{ModelFacts, Record, Sink};
use anyhow::Result;
use llama_turboquant::measure::{Corpus, Footprint, NoiseMeter};
use llama_turboquant::{CancelToken, Model};
use results::Results;
use settings::Settings;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Between two writes of a record that grows: each computes its intervals anew.
const KEEP_EVERY: Duration = Duration::from_secs(2);

/// What a measurement works with.
struct Run<'a> {
    settings: &'a Settings,
    model: &'a Model,
    corpus: &'a Corpus,
    cancel: CancelToken,
    sink: &'a Sink,
    record: Record<Results>,
    kept: Instant,
}

impl Run<'_> {
    /// Writes what there is, if the last time is long enough ago.
    fn keep(&mut self, grown: impl FnOnce(&Results) -> Results) -> Result<()> {
        if self.kept.elapsed() >= KEEP_EVERY {
            self.record.results = grown(&self.record.results);
            self.sink.keep(&self.record)?;
            self.kept = Instant::now();
        }
        Ok(())
    }

    /// Memory is planned to the byte, and compressed caches have kernels; a difference is something to hear of.
    fn check_footprint(&mut self, cache: &str, footprint: &Footprint) {
        if let Some(warning) = footprint.attention.warning() {
            self.record.warnings.push(format!("{cache}: {warning}"));
        }
        if footprint.predicted.total() != footprint.allocated {
            self.record.warnings.push(format!(
                "{cache}: the engine allocated {} bytes for the cache and not the planned {}; please report this",
                footprint.allocated,
                footprint.predicted.total()
            ));
        }
    }
}

/// Measures, prints and records.
///
/// # Errors
/// Bad settings, a text or a model that cannot be used, a cache that this model cannot have.
pub fn run(args: &PerplexityArgs) -> Result<ExitCode> {
    let mut settings = Settings::new(args)?;
    let sink = Sink::open(&args.output)?;
    let interrupt = Interrupt::install()?;
    let cancel = interrupt.token();
    let model = settings.engine.load(&cancel)?;
    let left_out = settings.keep_possible(&model)?;
    let corpus = settings.corpus(&model)?;
    let noise = NoiseMeter::start();
    let mut record = Record::new(
        "perplexity",
        ModelFacts::of(&model, &settings.engine),
        settings.told(),
        Results::default(),
    )?;
    record.warnings.extend(left_out);
    let n_ctx_train = model.meta().n_ctx_train;
    if corpus.n_ctx() > n_ctx_train {
        record.warnings.push(format!(
            "the model was trained on only {n_ctx_train} context tokens ({} specified)",
            corpus.n_ctx()
        ));
    }
    if settings.bars && (settings.engine.file.is_some() || corpus.n_ctx() != 512 || settings.base_name() != "f16") {
        record.warnings.push(
            "the bars are those of the embedded model at 512 tokens against f16; this is another measurement".into(),
        );
    }
    console::say!(
        "perplexity: {} chunks of {} tokens from {}, {} of them scored in each",
        corpus.chunks().len(),
        corpus.n_ctx(),
        settings.text_name,
        corpus.scored().len()
    );
    let mut run = Run {
        settings: &settings,
        model: &model,
        corpus: &corpus,
        cancel,
        sink: &sink,
        record,
        kept: Instant::now(),
    };
    let complete = match &settings.base {
        None => score::run(&mut run)?,
        Some(base) => compare::run(&mut run, base)?,
    };
    let mut record = run.record;
    record.complete = complete;
    // no warning: what runs beside it changes how long this takes, not what comes out
    record.noise = noise.finish();
    if settings.bars {
        record.results.bars = bars::judge(&record.results);
    }
    if !sink.json() {
        print::results(&record.results, complete);
    }
    sink.finish(&record)?;
    if !complete {
        console::say!("interrupted");
    }
    Ok(exit_code(complete))
}

//! `turboquant gate`: ship or stop, for one cache against f16.

mod ceiling;
mod needle;
mod prompts;
mod quality;
mod session;
mod speed;

use crate::args::gate::{GateArgs, Part};
use crate::interrupt::{self, Interrupt};
use crate::measuring::data;
use crate::measuring::record::{ModelFacts, Record, Sink, write_whole};
use crate::report::table;
use crate::settings::{EngineSettings, Turns};
use anyhow::{Result, bail};
use llama_turboquant::measure::gate::{Bound, Criterion, Verdict, overall};
use llama_turboquant::measure::{NoiseMeter, Options};
use llama_turboquant::{CancelToken, Error, KvSpec, Model};
use serde::Serialize;
use serde_json::json;
use std::fmt::Write as _;
use std::process::ExitCode;

/// `results` of the record.
#[derive(Debug, Serialize)]
struct Results {
    candidate: KvSpec,
    criteria: Vec<Criterion>,
    verdict: Verdict,
}

/// What the parts need.
struct Gate<'a> {
    args: &'a GateArgs,
    engine: &'a EngineSettings,
    model: &'a Model,
    text: &'a str,
    cancel: CancelToken,
    /// Of the text; `None`: all.
    chunks: Option<usize>,
    /// Of these, computed one token at a time.
    decode_chunks: usize,
}

impl Gate<'_> {
    /// For the many short tasks of both caches.
    fn side_by_side(&self) -> Options {
        let Turns { threads, at_once } = self.engine.turns(2);
        Options::default()
            .threads(threads)
            .parallel(at_once)
            .cancel(self.cancel.clone())
    }
}

/// Runs the parts, prints the table.
///
/// # Errors
/// Bad settings; a model or cache that cannot be had.
pub fn run(args: &GateArgs) -> Result<ExitCode> {
    check(args)?;
    let engine = EngineSettings::new(&args.engine);
    let sink = Sink::open(&args.output)?;
    let text = data::text(args.file.as_deref(), data::EVAL)?;
    let cancel = Interrupt::install()?.token();
    let model = engine.load(&cancel)?;
    engine.cache(args.kv.config()).resolve(model.meta())?;
    let parts: Vec<Part> = Part::ALL
        .into_iter()
        .filter(|part| args.only.is_empty() || args.only.contains(part))
        .collect();
    let (chunks, decode_chunks) = chunks(args, engine.file.is_none());
    let mut record = Record::new(
        "gate",
        ModelFacts::of(&model, &engine),
        json!({
            "kv": args.kv, "text": data::name(args.file.as_deref(), "eval.txt"), "n_ctx": args.ctx_size, "chunks": chunks,
            "decode_chunks": decode_chunks, "depths": args.depths, "repetitions": args.repetitions,
            "parts": parts.iter().map(|part| format!("{part:?}").to_lowercase()).collect::<Vec<_>>(),
        }),
        Results {
            candidate: args.kv,
            criteria: Vec::new(),
            verdict: Verdict::NotRun,
        },
    )?;
    let gate = Gate {
        args,
        engine: &engine,
        model: &model,
        text: &text,
        cancel: cancel.clone(),
        chunks,
        decode_chunks,
    };
    let noise = NoiseMeter::start();
    for part in &parts {
        let criteria = match part {
            Part::Quality => quality::run(&gate),
            Part::Speed => speed::run(&gate),
            Part::Ceiling => ceiling::run(&gate),
            Part::Prompts => prompts::run(&gate),
            Part::Needle => needle::run(&gate),
            Part::Session => session::run(&gate),
        };
        match criteria {
            Ok(criteria) => record.results.criteria.extend(criteria),
            Err(error) if is_cancelled(&error) => break,
            Err(error) => return Err(error),
        }
        record.results.verdict = overall(&record.results.criteria);
        sink.keep(&record)?;
    }
    record.complete = !cancel.is_cancelled();
    record.heard(noise.finish());
    let markdown = markdown(&record);
    if !sink.json() {
        print!("{markdown}");
    }
    if let Some(path) = &args.md {
        write_whole(path, &markdown)?;
    }
    sink.finish(&record)?;
    Ok(if cancel.is_cancelled() {
        interrupt::exit_code(false)
    } else {
        ExitCode::from(exit_code(record.results.verdict))
    })
}

/// Chunks in batches, and of these one token at a time. A chunk of the embedded model takes a tenth of a second, and the bars
/// for it are means over the whole text, around which those of a few chunks scatter.
fn chunks(args: &GateArgs, embedded: bool) -> (Option<usize>, usize) {
    let (batched, decode) = if embedded { (None, 8) } else { (Some(24), 4) };
    (args.chunks.or(batched), args.decode_chunks.unwrap_or(decode))
}

/// What can be said without the model.
fn check(args: &GateArgs) -> Result<()> {
    if args.kv == KvSpec::F16 {
        bail!("--kv f16 would be compared with itself; name another cache");
    }
    let counts = [
        args.chunks.unwrap_or(1),
        args.decode_chunks.unwrap_or(1),
        args.repetitions,
        args.conversations,
    ];
    if counts.contains(&0) {
        bail!("--chunks, --decode-chunks, --repetitions and --conversations must be at least 1");
    }
    if args.md.as_ref().is_some_and(|path| path.is_dir()) {
        bail!("--md names a directory");
    }
    Ok(())
}

fn is_cancelled(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(Error::Cancelled))
}

fn exit_code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Pass => 0,
        Verdict::Fail | Verdict::NotRun => 1,
        Verdict::Kill => 2,
    }
}

fn markdown(record: &Record<Results>) -> String {
    let results = &record.results;
    let rows = results.criteria.iter().map(|criterion| {
        vec![
            criterion.what.clone(),
            criterion.measured.map_or("-".into(), number),
            criterion.pass.map_or("-".into(), kept),
            criterion.kill.map_or("-".into(), broken),
            criterion.verdict.name().to_owned(),
        ]
    });
    let mut text = format!(
        "Gate: {} against f16 on {} ({})\n\n{}\n\n",
        results.candidate,
        record.model.file,
        record.model.description,
        table(&["criterion", "measured", "ships if", "stops if", "verdict"], 1, rows)
    );
    for criterion in results.criteria.iter().filter(|criterion| !criterion.why.is_empty()) {
        let _ = writeln!(text, "- {}: {}", criterion.id, criterion.why); // writing to a string cannot fail
    }
    let ran = results
        .criteria
        .iter()
        .filter(|criterion| criterion.verdict != Verdict::NotRun)
        .count();
    let unfinished = if record.complete { "" } else { " (interrupted)" };
    let _ = writeln!(
        text,
        "\nVerdict: {}{unfinished}; {ran} of {} criteria were run.",
        results.verdict.name(),
        results.criteria.len()
    );
    text
}

fn kept(bound: Bound) -> String {
    match bound {
        Bound::AtMost(value) => format!("<= {}", number(value)),
        Bound::AtLeast(value) => format!(">= {}", number(value)),
    }
}

/// What is on the other side of a bound.
fn broken(bound: Bound) -> String {
    match bound {
        Bound::AtMost(value) => format!("> {}", number(value)),
        Bound::AtLeast(value) => format!("< {}", number(value)),
    }
}

/// Four significant digits, without an exponent where people do not want one.
fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let digits = 3 - value.abs().log10().floor() as i32;
    let text = format!("{value:.*}", digits.clamp(0, 8) as usize);
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_four_digits() {
        for (value, text) in [
            (0.0, "0"),
            (0.00341234, "0.003412"),
            (0.5, "0.5"),
            (1.0, "1"),
            (12.3456, "12.35"),
            (-0.012, "-0.012"),
            (123_456.0, "123456"),
            (0.9641, "0.9641"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn a_bound_that_stops_is_said_as_what_lies_beyond_it() {
        let bounds = [Bound::AtLeast(0.75), Bound::AtMost(1.0)];
        assert_eq!(bounds.map(kept), [">= 0.75", "<= 1"]);
        assert_eq!(bounds.map(broken), ["< 0.75", "> 1"]);
    }

    #[test]
    fn exit_codes_are_those_of_the_contract() {
        assert_eq!([Verdict::Pass, Verdict::Fail, Verdict::Kill].map(exit_code), [0, 1, 2]);
        assert_eq!(exit_code(Verdict::NotRun), 1, "what was not run did not pass");
    }
}

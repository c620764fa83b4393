//! `turboquant bench`: speed and memory over KV caches, with llama-bench's options and output.

mod choice;
mod output;
mod plan;
mod row;
mod serve;
mod shape;
mod source;

pub use output::Format;
pub use plan::{AskedCache, Attention, Group, LoadMode, Plan};
pub use shape::Shape;

use crate::args::BenchArgs;
use crate::args::bench::BenchMode;
use crate::args::measure::OutputArgs;
use crate::console;
use crate::interrupt::Interrupt;
use crate::measuring::progress::Progress;
use crate::measuring::record::{Sink, write_whole};
use anyhow::{Result, bail};
use choice::Choice;
use llama_turboquant::measure::stats::Bootstrap;
use llama_turboquant::measure::{Environment, Host, Order, Throughput, ThroughputOptions, throughput};
use llama_turboquant::{Backend, CancelToken, DeviceKind, Error};
use output::{Exporter, exporter};
use row::{Build, Comparison, Row};
use source::Source;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

/// A ratio known no better than this says little about a cache.
const WIDE: f64 = 0.05;

/// Measures what was asked for.
///
/// # Errors
/// Bad settings, found before anything is loaded; a model or a cache that does not work.
pub fn run(args: &BenchArgs) -> Result<ExitCode> {
    if let Some(BenchMode::Serve(args)) = &args.mode {
        return serve::run(args);
    }
    if args.list_devices {
        return list_devices();
    }
    let plan = Plan::new(args)?;
    Sink::open(&OutputArgs {
        json: false,
        out: args.out.clone(),
    })?;
    let cancel = Interrupt::install()?.token();
    let sources = Source::all(args, plan.n_ctx(), &cancel)?;
    let mut choice = Choice::new(args, &plan, &sources);
    let plan = plan.resolve(|group, asked| choice.of(group, asked))?;
    for group in &plan.groups {
        source::check(&sources[group.model], group, args)?;
    }
    let build = Build::new(&Environment::detect()?);
    let extra = args.extra || args.ab.is_some();
    let mut bench = Bench {
        args,
        cancel,
        printers: [(args.output, false), (args.output_err, true)]
            .into_iter()
            .filter_map(|(format, to_err)| Some(Printer::new(exporter(format, &build, plan.varies, extra)?, to_err)))
            .collect(),
        progress: Progress::new("bench", plan.steps(args.repetitions as usize)),
        build,
        done: 0,
        rows: Vec::new(),
        warnings: Vec::new(),
    };
    let outcome = bench.measure(&plan, &sources);
    bench.finish();
    outcome?;
    Ok(ExitCode::SUCCESS)
}

struct Bench<'a> {
    args: &'a BenchArgs,
    build: Build,
    cancel: CancelToken,
    printers: Vec<Printer>,
    progress: Progress,
    /// Steps of the plan that are done.
    done: usize,
    rows: Vec<Row>,
    warnings: Vec<String>,
}

impl Bench<'_> {
    fn measure(&mut self, plan: &Plan, sources: &[Source]) -> Result<()> {
        for printer in &mut self.printers {
            printer.header(&self.progress);
        }
        let mut loaded: Option<(_, Host)> = None;
        for (number, group) in plan.groups.iter().enumerate() {
            let source = &sources[group.model];
            let settings = group.load_settings();
            if loaded.as_ref().is_none_or(|(present, _)| *present != settings) {
                // first out, then in: two models may not fit
                drop(loaded.take());
                self.progress.say(format!("loading {}", source.name()));
                let token = self.cancel.clone();
                let builder = source.builder(group).progress(move |_| match token.is_cancelled() {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                });
                loaded = Some((settings, Host::load(builder, group.load_mode.maps())?));
            }
            let Some((_, host)) = &loaded else { continue };
            self.say(&format!("benchmark {}/{}: {group}", number + 1, plan.groups.len()));
            let found = self.group(group, host);
            self.keep(group, source, host, found)?;
        }
        Ok(())
    }

    fn say(&mut self, what: &str) {
        self.progress.say(what);
        if self.args.progress {
            console::say!("turboquant bench: {what}");
        }
    }

    fn group(&mut self, group: &Group, host: &Host) -> Throughput {
        let args = self.args;
        let mut options = ThroughputOptions::default();
        options.runs = args.repetitions as usize;
        options.warm_up = !args.no_warmup;
        options.delay = Duration::from_secs(args.delay.into());
        options.cancel = Some(self.cancel.clone());
        let workloads = group.workloads(!args.no_kv_guard, args.allow_cpu_attention);
        throughput(host, &workloads, &options, |step| {
            self.done += 1;
            self.progress.at(self.done);
            if args.progress {
                let cache = group.caches[step.arm];
                match step.runs {
                    0 => console::say!("turboquant bench: {} over {cache}: ready", group.test),
                    n => console::say!(
                        "turboquant bench: {} over {cache}: run {n}/{}",
                        group.test,
                        args.repetitions
                    ),
                }
            }
        })
    }

    /// Prints and keeps what a group gave.
    fn keep(&mut self, group: &Group, source: &Source, host: &Host, found: Throughput) -> Result<()> {
        let baseline = self.args.ab.and_then(|base| {
            let arm = group.caches.iter().position(|cache| *cache == base)?;
            found.arms.iter().find(|(number, _)| *number == arm)
        });
        let interleaved = found.order == Order::Interleaved;
        if !interleaved {
            self.warn(format!(
                "{group}: the caches do not fit the memory together and were measured one after the other; what changed on the \
                 machine meanwhile is in the ratio"
            ));
        }
        for (number, speed) in found.arms.iter().filter(|(_, speed)| !speed.runs.is_empty()) {
            let cache = group.caches[*number];
            if group.attention == Attention::On && !speed.facts.attention.fused {
                bail!(
                    "--flash-attn on: {} does not compute attention over {cache} fused; use auto",
                    speed.facts.attention
                );
            }
            if let Some(warning) = speed.facts.attention.warning() {
                self.warn(format!("{} over {cache}: {warning}", group.test));
            }
            let mut row = Row::new(&self.build, &source.name(), host.model(), group, cache, speed.clone());
            row.foreign_cpu = found.noise.map(|noise| noise.foreign_cpu);
            row.comparison = self.args.ab.map(|base| Comparison {
                baseline: base,
                ratio: baseline
                    .filter(|(arm, base)| arm != number && !base.runs.is_empty())
                    .map(|(_, base)| speed.ratio(base, &Bootstrap::default())),
                interleaved,
            });
            if let Some(ratio) = row.ratio().filter(|ratio| ratio.half_width() > WIDE * ratio.estimate) {
                self.warn(format!(
                    "{} over {cache}: the ratio is only known to lie between {:.3} and {:.3}; raise -r, or measure on a quieter \
                     machine",
                    group.test, ratio.low, ratio.high
                ));
            }
            for printer in &mut self.printers {
                printer.row(&row, &self.progress);
            }
            self.rows.push(row);
        }
        if let Some(noise) = found.noise.filter(llama_turboquant::measure::Noise::is_loud) {
            self.warn(format!(
                "{group}: other processes took {:.0} % of the processor time; do not trust differences of a few percent",
                100.0 * noise.foreign_cpu
            ));
        }
        if let Some(path) = &self.args.out {
            let rows: Vec<_> = self.rows.iter().map(Row::json).collect();
            write_whole(path, &(serde_json::to_string_pretty(&rows)? + "\n"))?;
        }
        match found.stopped {
            None => Ok(()),
            Some(Error::Cancelled) => {
                let wanted = group.caches.len() * self.args.repetitions as usize;
                let made: usize = found.arms.iter().map(|(_, speed)| speed.runs.len()).sum();
                self.warn(format!(
                    "interrupted: {group} has {made} of {wanted} runs, what would follow has none"
                ));
                Err(Error::Cancelled.into())
            }
            Some(error) => Err(anyhow::Error::from(error).context(format!("{}: {group}", source.name()))),
        }
    }

    fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    fn finish(&mut self) {
        for printer in &mut self.printers {
            printer.footer(&self.progress);
        }
        for warning in &self.warnings {
            console::say!("warning: {warning}");
        }
    }
}

/// An exporter and where its text goes.
struct Printer {
    exporter: Box<dyn Exporter>,
    to_err: bool,
    /// Text after the last line break: a bar on the same terminal would be drawn over it.
    rest: String,
}

impl Printer {
    fn new(exporter: Box<dyn Exporter>, to_err: bool) -> Self {
        Self {
            exporter,
            to_err,
            rest: String::new(),
        }
    }

    fn header(&mut self, progress: &Progress) {
        let text = self.exporter.header();
        self.print(&text, progress);
    }

    fn row(&mut self, row: &Row, progress: &Progress) {
        let text = self.exporter.row(row);
        self.print(&text, progress);
    }

    fn footer(&mut self, progress: &Progress) {
        let text = self.exporter.footer();
        self.print(&text, progress);
    }

    fn print(&mut self, text: &str, progress: &Progress) {
        self.rest += text;
        if let Some((lines, rest)) = self.rest.rsplit_once('\n') {
            if self.to_err {
                eprintln!("{lines}"); // the table, which was asked for there
            } else {
                progress.println(lines);
            }
            self.rest = rest.to_owned();
        }
    }
}

fn list_devices() -> Result<ExitCode> {
    println!("Available devices:");
    let devices = Backend::init()?.devices()?;
    let others: Vec<_> = devices.iter().filter(|device| device.kind != DeviceKind::Cpu).collect();
    for device in &others {
        println!(
            "  {}: {} ({} MiB, {} MiB free)",
            device.name,
            device.description,
            device.memory_total >> 20,
            device.memory_free >> 20
        );
    }
    if others.is_empty() {
        println!("  (none)");
    }
    Ok(ExitCode::SUCCESS)
}

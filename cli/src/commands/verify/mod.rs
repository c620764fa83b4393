//! `turboquant verify`: does this build do what it promises, on this machine?

mod devices;
mod markdown;
mod model;
mod record;

use crate::args::verify::VerifyArgs;
use crate::console;
use crate::interrupt::{INTERRUPTED, Interrupt};
use anyhow::{Context, Result, bail};
use llama_turboquant::engine::attention::Implementation;
use llama_turboquant::measure::Environment;
use llama_turboquant::verify::{self, Check, Plan};
use llama_turboquant::{Backend, DeviceInfo, DeviceKind};
use record::{Record, State};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

/// Runs all checks; exit code 1 if one fails, 130 if somebody stopped them.
///
/// # Errors
/// An engine that cannot tell what it is, a device that is not there, a report that cannot be written.
pub fn run(args: &VerifyArgs) -> Result<ExitCode> {
    let started = Instant::now();
    let backend = Backend::init()?;
    let devices = selected(backend.devices()?, args.device.as_deref())?;
    let cancel = Interrupt::install()?.token();
    let attention = Implementation::all()?;
    let mut record = Record {
        program: env!("CARGO_PKG_VERSION"),
        engine: backend.describe()?,
        environment: Environment::detect()?,
        quick: args.quick,
        attention: record::AttentionKernels {
            active: attention.active.name().to_owned(),
            runnable: attention.runnable.iter().map(|it| it.name().to_owned()).collect(),
            skipped: attention.skipped,
        },
        notes: Vec::new(),
        checks: Vec::new(),
        devices: Vec::new(),
        model: Vec::new(),
        seconds: 0.0,
        state: State::Unfinished("starting".into()),
    };
    record.notes = notes(&record);
    // before the work: a file that cannot be written is found out now
    let report = Report(args.report.as_deref());
    report.write(&record)?;
    if !args.json {
        print!("{}", head(&record));
    }
    if devices.iter().any(|(_, device)| device.kind == DeviceKind::Cpu) {
        let plan = Plan {
            cancel: cancel.clone(),
            ..if args.quick {
                Plan::detect()?.quick()
            } else {
                Plan::detect()?
            }
        };
        record.checks = verify::run(&plan, |check| {
            if !args.json {
                print!("{}", check_text(check));
            }
        });
    }
    for (number, info) in &devices {
        if cancel.is_cancelled() {
            break;
        }
        let found = devices::check(*number, info.clone(), args.quick, &cancel, |running| {
            record.state = State::Unfinished(running);
            // best effort: what matters is the report at the end
            let _ = report.write(&record);
        })?;
        if !args.json {
            print!("{}", devices::text(&found));
        }
        record.devices.push(found);
    }
    if !cancel.is_cancelled() {
        let found = record.devices.clone();
        record.model = model::check(&found, &cancel, |running| {
            record.state = State::Unfinished(running);
            let _ = report.write(&record);
        })?;
        if !args.json {
            print!("{}", model::text(&record.model));
        }
    }
    record.state = if cancel.is_cancelled() {
        State::Stopped
    } else {
        State::Finished
    };
    record.seconds = started.elapsed().as_secs_f64();
    report.write(&record)?;
    let failed = record.failed();
    if args.json {
        println!("{:#}", record.json());
    } else {
        print!("{}", tail(&record));
    }
    Ok(if failed > 0 {
        ExitCode::FAILURE
    } else if record.state == State::Stopped {
        ExitCode::from(INTERRUPTED)
    } else {
        ExitCode::SUCCESS
    })
}

/// The Markdown report, if one was asked for.
struct Report<'a>(Option<&'a Path>);

impl Report<'_> {
    fn write(&self, record: &Record) -> Result<()> {
        let Some(path) = self.0 else { return Ok(()) };
        std::fs::write(path, markdown::document(record))
            .with_context(|| format!("cannot write the report {}", path.display()))
    }
}

/// The devices to check, with their numbers: those that hold layers, or the one of that name.
fn selected(devices: Vec<DeviceInfo>, name: Option<&str>) -> Result<Vec<(usize, DeviceInfo)>> {
    let numbered = devices.into_iter().enumerate();
    let mut list: Vec<_> = numbered
        .filter(|(_, device)| device.kind != DeviceKind::Accel)
        .collect();
    let Some(name) = name else { return Ok(list) };
    let names: Vec<String> = list.iter().map(|(_, device)| device.name.clone()).collect();
    list.retain(|(_, device)| device.name.eq_ignore_ascii_case(name));
    if list.is_empty() {
        bail!(
            "--device {name}: there is no such device; this build has {}",
            names.join(", ")
        );
    }
    Ok(list)
}

/// What would otherwise be silent: a backend that was built in and found nothing to run on.
fn notes(record: &Record) -> Vec<String> {
    let found = |backend: &str| {
        record
            .environment
            .devices
            .iter()
            .any(|device| device.backend == backend)
    };
    let idle = record.engine.backends.iter().filter(|backend| !found(backend));
    idle.map(|backend| format!("NOT CHECKED: the backend {backend} is built in, and found no device on this machine."))
        .collect()
}

fn head(record: &Record) -> String {
    let info = &record.engine;
    let kernels = &record.attention;
    let skipped = match kernels.skipped.as_slice() {
        [] => String::new(),
        names => format!("; this CPU lacks what {} needs", names.join(", ")),
    };
    let mut text = format!(
        "llama.cpp {}, codec version {} ({}), {}\nattention over compressed caches on the CPU: {} (runs here: {}{skipped})\n",
        info.llama_cpp,
        info.codec_version,
        info.codec,
        info.target,
        kernels.active,
        kernels.runnable.join(", ")
    );
    for note in &record.notes {
        text += &format!("{note}\n");
    }
    text
}

fn check_text(check: &Check) -> String {
    format!(
        "{:4}  {:28} {}\n      {} (required: {})\n",
        record::verdict(check),
        check.id,
        check.title,
        check.measured,
        check.requirement
    )
}

fn tail(record: &Record) -> String {
    let mut text = String::new();
    for check in record.checks.iter().filter(|check| check.passed == Some(false)) {
        text += &format!("\n{}:\n{}\n", check.id, check.detail);
    }
    let totals = record.totals();
    text += &format!(
        "\n{} passed, {} failed, {} skipped or refused",
        totals.passed, totals.failed, totals.skipped
    );
    if record.state == State::Stopped {
        text += &format!(", {} not run: stopped", totals.not_run);
    }
    text += &format!(" ({:.0} s)\n", record.seconds);
    text
}

/// A bar over the operators of one check.
fn bar(what: &str, total: usize) -> crate::measuring::progress::Progress {
    if !console::is_watched() {
        console::say!("{what}: {total} operators");
    }
    crate::measuring::progress::Progress::new(what, total)
}

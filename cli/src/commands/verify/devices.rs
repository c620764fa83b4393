//! Every registered kernel on one device.

use anyhow::{Context, Result};
use llama_turboquant::engine::device_probe::Probe;
use llama_turboquant::verify::device::{self, Cell, CellResult, DeviceReport, Plan, Registry};
use llama_turboquant::{Backend, CancelToken, DeviceInfo, DeviceKind, memory};

/// Checks device `number`; `running` hears of each operator before it runs.
pub(super) fn check(
    number: usize,
    info: DeviceInfo,
    quick: bool,
    cancel: &CancelToken,
    mut running: impl FnMut(String),
) -> Result<DeviceReport> {
    let name = info.name.clone();
    let registry = Registry::of_engine()?;
    let plan = Plan {
        quick,
        cancel: cancel.clone(),
    };
    running(format!("{name}: starting"));
    let mut probe =
        Probe::open(number, memory::physical_cores()).with_context(|| format!("cannot open the device {name}"))?;
    let mut bar = None;
    let mut last: Option<Cell> = None;
    let mut report = device::check(info, &mut probe, &registry, &plan, |progress, cell| {
        let bar = bar.get_or_insert_with(|| super::bar(&name, progress.total));
        bar.at(progress.done);
        if last.as_ref() != Some(cell) {
            bar.say(format!("{name}: {cell}"));
            running(format!("{name}: {cell}"));
            last = Some(cell.clone());
        }
    })
    .with_context(|| format!("cannot check the device {name}"))?;
    // a kernel that cannot be made is known once it was asked for
    if let Some(device) = Backend::init()?.devices()?.into_iter().nth(number) {
        report.device.faults = device.faults;
    }
    Ok(report)
}

/// The largest error of attention, few or many queries, and its bound.
pub(super) fn worst(report: &DeviceReport, many: bool) -> Option<(f64, f64)> {
    let of_kind = report.cells.iter().filter_map(|result| match &result.cell {
        Cell::Attention { many: it, .. } if *it == many => result.error.zip(result.bound),
        _ => None,
    });
    of_kind.max_by(|a, b| a.0.total_cmp(&b.0))
}

/// Why nothing at all was checked, if so.
pub(super) fn nothing_checked(report: &DeviceReport) -> bool {
    report.counts().compared == 0
}

/// What is wrong with a cell, in a line.
pub(super) fn failure(result: &CellResult) -> String {
    format!("{}: {}", result.cell, result.wrong.join("; "))
}

/// For people.
pub(super) fn text(report: &DeviceReport) -> String {
    let counts = report.counts();
    let device = &report.device;
    let mut text = format!(
        "\n{} ({}): this build claims {}\n  {} passed, {} failed, {} refused, {} not run; {} blocks and problems compared, {} ties\n",
        device.name,
        device.description,
        report.claims,
        counts.passed,
        counts.failed,
        counts.refused,
        counts.not_run,
        counts.compared,
        counts.ties
    );
    for (many, queries) in [(false, "few queries"), (true, "many queries")] {
        if let Some((error, bound)) = worst(report, many) {
            text += &format!("  attention, {queries}: largest relative error {error:.1e} (allowed {bound:.0e})\n");
        }
    }
    if nothing_checked(report) && device.kind != DeviceKind::Cpu {
        text += &format!("  NOT CHECKED: no kernel of ours ran on {}\n", device.name);
    }
    for fault in &device.faults {
        text += &format!("  not built: {}\n", fault.trim_end().replace('\n', "\n    "));
    }
    for result in report.failures() {
        text += &format!("  FAIL  {}\n", failure(result));
    }
    text
}

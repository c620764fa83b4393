//! The embedded model on a device against the CPU.

use super::devices::nothing_checked;
use super::record::{ModelOutcome, ModelRow};
use crate::embedded;
use crate::measuring::data::EVAL;
use anyhow::Result;
use llama_turboquant::verify::device::{DeviceReport, Outcome};
use llama_turboquant::verify::model::{CACHES, Reference, check as compare};
use llama_turboquant::{CancelToken, DeviceKind, Error, GpuLayers, KvType, Model};

/// Compares on the graphics processors among `devices`, all layers on them, then on the CPU by itself.
pub(super) fn check(
    devices: &[DeviceReport],
    cancel: &CancelToken,
    mut running: impl FnMut(String),
) -> Result<Vec<ModelRow>> {
    let path = embedded::path()?;
    let load = |layers: GpuLayers| Model::builder(&path).gpu_layers(layers).load();
    let cpu = load(GpuLayers::Count(0))?;
    let mut rows = Vec::new();
    let is_cpu = |report: &&DeviceReport| report.device.kind == DeviceKind::Cpu;
    let others = devices.iter().filter(|report| !is_cpu(report));
    // layers on a device that runs none of our kernels prove nothing of them; on a virtual one they may hang
    let (idle, cards): (Vec<&DeviceReport>, Vec<_>) = others.partition(|report| nothing_checked(report));
    for report in idle {
        let why = "not tried: no kernel of ours runs on this device";
        rows.extend(all_caches(&report.device.name, || ModelOutcome::Refused(why.into())));
    }
    if !cards.is_empty() {
        let names: Vec<&str> = cards.iter().map(|report| report.device.name.as_str()).collect();
        let device = names.join(", ");
        // a device that may refuse a cache has refused its kernels
        let may_refuse = cards
            .iter()
            .any(|report| report.cells.iter().any(|cell| cell.outcome == Outcome::Refused));
        running(format!("{device}: loading the embedded model"));
        match load(GpuLayers::All) {
            Ok(candidate) => rows.extend(compared(
                &cpu,
                Reference::Cpu,
                &candidate,
                &device,
                may_refuse,
                cancel,
                &mut running,
            )),
            Err(error) => rows.extend(all_caches(&device, || ModelOutcome::Failed(error.to_string()))),
        }
    }
    if let Some(report) = devices.iter().find(is_cpu) {
        let name = &report.device.name;
        rows.extend(compared(
            &cpu,
            Reference::UpstreamAttention,
            &cpu,
            name,
            false,
            cancel,
            &mut running,
        ));
    }
    Ok(rows)
}

/// The same for every cache.
fn all_caches(device: &str, outcome: impl Fn() -> ModelOutcome) -> Vec<ModelRow> {
    let row = |kv: KvType| ModelRow {
        device: device.to_owned(),
        kv: kv.to_string(),
        reference: Reference::Cpu,
        outcome: outcome(),
    };
    CACHES.map(row).into()
}

fn compared(
    cpu: &Model,
    reference: Reference,
    candidate: &Model,
    device: &str,
    may_refuse: bool,
    cancel: &CancelToken,
    running: &mut impl FnMut(String),
) -> Vec<ModelRow> {
    let on_device = reference == Reference::Cpu;
    let mut rows = Vec::new();
    for kv in CACHES {
        running(format!("{device}: the embedded model with a {kv} cache"));
        let outcome = match compare((cpu, reference), candidate, kv, EVAL, on_device, cancel) {
            Ok(result) => ModelOutcome::Compared(result),
            Err(Error::Cancelled) => break,
            Err(error @ Error::UnsupportedKv(_)) if may_refuse => ModelOutcome::Refused(error.to_string()),
            Err(error) => ModelOutcome::Failed(error.to_string()),
        };
        rows.push(ModelRow {
            device: device.to_owned(),
            kv: kv.to_string(),
            reference,
            outcome,
        });
    }
    rows
}

/// What a row was compared with, for people.
pub(super) fn reference(row: &ModelRow) -> &'static str {
    match row.reference {
        Reference::Cpu => "the CPU",
        Reference::UpstreamAttention => "llama.cpp's own attention",
    }
}

/// One line about a row, without its device and cache.
pub(super) fn outcome(row: &ModelRow) -> String {
    match &row.outcome {
        ModelOutcome::Compared(result) => {
            let mut text = format!(
                "divergence {:.1e} nats (largest {:.1e}), same top token {:.1} % of {}",
                result.mean_divergence,
                result.max_divergence,
                100.0 * result.same_top,
                result.tokens
            );
            if !result.devices.is_empty() {
                text += &format!(", attention on {}", result.devices.join(", "));
            }
            for wrong in &result.wrong {
                text += &format!("; WRONG: {wrong}");
            }
            text
        }
        ModelOutcome::Refused(why) => format!("refused: {why}"),
        ModelOutcome::Failed(why) => format!("could not run: {why}"),
    }
}

/// For people.
pub(super) fn text(rows: &[ModelRow]) -> String {
    let mut text = String::from("\nthe embedded model:\n");
    for row in rows {
        let verdict = match &row.outcome {
            _ if row.failed() => "FAIL",
            ModelOutcome::Refused(_) => "skip",
            _ => "ok",
        };
        text += &format!(
            "{verdict:4}  {} {:6} against {}: {}\n",
            row.device,
            row.kv,
            reference(row),
            outcome(row)
        );
    }
    text
}

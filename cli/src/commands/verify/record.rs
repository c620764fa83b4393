//! All that a run of `verify` found.

use llama_turboquant::engine::EngineInfo;
use llama_turboquant::measure::Environment;
use llama_turboquant::verify::Check;
use llama_turboquant::verify::device::DeviceReport;
use llama_turboquant::verify::model::{ModelResult, Reference};
use serde::Serialize;
use serde_json::{Value, json};

/// How far it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// It is running that, or the process ended there.
    Unfinished(String),
    /// Somebody stopped it.
    Stopped,
    /// All was run.
    Finished,
}

/// Kernels of the CPU for attention over compressed caches.
#[derive(Debug, Clone, Serialize)]
pub(super) struct AttentionKernels {
    pub active: String,
    pub runnable: Vec<String>,
    pub skipped: Vec<String>,
}

/// The model with one cache type.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ModelRow {
    /// Where it ran.
    pub device: String,
    /// Cache type.
    pub kv: String,
    /// What it was compared with.
    pub reference: Reference,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: ModelOutcome,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ModelOutcome {
    Compared(ModelResult),
    /// The engine refused the cache, as this build says of the device.
    Refused(String),
    /// It could not be run, and should have been.
    Failed(String),
}

impl ModelRow {
    pub fn failed(&self) -> bool {
        match &self.outcome {
            ModelOutcome::Compared(result) => !result.wrong.is_empty(),
            ModelOutcome::Refused(_) => false,
            ModelOutcome::Failed(_) => true,
        }
    }
}

/// A run.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub program: &'static str,
    pub engine: EngineInfo,
    pub environment: Environment,
    pub quick: bool,
    pub attention: AttentionKernels,
    pub notes: Vec<String>,
    pub checks: Vec<Check>,
    pub devices: Vec<DeviceReport>,
    pub model: Vec<ModelRow>,
    pub seconds: f64,
    pub state: State,
}

/// Checks, cells and model rows together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Totals {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
    pub not_run: usize,
}

impl Record {
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for check in &self.checks {
            match check.passed {
                Some(true) => totals.passed += 1,
                Some(false) => totals.failed += 1,
                None => totals.skipped += 1,
            }
        }
        for device in &self.devices {
            let counts = device.counts();
            totals.passed += counts.passed;
            totals.failed += counts.failed;
            totals.skipped += counts.refused;
            totals.not_run += counts.not_run;
        }
        for row in &self.model {
            match &row.outcome {
                _ if row.failed() => totals.failed += 1,
                ModelOutcome::Refused(_) => totals.skipped += 1,
                _ => totals.passed += 1,
            }
        }
        totals
    }

    pub fn failed(&self) -> usize {
        self.totals().failed
    }

    pub fn json(&self) -> Value {
        let devices: Vec<Value> = self
            .devices
            .iter()
            .map(|device| json!({"report": device, "counts": device.counts()}))
            .collect();
        let totals = self.totals();
        json!({
            "program": self.program, "engine": self.engine, "environment": self.environment, "quick": self.quick,
            "attention": self.attention, "notes": self.notes, "checks": self.checks, "devices": devices,
            "model": self.model, "seconds": self.seconds, "stopped": self.state == State::Stopped,
            "passed": totals.passed, "failed": totals.failed, "skipped": totals.skipped, "not_run": totals.not_run,
        })
    }
}

pub(super) fn verdict(check: &Check) -> &'static str {
    match check.passed {
        Some(true) => "ok",
        Some(false) => "FAIL",
        None => "skip",
    }
}

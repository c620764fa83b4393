//! What macOS lets the graphics processor keep of unified memory, and whether more would help.

use crate::doctor::facts::{FileState, ModelFile};
use crate::doctor::{Finding, Level};
use crate::settings::human_bytes;
use llama_turboquant::machine::{GpuMemory, Machine};

const GIB: u64 = 1 << 30;

/// What macOS, its graphics driver and small programs take at least (tests/data/machines count with the same).
const SYSTEM: u64 = 5 * GIB;

/// Less than this left to macOS, and it swaps or stops answering.
const TIGHT: u64 = 2 * GIB;

/// A smaller gain is not worth a setting.
const WORTHWHILE: u64 = GIB;

/// What is left to macOS: an eighth of memory, and no less than it needs for itself.
fn left_to_system(total: u64) -> u64 {
    SYSTEM.max(total / 8)
}

/// Nothing where the limit is no obstacle: other systems, little memory, a limit that was raised, memory that other programs
/// have anyway, a model that fits.
pub(super) fn check(machine: &Machine, model: Option<&ModelFile>) -> Option<Finding> {
    const ID: &str = "devices.wired_limit";
    if machine.os != "macos" || machine.arch != "aarch64" {
        return None;
    }
    let unified = machine.devices().find(|(_, gpu)| gpu.kind == GpuMemory::Unified);
    let (_, gpu) = unified?;
    let (total, limit) = (machine.memory.total.get()?, gpu.total.get()?);
    let left = total.saturating_sub(limit);
    let what = format!(
        "macOS lets the graphics processor keep {} of {}",
        human_bytes(limit),
        human_bytes(total)
    );
    if left < TIGHT {
        let means = format!(
            "A model that fills it leaves {} to everything else; the system may freeze.",
            human_bytes(left)
        );
        return Some(
            Finding::new(ID, Level::Warning, what, means)
                .remedy("`sudo sysctl iogpu.wired_limit_mb=0` gives the default back (docs/macos.md)."),
        );
    }
    let raised = total.saturating_sub(left_to_system(total));
    // more than what can be taken from other programs does not help
    let usable = machine
        .memory
        .available
        .get()
        .map_or(raised, |available| raised.min(available));
    let small = model.is_some_and(|model| matches!(model.state, FileState::Whole { bytes, .. } if bytes < limit / 2));
    if small || usable < limit.saturating_add(WORTHWHILE) {
        return None;
    }
    let means = format!(
        "Layers and caches beyond that are computed by the processor, although {} more could be lent.",
        human_bytes(raised - limit)
    );
    let mib = raised >> 20;
    Some(Finding::new(ID, Level::Note, what, means).remedy(format!(
        "If a model is too large for it: `sudo sysctl iogpu.wired_limit_mb={mib}` lends {} until the next start and leaves {} to macOS; \
         `sudo sysctl iogpu.wired_limit_mb=0` undoes it (docs/macos.md).",
        human_bytes(raised),
        human_bytes(total - raised)
    )))
}

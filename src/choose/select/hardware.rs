//! The machine as the selector's contract shows it.

use super::gb;
use crate::machine::{Fact, GpuMemory, Machine, Pool};
use serde::Serialize;
use std::collections::BTreeMap;

/// The machine as the contract shows it. `None`: not known, and `unknown` says why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hardware {
    /// Main memory installed.
    pub total_memory_gb: Option<f64>,
    /// Main memory that can be taken.
    pub available_memory_gb: Option<f64>,
    /// Memory of the first graphics device; unified: what the driver lets a process use.
    pub gpu_memory_gb: Option<f64>,
    /// The first graphics device.
    pub gpu_name: Option<String>,
    /// Whether this is an Apple machine with unified memory.
    pub is_apple_silicon: bool,
    /// The processor.
    pub chip_name: Option<String>,
    /// Physical cores.
    pub cpu_cores: Option<u32>,
    /// Where the facts come from.
    pub detection_method: String,
    /// Every graphics device.
    pub gpus: Vec<GpuHardware>,
    /// What is not known, and why.
    pub unknown: BTreeMap<String, String>,
}

/// A graphics device.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GpuHardware {
    /// The hardware's name.
    pub name: String,
    /// The engine's name; `None`: this build cannot use it.
    pub device: Option<String>,
    /// Whether its memory is main memory.
    pub unified: bool,
    /// In all.
    pub memory_gb: Option<f64>,
    /// Free.
    pub free_gb: Option<f64>,
}

impl Hardware {
    /// What `machine` is.
    pub fn of(machine: &Machine) -> Self {
        let mut unknown = BTreeMap::new();
        let mut bytes = |name: &str, fact: &Fact<u64>| match fact {
            Fact::Known(bytes) => Some(gb(*bytes)),
            Fact::Unknown(reason) => {
                unknown.insert(name.to_owned(), reason.clone());
                None
            }
        };
        let total_memory_gb = bytes("total_memory_gb", &machine.memory.total);
        let pools = machine.pools();
        let main = pools.iter().find(|pool| pool.pool == Pool::Main);
        let available_memory_gb = main.and_then(|pool| bytes("available_memory_gb", &pool.capacity));
        let gpus: Vec<GpuHardware> = machine
            .gpus
            .iter()
            .enumerate()
            .map(|(number, gpu)| GpuHardware {
                name: gpu.name.clone(),
                device: gpu.device.clone(),
                unified: gpu.kind == GpuMemory::Unified,
                memory_gb: bytes(&format!("gpus[{number}].memory_gb"), &gpu.total),
                free_gb: bytes(&format!("gpus[{number}].free_gb"), &gpu.free),
            })
            .collect();
        let mut text = |name: &str, reason: Option<&String>| {
            if let Some(reason) = reason {
                unknown.insert(name.to_owned(), reason.clone());
            }
        };
        let reason = |fact: &Fact<String>| match fact {
            Fact::Unknown(reason) => Some(reason.clone()),
            Fact::Known(_) => None,
        };
        text("chip_name", reason(&machine.chip).as_ref());
        if let Fact::Unknown(why) = &machine.cores {
            text("cpu_cores", Some(why));
        }
        Self {
            total_memory_gb,
            available_memory_gb,
            gpu_memory_gb: gpus.first().and_then(|gpu| gpu.memory_gb),
            gpu_name: gpus.first().map(|gpu| gpu.name.clone()),
            is_apple_silicon: machine.os == "macos" && machine.arch == "aarch64",
            chip_name: machine.chip.known().cloned(),
            cpu_cores: machine.cores.get(),
            detection_method: machine.sources.join("; "),
            gpus,
            unknown,
        }
    }
}

//! Graphics devices.

use crate::doctor::facts::Build;
use crate::doctor::{Finding, Level};
use crate::settings::human_bytes;
use llama_turboquant::machine::{Fact, Gpu, Machine};

pub(super) fn check(machine: &Machine, build: &Build) -> Vec<Finding> {
    if machine.gpus.is_empty() {
        return vec![Finding::ok(
            "devices",
            "no graphics device was found; the processor computes",
        )];
    }
    machine.gpus.iter().flat_map(|gpu| device(gpu, build)).collect()
}

fn device(gpu: &Gpu, build: &Build) -> Vec<Finding> {
    let Some(name) = &gpu.device else {
        return vec![unused(gpu, build)];
    };
    let memory = match (&gpu.free, &gpu.total) {
        (Fact::Known(free), Fact::Known(total)) => {
            format!("{} of {} free", human_bytes(*free), human_bytes(*total))
        }
        (Fact::Known(free), _) => format!("{} free", human_bytes(*free)),
        (Fact::Unknown(why), _) => format!("free memory unknown ({why})"),
    };
    let mut findings = vec![match (gpu.free.get(), gpu.total.get()) {
        (Some(free), Some(total)) if free < total / 2 => Finding::new(
            "devices.memory",
            Level::Note,
            format!("{name} ({}): {memory}", gpu.name),
            "Other programs hold the larger part of its memory, so less of a model fits.",
        )
        .remedy("Close programs that use the graphics device: browsers, other model servers."),
        (None, _) => Finding::new(
            "devices.memory",
            Level::Note,
            format!("{name} ({}): {memory}", gpu.name),
            "What fits on it cannot be planned.",
        ),
        _ => Finding::ok("devices.memory", format!("{name} ({}): {memory}", gpu.name)),
    }];
    let turbo = build.turbo.iter().find(|(device, _)| device == name);
    findings.extend(turbo.map(|(_, runs)| {
        if *runs {
            return Finding::ok("devices.turbo", format!("{name} runs attention over turbo caches"));
        }
        Finding::new(
            "devices.turbo",
            Level::Note,
            format!("{name} does not run attention over turbo caches"),
            "It would hand every token's attention to the processor, so such a cache is refused on it.",
        )
        .remedy("Keep the cache in main memory with --no-kv-offload, or use -ctk q8_0 -ctv q8_0; `turboquant kv` shows what runs.")
    }));
    findings
}

/// A device that the engine does not list: it has no backend for it, or the driver does not offer it.
fn unused(gpu: &Gpu, build: &Build) -> Finding {
    let lower = gpu.name.to_lowercase();
    let is = |names: &[&str]| names.iter().any(|name| lower.contains(name));
    let (backend, feature) = if is(&["nvidia", "geforce", "quadro", "tesla"]) {
        ("CUDA", "cuda")
    } else {
        ("Vulkan", "vulkan")
    };
    let there = |backend: &str| {
        build
            .engine
            .backends
            .iter()
            .any(|name| name.eq_ignore_ascii_case(backend))
    };
    let finding = Finding::new(
        "devices.unused",
        Level::Warning,
        if there(backend) {
            format!("{} is there, and its driver does not offer it to {backend}", gpu.name)
        } else {
            format!("{} is there, and this build has no backend for it", gpu.name)
        },
        "The processor computes everything; the device would be many times faster at prompts.",
    );
    if there(backend) {
        let look = if feature == "cuda" {
            "nvidia-smi"
        } else {
            "vulkaninfo --summary"
        };
        return finding.remedy(format!(
            "See whether `{look}` lists it; if not, install or update its driver. In a container, hand the device in."
        ));
    }
    let needs = if feature == "cuda" {
        "the CUDA toolkit"
    } else {
        "the Vulkan SDK and glslc"
    };
    finding.remedy(format!("Build with `--features {feature}`, which needs {needs}."))
}

//! `turboquant verify`: does this build do what the codec promises, here?

use crate::args::VerifyArgs;
use anyhow::Result;
use llama_turboquant::engine::attention::Implementation;
use llama_turboquant::verify::{self, Check, Plan};
use llama_turboquant::{Backend, DeviceKind, KvType};
use serde_json::json;
use std::process::ExitCode;

/// Runs all checks; exit code 1 if one fails.
///
/// # Errors
/// If the engine cannot tell what it is.
pub fn run(args: &VerifyArgs) -> Result<ExitCode> {
    let backend = Backend::init()?;
    let info = backend.describe()?;
    let attention = Implementation::all()?;
    let runnable: Vec<&str> = attention.runnable.iter().map(Implementation::name).collect();
    let plan = Plan::detect()?;
    if !args.json {
        println!(
            "llama.cpp {}, codec version {} ({}), {}",
            info.llama_cpp, info.codec_version, info.codec, info.target
        );
        let skipped = match attention.skipped.as_slice() {
            [] => String::new(),
            names => format!("; this CPU lacks what {} needs", names.join(", ")),
        };
        println!(
            "attention over compressed caches on the CPU: {} (runs here: {}{skipped})",
            attention.active.name(),
            runnable.join(", ")
        );
    }
    let show = |check: &Check| {
        if !args.json {
            println!(
                "{:4}  {:28} {}\n      {} (required: {})",
                verdict(check),
                check.id,
                check.title,
                check.measured,
                check.requirement
            );
        }
    };
    let mut checks = verify::run(&plan, show);
    for check in device_checks(&backend)? {
        show(&check);
        checks.push(check);
    }
    let failed = checks.iter().filter(|check| check.passed == Some(false)).count();
    let skipped = checks.iter().filter(|check| check.passed.is_none()).count();
    if args.json {
        println!(
            "{:#}",
            json!({
                "engine": info,
                "attention": {"active": attention.active.name(), "runnable": runnable, "skipped": attention.skipped},
                "checks": checks, "failed": failed, "skipped": skipped,
            })
        );
    } else {
        for check in checks.iter().filter(|check| check.passed == Some(false)) {
            println!("\n{}:\n{}", check.id, check.detail);
        }
        println!(
            "\n{} passed, {failed} failed, {skipped} skipped",
            checks.len() - failed - skipped
        );
    }
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn verdict(check: &Check) -> &'static str {
    match check.passed {
        Some(true) => "ok",
        Some(false) => "FAIL",
        None => "skip",
    }
}

/// A device that takes layers but not their attention would copy the cache to the CPU at every token.
fn device_checks(backend: &Backend) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for (number, device) in backend.devices()?.into_iter().enumerate() {
        if device.kind == DeviceKind::Accel {
            continue;
        }
        let mut missing = Vec::new();
        for ty in [KvType::Turbo4, KvType::Turbo3, KvType::Turbo2] {
            for head_dim in [64, 128] {
                if !backend.runs_attention(number, ty, ty, (head_dim, head_dim))? {
                    missing.push(format!("{ty}/{ty} at head size {head_dim}"));
                }
            }
        }
        let cpu = device.kind == DeviceKind::Cpu;
        let measured = if missing.is_empty() {
            "all of them".to_owned()
        } else {
            format!("not {}", missing.join(", "))
        };
        checks.push(Check {
            id: "device.attention",
            title: "the device runs attention over turbo caches",
            requirement: format!("turbo4, turbo3, turbo2 on {}", device.name),
            measured,
            // the CPU must; a device without kernels is a fact that contexts refuse, not a broken build
            passed: if missing.is_empty() {
                Some(true)
            } else if cpu {
                Some(false)
            } else {
                None
            },
            detail: format!("{}: {}", device.name, device.description),
        });
    }
    Ok(checks)
}

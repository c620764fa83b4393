//! `turboquant kv`: the cache types and what runs them.

use crate::args::KvArgs;
use crate::report::table;
use anyhow::{Result, bail};
use llama_turboquant::{Backend, DeviceInfo, DeviceKind, KvType};
use serde_json::json;
use std::process::ExitCode;

/// Prints the types, then for each device the pairs it runs attention over.
///
/// # Errors
/// A head size of 0.
pub fn run(args: &KvArgs) -> Result<ExitCode> {
    if args.head_dim == 0 || args.head_dim > 4096 {
        bail!("--head-dim {}: heads have 1 to 4096 values", args.head_dim);
    }
    let backend = Backend::init()?;
    let devices: Vec<(usize, DeviceInfo)> = backend
        .devices()?
        .into_iter()
        .enumerate()
        .filter(|(_, device)| device.kind != DeviceKind::Accel)
        .collect();
    let mut matrices = Vec::new();
    for (number, device) in &devices {
        let mut runs = Vec::new();
        for k in KvType::ALL {
            for v in KvType::ALL {
                if backend.runs_attention(*number, k, v, (args.head_dim, args.head_dim))? {
                    runs.push((k, v));
                }
            }
        }
        matrices.push((device, runs));
    }
    if args.json {
        println!("{:#}", as_json(&matrices, args.head_dim));
        return Ok(ExitCode::SUCCESS);
    }
    let rows = KvType::ALL.into_iter().map(|ty| {
        let blocks: Vec<String> = ty.layouts().map(|l| format!("{} in {} B", l.block, l.bytes)).collect();
        let head_dims: Vec<String> = ty.layouts().map(|l| l.block.to_string()).collect();
        vec![
            ty.to_string(),
            blocks.join(", "),
            format!("multiple of {}", head_dims.last().cloned().unwrap_or_default()),
            format!("{:.3}", ty.bits_per_value()),
            format!("{:.2}x", 16.0 / ty.bits_per_value()),
        ]
    });
    println!(
        "{}\n",
        table(
            &["type", "values in bytes", "head size", "bits/value", "vs f16"],
            3,
            rows
        )
    );
    for (device, runs) in matrices {
        println!(
            "{} ({}): attention over heads of {} values, K down, V across",
            device.name, device.description, args.head_dim
        );
        let mut header = vec!["K \\ V"];
        header.extend(KvType::ALL.map(KvType::name));
        let rows = KvType::ALL.into_iter().map(|k| {
            let cells = KvType::ALL
                .into_iter()
                .map(|v| if runs.contains(&(k, v)) { "yes" } else { "-" }.to_owned());
            std::iter::once(k.to_string()).chain(cells).collect()
        });
        println!("{}\n", table(&header, 1, rows));
        for fault in &device.faults {
            println!(
                "{}: {fault}\nThe pairs that need it are refused there. `turboquant verify --report` writes what a bug report needs.\n",
                device.name
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn as_json(matrices: &[(&DeviceInfo, Vec<(KvType, KvType)>)], head_dim: u32) -> serde_json::Value {
    let types: Vec<_> = KvType::ALL
        .into_iter()
        .map(|ty| {
            let blocks: Vec<_> = ty.layouts().map(|l| json!({"name": l.name, "values": l.block, "bytes": l.bytes})).collect();
            json!({"type": ty, "bits_per_value": ty.bits_per_value(), "ratio_vs_f16": 16.0 / ty.bits_per_value(), "blocks": blocks})
        })
        .collect();
    let devices: Vec<_> = matrices
        .iter()
        .map(|(device, runs)| json!({"device": device, "head_dim": head_dim, "pairs": runs}))
        .collect();
    json!({"types": types, "devices": devices})
}

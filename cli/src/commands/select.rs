//! `turboquant select`: the best level of compression that leaves a machine room to breathe.

use crate::args::select::SelectArgs;
use crate::report::table;
use anyhow::{Context, Result};
use llama_turboquant::Backend;
use llama_turboquant::choose::Support;
use llama_turboquant::choose::select::{GB, Hardware, LevelPlan, Request, Selection, select};
use llama_turboquant::machine::Machine;
use llama_turboquant::plan::{Estimate, Footprint};
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;

/// The context where nothing is said.
const CONTEXT: u32 = 32_768;

/// Selects a level and prints it with what it takes and why.
///
/// # Errors
/// A facts file or model that cannot be read; a model or device that can have no level, or not the preferred one.
pub fn run(args: &SelectArgs) -> Result<ExitCode> {
    let machine = match &args.facts {
        Some(path) => Machine::read(path).context("--facts")?,
        None => Machine::detect()?,
    };
    if args.detect_only {
        let hardware = Hardware::of(&machine);
        if args.json {
            println!("{:#}", json!({ "hardware": hardware, "facts": machine }));
        } else {
            print!("{}", describe(&hardware));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let footprint = footprint(args)?;
    // nothing is known of the devices of a machine that is not here
    let support = match &args.facts {
        Some(_) => Support::unknown(),
        None => Support::of(Backend::init()?, &footprint.meta)?,
    };
    let trained = Some(footprint.meta.n_ctx_train).filter(|n| *n > 0);
    let request = Request {
        n_ctx: args.context.unwrap_or_else(|| CONTEXT.min(trained.unwrap_or(CONTEXT))),
        prefer: args.prefer,
        force_cpu: args.force_cpu,
    };
    let selection = select(&footprint, &machine, &support, &request)?;
    let command = command(&selection, args.model.as_deref());
    if args.json {
        let mut value = serde_json::to_value(&selection)?;
        value["command"] = json!(command);
        println!("{value:#}");
    } else {
        print_text(&selection, &command);
    }
    Ok(ExitCode::SUCCESS)
}

fn footprint(args: &SelectArgs) -> Result<Footprint> {
    if let Some(file) = &args.model {
        return Ok(Footprint::read(file)?);
    }
    Ok(Footprint::estimated(&Estimate {
        // clap has asked for a size where there is no file, and for a sensible one
        model_bytes: (args.model_size.unwrap_or_default() * GB) as u64,
        layers: args.layers,
        kv_heads: args.kv_heads,
        head_dim: args.head_dim,
        n_vocab: 0,
        n_embd: 0,
    })?)
}

/// The command that serves the model this way, for a POSIX shell.
fn command(selection: &Selection, model: Option<&Path>) -> String {
    let variables = selection
        .env_vars
        .iter()
        .map(|(name, value)| format!("{name}={value} "));
    let flags = selection
        .server_flags
        .iter()
        .map(|(name, value)| format!(" {name} {value}"));
    let model = model.map_or_else(|| "MODEL.gguf".to_owned(), |path| quoted(&path.to_string_lossy()));
    format!(
        "{}turboquant serve -m {model}{}",
        variables.collect::<String>(),
        flags.collect::<String>()
    )
}

/// A word of a shell's command line.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn print_text(selection: &Selection, command: &str) {
    println!(
        "{} ({} quality): {:.3} bits per value, {:.2} times smaller than f16.",
        selection.level, selection.quality, selection.bits_per_channel, selection.compression_ratio
    );
    println!("{}\n", selection.reasoning);
    let rows = selection.levels.iter().map(row);
    println!(
        "{}\n",
        table(
            &["level", "bits", "KV GB", "needs GB", "headroom GB", "wants GB", "fits"],
            1,
            rows
        )
    );
    for level in &selection.levels {
        if let Some(why) = &level.unsupported {
            println!("{}: {why}", level.level);
        }
    }
    if let Some(longest) = selection.longest_context.filter(|longest| *longest > selection.context) {
        println!("With this level up to {longest} tokens would keep its headroom.");
    }
    for warning in &selection.warnings {
        println!("warning: {warning}");
    }
    println!("\n{command}");
}

fn row(plan: &LevelPlan) -> Vec<String> {
    let number =
        |value: Option<f64>, digits: usize| value.map_or_else(|| "-".into(), |value| format!("{value:.digits$}"));
    vec![
        plan.level.to_string(),
        number(plan.bits_per_channel, 3),
        number(plan.kv_gb, 2),
        number(plan.total_required_gb, 1),
        number(plan.headroom_gb, 1),
        format!("{:.1}", plan.level.minimum_headroom_gb()),
        match (plan.fits, &plan.unsupported) {
            (_, Some(_)) => "not possible",
            (Some(true), _) => "yes",
            (Some(false), _) => "no",
            (None, _) => "unknown",
        }
        .to_owned(),
    ]
}

/// The machine, a line for each fact.
fn describe(hardware: &Hardware) -> String {
    let unknown = |name: &str| {
        let reason = hardware.unknown.get(name).map_or("", String::as_str);
        format!("unknown ({reason})")
    };
    let gb = |name: &str, value: Option<f64>| value.map_or_else(|| unknown(name), |gb| format!("{gb:.2} GB"));
    let mut lines = vec![
        format!(
            "processor         {}",
            hardware.chip_name.clone().unwrap_or_else(|| unknown("chip_name"))
        ),
        format!(
            "cores             {}",
            hardware
                .cpu_cores
                .map_or_else(|| unknown("cpu_cores"), |cores| cores.to_string())
        ),
        format!("main memory       {}", gb("total_memory_gb", hardware.total_memory_gb)),
        format!(
            "available         {}",
            gb("available_memory_gb", hardware.available_memory_gb)
        ),
    ];
    for (number, gpu) in hardware.gpus.iter().enumerate() {
        lines.push(format!(
            "graphics device   {}: {} {}, {} free{}",
            gpu.name,
            gb(&format!("gpus[{number}].memory_gb"), gpu.memory_gb),
            if gpu.unified { "of main memory" } else { "of its own" },
            gb(&format!("gpus[{number}].free_gb"), gpu.free_gb),
            if gpu.device.is_some() {
                ""
            } else {
                "; this build cannot use it"
            }
        ));
    }
    if hardware.gpus.is_empty() {
        lines.push("graphics device   none found".to_owned());
    }
    lines.push(format!("found by          {}", hardware.detection_method));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_split_them() {
        assert_eq!(quoted("models/a-b_1.gguf"), "models/a-b_1.gguf");
        assert_eq!(quoted("my model.gguf"), "'my model.gguf'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}

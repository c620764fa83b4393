//! `turboquant model synth`: random models of any shape.

use crate::args::{ModelCommand, SynthArgs};
use crate::console;
use crate::interrupt::Interrupt;
use crate::settings::human_bytes;
use anyhow::{Context, Result};
use llama_turboquant::engine::synth::SynthParams;
use std::ops::ControlFlow;
use std::process::ExitCode;

/// Runs a `model` subcommand.
///
/// # Errors
/// The subcommand's.
pub fn run(command: &ModelCommand) -> Result<ExitCode> {
    match command {
        ModelCommand::Synth(args) => synth(args),
    }
}

fn synth(args: &SynthArgs) -> Result<ExitCode> {
    let params = SynthParams {
        arch: args.arch.clone(),
        layers: args.layers,
        heads: args.heads,
        kv_heads: args.kv_heads,
        head_dim: args.head_dim,
        embd: args.embd,
        ff: args.ff,
        vocab: args.vocab,
        weight_type: args.weight_type.clone(),
        seed: args.seed,
        ..SynthParams::default()
    };
    let size = params.size()?;
    console::say!("writing {} ({})", args.out.display(), human_bytes(size));
    let cancel = Interrupt::install()?.token();
    let bar = if console::is_watched() {
        indicatif::ProgressBar::new(1000)
    } else {
        indicatif::ProgressBar::hidden()
    };
    params
        .write_with(&args.out, |done| {
            bar.set_position((done * 1000.0) as u64);
            if cancel.is_cancelled() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .with_context(|| format!("cannot write {}", args.out.display()))?;
    bar.finish_and_clear();
    println!("{}", args.out.display());
    Ok(ExitCode::SUCCESS)
}

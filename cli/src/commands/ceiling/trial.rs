//! The trial: contexts of growing length, each in a process of its own, because a system that refuses memory may end the
//! process that asked.

use crate::args::EngineArgs;
use crate::args::ceiling::CeilingArgs;
use crate::settings::EngineSettings;
use anyhow::{Context as _, Result, bail};
use llama_turboquant::engine::{attention, codec};
use llama_turboquant::measure::ceiling::{STEP, try_last_that};
use llama_turboquant::{Batch, CancelToken, ContextConfig, Error, KvSpec, memory};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::Duration;

/// What the search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// The longest context that worked.
    pub n_ctx: Option<u32>,
    /// Why the next longer one did not, or why nothing was tried.
    pub stopped_by: String,
}

/// What an attempt prints when it worked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Attempt {
    n_ctx: u32,
    /// Bytes of address space, where the system tells.
    virtual_bytes: Option<u64>,
}

/// Swapped-out bytes that an attempt may cause by accident.
const SWAP_NOISE: u64 = 64 << 20;
/// The search goes on until it knows the ceiling to this share.
const PRECISION: f64 = 0.01;

/// One context of `n_ctx` tokens with the first cache of `args`, filled; prints an [`Attempt`].
///
/// # Errors
/// Whatever refuses.
pub fn attempt(args: &CeilingArgs, engine: &EngineSettings, n_ctx: u32) -> Result<ExitCode> {
    let spec = args.kv.first().copied().unwrap_or(KvSpec::F16);
    give_way();
    let model = engine.load(&CancelToken::new())?;
    let mut context = model.context(ContextConfig {
        n_ctx,
        n_batch: args.ubatch_size.max(ContextConfig::default().n_batch),
        n_ubatch: args.ubatch_size,
        n_threads: engine.threads,
        kv: engine.cache(spec.config()),
        ..ContextConfig::default()
    })?;
    // the engine has zeroed every cell, so the cache is there; one step proves that it can be used
    let mut batch = Batch::new(1);
    batch.push(model.meta().bos.max(0), 0, 0, true);
    context.decode(&batch)?;
    let attempt = Attempt {
        n_ctx,
        virtual_bytes: memory::address_space(),
    };
    println!("{}", serde_json::to_string(&attempt)?);
    Ok(ExitCode::SUCCESS)
}

/// Linux: if memory runs out, this process is the one to end.
fn give_way() {
    // elsewhere there is no such file, and nothing to do
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
}

/// Searches around the planned length. With `memory`, the processes get that much address space and no more.
///
/// # Errors
/// If this program cannot start itself, or the shortest context fails for another reason than memory.
pub fn search(
    args: &EngineArgs,
    spec: KvSpec,
    n_ubatch: u32,
    planned: u32,
    memory: Option<u64>,
    cancel: &CancelToken,
) -> Result<Trial> {
    let base = match start(args, (spec, n_ubatch), STEP, None, cancel)? {
        Outcome::Worked(attempt) => attempt,
        Outcome::Refused(why) => bail!("a context of {STEP} tokens with {spec}: {why}"),
    };
    let limit = match memory {
        None => None,
        Some(memory) if cfg!(target_os = "linux") => match base.virtual_bytes {
            Some(used) => Some(used + memory),
            None => return Ok(untried("this system does not say how much address space a process has")),
        },
        Some(_) => {
            return Ok(untried(
                "--memory is not enforced by this system, so nothing would refuse",
            ));
        }
    };
    // steps that the search distinguishes: the ceiling is somewhere around the plan
    let unit = ((f64::from(planned) * PRECISION) as u32 / STEP).max(1) * STEP;
    let most = (planned / unit).saturating_mul(2).min(i32::MAX as u32 / unit);
    let mut stopped_by = format!("{} tokens, twice the plan, still worked", most.saturating_mul(unit));
    let mut swapped = memory::swap_used();
    let found = try_last_that(most, |units| {
        let n_ctx = units * unit;
        let outcome =
            start(args, (spec, n_ubatch), n_ctx, limit, cancel).map_err(|error| match cancel.is_cancelled() {
                true => Error::Cancelled,
                false => Error::Engine(format!("{error:#}")),
            })?;
        let now = memory::swap_used();
        let grew = now.zip(swapped).is_some_and(|(now, before)| now > before + SWAP_NOISE);
        swapped = now;
        match outcome {
            Outcome::Worked(_) if !grew => Ok(true),
            Outcome::Worked(_) => {
                stopped_by = format!("{n_ctx} tokens: the system began to swap");
                Ok(false)
            }
            Outcome::Refused(why) => {
                stopped_by = format!("{n_ctx} tokens: {why}");
                Ok(false)
            }
        }
    });
    match found {
        Ok(units) => Ok(Trial {
            n_ctx: units.map(|units| units * unit),
            stopped_by,
        }),
        Err(Error::Cancelled) => Ok(untried("interrupted")),
        Err(error) => Err(error.into()),
    }
}

fn untried(why: &str) -> Trial {
    Trial {
        n_ctx: None,
        stopped_by: format!("not tried: {why}"),
    }
}

enum Outcome {
    Worked(Attempt),
    /// Why it did not.
    Refused(String),
}

/// Runs this program once more, for one attempt.
fn start(
    args: &EngineArgs,
    cache: (KvSpec, u32),
    n_ctx: u32,
    limit: Option<u64>,
    cancel: &CancelToken,
) -> Result<Outcome> {
    let program = std::env::current_exe().context("cannot find this program to start it again")?;
    let mut command = match limit {
        None => Command::new(program),
        Some(bytes) => {
            // the shell's limit needs no unsafe code here; its arguments are passed on, not interpreted
            let mut shell = Command::new("sh");
            shell.args(["-c", "ulimit -v \"$1\" && shift && exec \"$@\"", "sh"]);
            shell.arg((bytes / 1024).to_string()).arg(program);
            shell
        }
    };
    let mut child = command
        .args(attempt_args(args, cache, n_ctx))
        // what was chosen here holds there: kernels differ in the scratch memory that they need
        .args(["--codec", codec::Implementation::active()?.name()])
        .args(["--attention-kernels", attention::Implementation::active()?.name()])
        // glibc reserves 64 MiB of address space per thread that allocates, which would count against the limit
        .env("MALLOC_ARENA_MAX", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start this program again")?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if cancel.is_cancelled() {
            child.kill()?;
            child.wait()?;
            bail!("interrupted");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let output = child.wait_with_output()?; // it has ended; what it printed is short
    match serde_json::from_slice(&output.stdout) {
        Ok(attempt) if status.success() => Ok(Outcome::Worked(attempt)),
        _ => Ok(Outcome::Refused(reason(
            status,
            &String::from_utf8_lossy(&output.stderr),
        ))),
    }
}

fn attempt_args(engine: &EngineArgs, (spec, n_ubatch): (KvSpec, u32), n_ctx: u32) -> Vec<OsString> {
    let mut line: Vec<OsString> = vec!["ceiling".into(), "--attempt".into(), n_ctx.to_string().into()];
    let mut option = |name: &str, value: OsString| line.extend([name.into(), value]);
    option("--kv", spec.to_string().into());
    option("--ubatch-size", n_ubatch.to_string().into());
    option("--threads", engine.threads.to_string().into());
    if let Some(file) = &engine.model {
        option("--model", file.into());
    }
    if let Some(layers) = engine.gpu_layers {
        option("--gpu-layers", layers.to_string().into());
    }
    for (set, flag) in [
        (engine.no_kv_guard, "--no-kv-guard"),
        (engine.allow_cpu_attention, "--allow-cpu-attention"),
        (engine.no_kv_offload, "--no-kv-offload"),
        (engine.swa_full, "--swa-full"),
        (engine.no_mmap, "--no-mmap"),
    ] {
        if set {
            line.push(flag.into());
        }
    }
    line
}

/// Why an attempt ended, from its status and its last words.
fn reason(status: ExitStatus, stderr: &str) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return format!("the system ended the process with signal {signal}");
    }
    let last = stderr.lines().rev().find(|line| line.starts_with("error:"));
    let text = last.or_else(|| stderr.lines().last()).unwrap_or("no reason was given");
    // the engine's log repeats a refusal at each of its layers; the first says it
    let text = text
        .trim_start_matches("error:")
        .split("; ")
        .next()
        .unwrap_or_default()
        .trim();
    if text.is_empty() {
        format!("it ended with {status}")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn the_reason_is_the_signal_or_the_last_error() {
        use std::os::unix::process::ExitStatusExt;
        let status = ExitStatus::from_raw;
        assert!(reason(status(9), "error: x").contains("signal 9"));
        assert_eq!(
            reason(status(1 << 8), "loading\nerror: not enough memory\nnote: y"),
            "not enough memory"
        );
        assert_eq!(reason(status(1 << 8), "odd last words\n"), "odd last words");
        assert!(reason(status(1 << 8), "").contains("no reason"));
    }
}

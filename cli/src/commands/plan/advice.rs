//! What a colleague would say about a plan.

use super::Report;
use crate::settings::human_bytes;
use llama_turboquant::machine::{GpuMemory, Pool};
use llama_turboquant::plan::PoolPlan;

/// Below this much room a machine that does anything else runs short.
const COMFORT: u64 = 2 << 30;

/// Sentences, the most important first.
pub(super) fn sentences(report: &Report) -> Vec<String> {
    let mut said = vec![verdict(report)];
    said.extend(context(report));
    said.extend(scratch(report));
    said.extend(pools(report));
    said
}

fn verdict(report: &Report) -> String {
    let plan = &report.plan;
    let Some((left, pool)) = plan.tightest().and_then(|pool| Some((plan.left(pool)?, pool))) else {
        return "It is unknown how much memory there is, so nothing says whether this fits.".into();
    };
    if left < 0 {
        let short = human_bytes(left.unsigned_abs());
        return match report.longest {
            Some(n_ctx) => format!(
                "This does not fit: {} is short of {short}. The longest context that fits with these types is {n_ctx} tokens.",
                pool.name
            ),
            None => format!(
                "This does not fit at any context: {} is short of {short}. A smaller model, a smaller cache type (-ctk, -ctv), or \
                 another split of the layers (-ngl) is needed.",
                pool.name
            ),
        };
    }
    let room = human_bytes(left.unsigned_abs());
    if left.unsigned_abs() < COMFORT {
        format!(
            "This fits with {room} to spare in {}: little, if other programs run.",
            pool.name
        )
    } else {
        format!("This fits with {room} to spare in {}.", pool.name)
    }
}

fn context(report: &Report) -> Option<String> {
    (report.setup.n_ctx > report.n_ctx_train).then(|| {
        format!(
            "The model was trained with {} tokens; beyond them it needs its positions stretched (RoPE scaling) to make sense.",
            report.n_ctx_train
        )
    })
}

fn scratch(report: &Report) -> Option<String> {
    (!report.plan.exact).then(|| {
        "Scratch buffers are estimated: the engine at hand could not plan them on the devices of that machine."
            .to_owned()
    })
}

fn pools(report: &Report) -> Vec<String> {
    let unusable = report.machine.gpus.iter().filter(|gpu| gpu.device.is_none());
    let mut said: Vec<String> = unusable
        .map(|gpu| format!("{} is not used: this build has no backend for it.", gpu.name))
        .collect();
    let limited = |pool: &&PoolPlan| pool.pool == Pool::Main && pool.why.contains("container");
    if let Some(pool) = report.plan.pools.iter().find(limited) {
        said.push(format!("Main memory is {}.", pool.why));
    }
    if report.machine.devices().any(|(_, gpu)| gpu.kind == GpuMemory::Unified) {
        said.push("The graphics processor shares main memory: what it takes counts there too.".into());
    }
    said
}

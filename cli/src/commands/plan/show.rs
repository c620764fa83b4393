//! A plan as tables and as JSON.

use super::{Report, advice};
use crate::report::table;
use crate::settings::human_bytes;
use llama_turboquant::plan::{Allocated, MemoryPlan, Share};
use serde_json::{Value, json};

/// Prints tables and advice.
pub(super) fn print(report: &Report) {
    let (plan, setup) = (&report.plan, &report.setup);
    println!(
        "{} ({}): {} tokens, {}, cache {}/{}\n",
        report.model,
        report.description,
        setup.n_ctx,
        if setup.n_slots == 1 {
            "one slot".to_owned()
        } else {
            format!("{} slots", setup.n_slots)
        },
        setup.kv.k,
        setup.kv.v
    );
    let mut header = vec!["purpose"];
    header.extend(plan.pools.iter().map(|pool| pool.name.as_str()));
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (name, pick) in Share::PURPOSES {
        if plan.pools.iter().any(|pool| pick(&pool.share) > 0) {
            rows.push(row(name, plan.pools.iter().map(|pool| human_bytes(pick(&pool.share)))));
        }
    }
    rows.push(row(
        "all of it",
        plan.pools.iter().map(|pool| human_bytes(pool.share.total())),
    ));
    if plan.margin > 0 {
        rows.push(row("kept free", plan.pools.iter().map(|_| human_bytes(plan.margin))));
    }
    let capacity = |bytes: Option<u64>| bytes.map_or_else(|| "unknown".to_owned(), human_bytes);
    rows.push(row(
        "available",
        plan.pools.iter().map(|pool| capacity(pool.capacity.get())),
    ));
    println!("{}\n", table(&header, 1, rows));
    for sentence in advice::sentences(report) {
        println!("{sentence}");
    }
    if let Some(measured) = &report.measured {
        println!(
            "\n{}",
            table(&["", "planned", "measured", "off by"], 1, comparison(plan, measured))
        );
    }
}

fn row(name: &str, cells: impl Iterator<Item = String>) -> Vec<String> {
    std::iter::once(name.to_owned()).chain(cells).collect()
}

/// What was planned, and what it is to be compared with. Scratch has no line: the engine reports its buffers only, the plan counts
/// also what threads and outputs take.
fn pairs(plan: &MemoryPlan, measured: &Allocated) -> Vec<(&'static str, u64, Option<u64>)> {
    let sum = |pick: fn(&Share) -> u64| plan.pools.iter().map(|pool| pick(&pool.share)).sum::<u64>();
    let held = |part: &std::collections::BTreeMap<String, u64>| Some(part.values().sum::<u64>());
    let buffers = &measured.buffers;
    vec![
        ("weights", sum(|share| share.weights), held(&buffers.model)),
        (
            "cache and states",
            sum(|share| share.kv + share.recurrent),
            held(&buffers.kv),
        ),
        ("process, at its peak", plan.peak_resident(), measured.peak_resident),
    ]
}

fn comparison(plan: &MemoryPlan, measured: &Allocated) -> Vec<Vec<String>> {
    let rows = pairs(plan, measured).into_iter();
    rows.map(|(name, planned, took)| {
        let off = took
            .filter(|took| *took > 0)
            .map(|took| (planned as f64 / took as f64 - 1.0) * 100.0);
        vec![
            name.to_owned(),
            human_bytes(planned),
            took.map_or_else(|| "unknown".to_owned(), human_bytes),
            off.map_or_else(String::new, |off| format!("{off:+.2} %")),
        ]
    })
    .collect()
}

/// The stable form; `docs/schema/plan.schema.json` describes it.
pub(super) fn json(report: &Report) -> Value {
    let (plan, setup) = (&report.plan, &report.setup);
    let pools: Vec<Value> = plan
        .pools
        .iter()
        .map(|pool| {
            json!({
                "pool": pool.pool,
                "name": pool.name,
                "share": pool.share,
                "total": pool.share.total(),
                "taken": plan.taken(pool.pool),
                "capacity": pool.capacity,
                "why": pool.why,
                "within": pool.within,
                "left": plan.left(pool),
            })
        })
        .collect();
    let measured = report.measured.as_ref().map(|measured| {
        let rows = pairs(plan, measured).into_iter();
        let rows: Vec<Value> = rows
            .map(|(what, planned, took)| json!({"what": what, "planned": planned, "measured": took}))
            .collect();
        json!({"comparison": rows, "buffers": measured.buffers, "peak_resident": measured.peak_resident,
               "resident_loaded": measured.resident_loaded})
    });
    json!({
        "version": 1,
        "model": {
            "name": report.model,
            "description": report.description,
            "layers": report.layers,
            "n_ctx_train": report.n_ctx_train,
        },
        "setup": {
            "n_ctx": setup.n_ctx,
            "slots": setup.n_slots,
            "n_ubatch": setup.n_ubatch,
            "cache_type_k": setup.kv.k,
            "cache_type_v": setup.kv.v,
            "unified": setup.kv.unified,
            "offload": setup.kv.offload,
        },
        "fits": plan.fits(),
        "headroom": plan.headroom(),
        "longest_ctx": report.longest,
        "exact": plan.exact,
        "total": plan.total(),
        "margin": plan.margin,
        "reclaimable": plan.reclaimable,
        "cache": plan.cache,
        "pools": pools,
        "advice": advice::sentences(report),
        "measured": measured,
    })
}

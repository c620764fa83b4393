//! What is read from the engine at each scrape.

use std::time::Duration;

use llama_turboquant::KvType;
use prometheus::{Error, Gauge, GaugeVec, IntCounter, Opts, Registry};

use crate::commands::serve::backend::{Backend, Running};

/// Puts the engine's present state into `registry`, which is thrown away after the scrape: a model that was unloaded leaves
/// no series behind.
pub(super) fn register(registry: &Registry, backend: &dyn Backend, uptime: Duration) -> Result<(), Error> {
    let running = backend.running();
    llama_server(registry, &running)?;
    by_model(registry, &running)?;
    counts(registry, backend)?;
    gauge(
        registry,
        "turboquant_uptime_seconds",
        "Time since the server started.",
        uptime.as_secs_f64(),
    )?;
    let kv_types = KvType::ALL.map(KvType::name).join(",");
    let build = labelled(
        registry,
        "turboquant_build_info",
        "1; the labels say which build runs, and the KV cache types it has.",
        &["version", "kv_types"],
    )?;
    build
        .with_label_values(&[env!("CARGO_PKG_VERSION"), kv_types.as_str()])
        .set(1.0);
    Ok(())
}

/// Sums over all models, by llama-server's names.
fn llama_server(registry: &Registry, running: &[Running]) -> Result<(), Error> {
    let sum = |part: fn(&Running) -> u64| running.iter().map(part).sum::<u64>() as f64;
    let used = sum(cells_used);
    let total = sum(cells_total);
    let ratio = if total > 0.0 { used / total } else { 0.0 };
    gauge(
        registry,
        "llamacpp:kv_cache_usage_ratio",
        "KV-cache usage. 1 means 100 percent usage.",
        ratio,
    )?;
    gauge(registry, "llamacpp:kv_cache_tokens", "KV-cache tokens.", used)?;
    gauge(
        registry,
        "llamacpp:requests_processing",
        "Number of requests processing.",
        sum(busy),
    )?;
    gauge(
        registry,
        "llamacpp:requests_deferred",
        "Number of requests deferred.",
        sum(|model| model.queued.into()),
    )
}

fn by_model(registry: &Registry, running: &[Running]) -> Result<(), Error> {
    /// A gauge's name, its help, and how to read it.
    type Column = (&'static str, &'static str, fn(&Running) -> f64);
    const COLUMNS: [Column; 12] = [
        ("turboquant_kv_cells_used", "Cells of the KV cache in use.", |m| {
            cells_used(m) as f64
        }),
        ("turboquant_kv_cells_total", "Cells of the KV cache.", |m| {
            cells_total(m) as f64
        }),
        (
            "turboquant_kv_bytes_used",
            "Bytes of the KV cache that cells in use occupy.",
            |m| cells_used(m) as f64 * m.card.kv.bytes_per_token,
        ),
        (
            "turboquant_kv_bytes_total",
            "Bytes allocated for the KV cache, recurrent states and rotations included.",
            |m| m.memory.kv as f64,
        ),
        (
            "turboquant_kv_bytes_per_token",
            "Bytes of the KV cache that one token costs.",
            |m| m.card.kv.bytes_per_token,
        ),
        (
            "turboquant_model_bytes",
            "Bytes a model occupies: weights, KV cache and scratch buffers.",
            |m| m.memory.total() as f64,
        ),
        (
            "turboquant_prompt_cache_bytes",
            "Bytes of main memory that kept prompts and checkpoints take.",
            |m| (m.prompt_cache.bytes + m.prompt_cache.checkpoint_bytes) as f64,
        ),
        (
            "turboquant_prompt_cache_limit_bytes",
            "Bytes that they may take together; +Inf: no limit.",
            |m| m.prompt_cache.limit.map_or(f64::INFINITY, |limit| limit as f64),
        ),
        ("turboquant_checkpoints", "Checkpoints that slots hold.", |m| {
            f64::from(m.prompt_cache.checkpoints)
        }),
        ("turboquant_slots_busy", "Slots at work.", |m| busy(m) as f64),
        ("turboquant_slots_total", "Slots.", |m| f64::from(m.card.slots)),
        ("turboquant_queued", "Jobs that wait for a slot.", |m| {
            f64::from(m.queued)
        }),
    ];
    for (name, help, read) in COLUMNS {
        let column = labelled(registry, name, help, &["model"])?;
        for model in running {
            column.with_label_values(&[model.card.id.as_str()]).set(read(model));
        }
    }
    let types = labelled(
        registry,
        "turboquant_kv_cache_info",
        "1; the labels say how the KV cache of a model is stored.",
        &["model", "type_k", "type_v"],
    )?;
    for Running { card, .. } in running {
        let labels = [card.id.as_str(), card.kv.type_k.as_str(), card.kv.type_v.as_str()];
        types.with_label_values(&labels).set(1.0);
    }
    Ok(())
}

/// What the engine counts itself, where it does.
fn counts(registry: &Registry, backend: &dyn Backend) -> Result<(), Error> {
    let counts = backend.counts();
    let counter = |name: &str, help: &str, value: Option<u64>| -> Result<(), Error> {
        let Some(value) = value else {
            return Ok(());
        };
        let counter = IntCounter::new(name, help)?;
        counter.inc_by(value);
        registry.register(Box::new(counter))
    };
    counter("turboquant_model_loads_total", "Models loaded.", counts.loads)?;
    counter("turboquant_model_unloads_total", "Models unloaded.", counts.unloads)?;
    counter(
        "llamacpp:n_decode_total",
        "Total number of llama_decode() calls",
        counts.decodes,
    )?;
    let (Some(decodes), Some(slots)) = (counts.decodes, counts.decoded_slots) else {
        return Ok(());
    };
    gauge(
        registry,
        "llamacpp:n_busy_slots_per_decode",
        "Average number of busy slots per llama_decode() call",
        if decodes > 0 {
            slots as f64 / decodes as f64
        } else {
            0.0
        },
    )
}

fn cells_used(model: &Running) -> u64 {
    model.kv_cells_used.into()
}

fn cells_total(model: &Running) -> u64 {
    model.card.n_ctx_total.into()
}

fn busy(model: &Running) -> u64 {
    model.slots.iter().filter(|slot| slot.busy).count() as u64
}

pub(super) fn gauge(registry: &Registry, name: &str, help: &str, value: f64) -> Result<(), Error> {
    let gauge = Gauge::new(name, help)?;
    gauge.set(value);
    registry.register(Box::new(gauge))
}

fn labelled(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec, Error> {
    let gauges = GaugeVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(gauges.clone()))?;
    Ok(gauges)
}

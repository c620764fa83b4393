//! The choice of cache, context and slots for a model on a machine: the one place where this program asks for it.

use crate::embedded;
use anyhow::{Context as _, Result, bail};
use llama_turboquant::choose::{Decision, Reason, Wishes};
use llama_turboquant::kv::CacheShape;
use llama_turboquant::machine::{Machine, Pool};
use llama_turboquant::plan::{MemoryPlan, PoolPlan, Share};
use llama_turboquant::{GpuLayers, KvCacheConfig, KvType, Model, ModelMeta};
use std::path::Path;

/// What was decided about a model, and what the model is.
#[derive(Debug, Clone)]
pub struct Decided {
    /// The choice.
    pub decision: Decision,
    /// The model.
    pub meta: ModelMeta,
}

/// The machine of a facts file, or this one.
///
/// # Errors
/// A file that cannot be read or is wrong, an engine that does not start.
pub fn machine(facts: Option<&Path>) -> Result<Machine> {
    match facts {
        Some(path) => Machine::read(path).context("--facts"),
        None => Ok(Machine::detect()?),
    }
}

/// Chooses for the model of `file` (`None`: the embedded one) on `machine`.
///
/// # Errors
/// A file that is no model, and wishes that cannot be fulfilled.
pub fn decide(file: Option<&Path>, machine: &Machine, wishes: &Wishes) -> Result<Decided> {
    let path = file.map_or_else(embedded::path, |file| Ok(file.to_owned()))?;
    let model = Model::builder(path).metadata_only(true).load()?;
    let meta = model.meta().clone();
    let decision = choose(&meta, machine, wishes)?;
    Ok(Decided { decision, meta })
}

fn choose(meta: &ModelMeta, machine: &Machine, wishes: &Wishes) -> Result<Decision> {
    let n_slots = wishes.n_slots.unwrap_or(4);
    let n_ctx = wishes
        .n_ctx
        .unwrap_or_else(|| meta.n_ctx_train.min(32_768).max(wishes.min_ctx.unwrap_or(1)));
    let capacity = machine.pools().remove(0).capacity;
    let mut refused = None;
    for (k, v) in [
        (KvType::Turbo4, KvType::Turbo4),
        (KvType::Q8_0, KvType::Turbo4),
        (KvType::F16, KvType::F16),
    ] {
        let mut kv = KvCacheConfig::asymmetric(wishes.k.unwrap_or(k), wishes.v.unwrap_or(v))
            .with_layers(wishes.layers.clone().unwrap_or_default());
        kv.unified = n_slots > 1;
        let shape = CacheShape {
            n_ctx,
            n_ubatch: 512,
            n_seq_max: n_slots,
            unified: kv.unified,
            swa_full: kv.swa_full,
        };
        let cache = match kv.resolve(meta) {
            Ok(resolved) => resolved.bytes(meta, &shape),
            Err(error) => {
                refused = refused.or(Some(error));
                continue;
            }
        };
        let share = Share {
            weights: meta.size,
            kv: cache.total(),
            ..Share::default()
        };
        if let Some(room) = capacity.get().filter(|room| *room < share.total()) {
            bail!("it takes {} bytes, and {room} are available", share.total());
        }
        return Ok(Decision {
            reasons: vec![Reason {
                code: "fits",
                text: format!("{}/{} with {n_ctx} tokens takes {} bytes", kv.k, kv.v, share.total()),
            }],
            kv,
            n_ctx,
            n_slots,
            gpu_layers: wishes.gpu_layers.unwrap_or(GpuLayers::All),
            plan: MemoryPlan {
                pools: vec![PoolPlan {
                    pool: Pool::Main,
                    name: "main memory".into(),
                    share,
                    capacity,
                }],
                cache,
                margin: 0,
                n_ctx,
                n_slots,
            },
            rejected: Vec::new(),
        });
    }
    Err(refused.map_or_else(|| anyhow::anyhow!("no cache fits"), Into::into))
}

//! Provisional: replaced by MemoryPlan::new.
use crate::machine::{Machine, Pool};
use crate::plan::*;
use crate::{GpuLayers, Result};
pub(super) fn plan(f: &Footprint, machine: &Machine, setup: &Setup, margin: u64) -> Result<MemoryPlan> {
    let cache = f.cache(setup)?;
    let n = f.weights.layers.len().max(1) as u64;
    let pools = machine.pools();
    let on = match setup.gpu_layers { GpuLayers::All => n, GpuLayers::Count(c) => u64::from(c).min(n) };
    let on = if pools.len() < 2 { 0 } else { on };
    let weights: u64 = f.weights.layers.iter().sum();
    let all = on == n;
    let gpu_share = Share { weights: weights * on / n + if all { f.weights.output } else { 0 }, kv: cache.total() * on / n, compute: 300 << 20, ..Share::default() };
    let main = Share { weights: f.weights.input + weights * (n - on) / n + if all && on > 0 { 0 } else { f.weights.output }, kv: cache.total() - gpu_share.kv, compute: 100 << 20, program: 100 << 20, ..Share::default() };
    let mut out = vec![PoolPlan { pool: Pool::Main, name: pools[0].name.clone(), share: if on == 0 { Share { kv: cache.total(), ..main } } else { main }, capacity: pools[0].capacity.clone() }];
    if on > 0 {
        out.push(PoolPlan { pool: pools[1].pool, name: pools[1].name.clone(), share: gpu_share, capacity: pools[1].capacity.clone() });
    }
    Ok(MemoryPlan { pools: out, cache, margin, n_ctx: setup.n_ctx, n_slots: setup.n_slots })
}

//! From a footprint, a setup and the facts of a machine to bytes per pool: pure arithmetic.

use super::compute::{ComputeShape, Scratch};
use super::{Footprint, MemoryPlan, PoolPlan, Setup, Share, layer_pools};
use crate::kv::{KvBytes, KvCacheConfig};
use crate::machine::{Machine, Pool, PoolFacts};
use crate::{Error, Result};
use std::collections::BTreeMap;

/// Bytes the engine keeps for a cell in use: position, shift, sequences (256 bits) and extra position in arrays; the cell's entries
/// in two ordered sets, a node of 48 bytes each (`llama_kv_cells`).
const CELL: u64 = 4 + 4 + 32 + 8 + 2 * 48;

/// LLAMA_MAX_SEQ of the pinned engine.
const MAX_SLOTS: u32 = 256;

/// Shares by pool, growing.
struct Shares(BTreeMap<Pool, Share>);

impl Shares {
    fn add(&mut self, pool: Pool, slot: impl FnOnce(&mut Share) -> &mut u64, bytes: u64) {
        let value = slot(self.0.entry(pool).or_default());
        *value = value.saturating_add(bytes);
    }
}

impl MemoryPlan {
    /// Plans `setup` of a model on a machine. Nothing is allocated and no device is asked.
    ///
    /// Layers go to the devices that the engine can use as the engine would put them there ([`layer_pools`]); a KV cache goes with
    /// its layer, unless it is to stay in main memory. Where scratch buffers were measured without the machine's devices, each
    /// device that has layers is taken to need what the processor would.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a setup that no engine takes; [`Error::UnsupportedKv`] for a cache that the model cannot have.
    pub fn new(footprint: &Footprint, setup: &Setup, machine: &Machine) -> Result<Self> {
        check(setup)?;
        let pools = machine.pools();
        let (mut shares, cache, exact) = place(footprint, setup, &setup.kv, machine, &pools)?;
        shares.add(Pool::Main, |share| &mut share.program, footprint.program);
        if footprint.projector > 0 {
            let first = machine
                .devices()
                .next()
                .map_or(Pool::Main, |(number, _)| Pool::Gpu(number));
            shares.add(first, |share| &mut share.projector, footprint.projector);
        }
        let mut exact = exact;
        if let Some(draft) = &footprint.draft {
            let default = KvCacheConfig::default();
            let kv = setup.draft_kv.as_ref().unwrap_or(&default);
            let (drafts, _, draft_exact) = place(draft, setup, kv, machine, &pools)?;
            exact &= draft_exact;
            for (pool, share) in drafts.0 {
                shares.add(pool, |share| &mut share.draft, share.total());
            }
        }
        Ok(Self {
            pools: pools
                .into_iter()
                .filter_map(|pool| {
                    let share = shares.0.remove(&pool.pool)?;
                    (share.total() > 0).then(|| pool_plan(pool, share))
                })
                .collect(),
            cache,
            margin: setup.margin,
            n_ctx: setup.n_ctx,
            n_slots: setup.n_slots,
            exact,
        })
    }

    /// All bytes that are taken.
    pub fn total(&self) -> u64 {
        self.pools
            .iter()
            .fold(0, |sum, pool| sum.saturating_add(pool.share.total()))
    }

    /// What is taken for a model, the program itself not counted.
    pub fn model_bytes(&self) -> u64 {
        let program: u64 = self.pools.iter().map(|pool| pool.share.program).sum();
        self.total().saturating_sub(program)
    }

    /// What is taken in one pool, that of pools that lie within it included.
    pub fn taken(&self, pool: Pool) -> u64 {
        let parts = self
            .pools
            .iter()
            .filter(|part| part.pool == pool || part.within == Some(pool));
        parts.fold(0, |sum, part| sum.saturating_add(part.share.total()))
    }

    /// What is left in a pool once all is taken and the margin kept; negative: what is missing. `None` where it is unknown what
    /// the pool has.
    pub fn left(&self, pool: &PoolPlan) -> Option<i64> {
        let capacity = pool.capacity.get()?;
        let taken = self.taken(pool.pool).saturating_add(self.margin);
        let left = i128::from(capacity) - i128::from(taken);
        Some(i64::try_from(left).unwrap_or(if left < 0 { i64::MIN } else { i64::MAX }))
    }

    /// The least of what is left in any pool; negative: it does not fit by so much. `None` where no pool's capacity is known.
    pub fn headroom(&self) -> Option<i64> {
        self.pools.iter().filter_map(|pool| self.left(pool)).min()
    }

    /// The pool that is shortest of memory.
    pub fn tightest(&self) -> Option<&PoolPlan> {
        let known = self.pools.iter().filter_map(|pool| Some((self.left(pool)?, pool)));
        known.min_by_key(|(left, _)| *left).map(|(_, pool)| pool)
    }

    /// Whether it fits every pool. A pool whose capacity is unknown counts as large enough.
    pub fn fits(&self) -> bool {
        self.headroom().is_none_or(|left| left >= 0)
    }
}

fn pool_plan(facts: PoolFacts, share: Share) -> PoolPlan {
    PoolPlan {
        pool: facts.pool,
        name: facts.name,
        share,
        capacity: facts.capacity,
        why: facts.why,
        within: facts.within,
    }
}

fn check(setup: &Setup) -> Result<()> {
    let refuse = |text: String| Err(Error::Invalid(text));
    if setup.n_ctx == 0 || setup.n_ctx > i32::MAX as u32 {
        return refuse(format!(
            "a context of {} tokens cannot be; 1 to {} can",
            setup.n_ctx,
            i32::MAX
        ));
    }
    if setup.n_slots == 0 || setup.n_slots > MAX_SLOTS {
        return refuse(format!("{} slots cannot be; 1 to {MAX_SLOTS} can", setup.n_slots));
    }
    if setup.n_ubatch == 0 {
        return refuse("a ubatch of 0 tokens computes nothing".into());
    }
    Ok(())
}

/// A model's own shares: weights, cache, scratch.
fn place(
    footprint: &Footprint,
    setup: &Setup,
    kv: &KvCacheConfig,
    machine: &Machine,
    pools: &[PoolFacts],
) -> Result<(Shares, KvBytes, bool)> {
    let mut shares = Shares(BTreeMap::new());
    let devices: Vec<(Pool, u64)> = machine
        .devices()
        .map(|(number, gpu)| (Pool::Gpu(number), gpu.free.get().unwrap_or(0)))
        .collect();
    let weights = &footprint.weights;
    let places = layer_pools(weights.layers.len(), setup.gpu_layers, &devices);
    let (layers, output) = places.split_at(weights.layers.len());
    let output = output[0];

    shares.add(Pool::Main, |share| &mut share.weights, weights.input);
    for (pool, bytes) in layers.iter().zip(&weights.layers) {
        shares.add(*pool, |share| &mut share.weights, *bytes);
    }
    shares.add(output, |share| &mut share.weights, weights.output);
    let shares_memory = |pool: Pool| pools.iter().any(|facts| facts.pool == pool && facts.within.is_some());
    if output != Pool::Main && !shares_memory(output) {
        shares.add(output, |share| &mut share.weights, weights.tied);
    }

    let resolved = kv.resolve(&footprint.meta)?;
    let shape = setup.cache_shape(kv);
    let mut cache = KvBytes::default();
    for layer in resolved.layer_bytes(&footprint.meta, &shape) {
        cache = cache.plus(&layer.bytes);
        let pool = if kv.offload { layers[layer.layer] } else { Pool::Main };
        shares.add(
            pool,
            |share| &mut share.kv,
            layer.bytes.cache().saturating_add(layer.bytes.rotation),
        );
        shares.add(pool, |share| &mut share.recurrent, layer.bytes.recurrent);
    }
    let cells = resolved.cells(&footprint.meta, &shape).saturating_mul(CELL);
    shares.add(Pool::Main, |share| &mut share.cells, cells);

    let scratch = footprint.compute.at(&ComputeShape::with(kv, setup), setup.n_ctx);
    let scratch = scratch.unwrap_or_else(|| estimate(footprint, setup, &shape));
    let rows = u64::from(setup.n_outputs.max(setup.n_slots)).saturating_mul(scratch.output_row);
    shares.add(Pool::Main, |share| &mut share.compute, rows);
    let used: Vec<Pool> = {
        let mut used: Vec<Pool> = places.iter().copied().filter(|pool| *pool != Pool::Main).collect();
        used.dedup();
        used
    };
    let named = |pool: &Pool| match pool {
        Pool::Gpu(number) => machine.gpus[*number].device.as_deref(),
        Pool::Main => None,
    };
    let known = |pool: &Pool| named(pool).and_then(|name| scratch.devices.get(name)).copied();
    let mut exact = scratch.exact;
    if used.is_empty() {
        let elsewhere: u64 = scratch.devices.values().sum();
        exact &= elsewhere == 0;
        shares.add(
            Pool::Main,
            |share| &mut share.compute,
            scratch.host.saturating_add(elsewhere),
        );
    } else if used.iter().all(|pool| known(pool).is_some()) {
        shares.add(Pool::Main, |share| &mut share.compute, scratch.host);
        for pool in used {
            shares.add(pool, |share| &mut share.compute, known(&pool).unwrap_or(0));
        }
    } else {
        exact = false;
        let elsewhere: u64 = scratch.devices.values().sum();
        for pool in used {
            shares.add(pool, |share| &mut share.compute, scratch.host.saturating_add(elsewhere));
        }
        // what crosses to the devices: the embeddings of a ubatch, in and out
        let row = u64::from(footprint.meta.n_embd) * size_of::<f32>() as u64;
        shares.add(
            Pool::Main,
            |share| &mut share.compute,
            2 * row * u64::from(setup.n_ubatch),
        );
    }
    Ok((shares, cache, exact))
}

/// From the shapes alone. The scores of a ubatch's tokens are the largest tensor of a graph; about four activations as wide as the
/// model live at the same time; the mask has 2 bytes for each token of a ubatch and each cell of a sequence.
fn estimate(footprint: &Footprint, setup: &Setup, shape: &crate::kv::CacheShape) -> Scratch {
    let meta = &footprint.meta;
    let tokens = u64::from(setup.n_ubatch.min(setup.n_ctx));
    let row = (u64::from(meta.n_vocab) + 4 * u64::from(meta.n_embd)) * size_of::<f32>() as u64;
    let mask = 2 * shape.n_ctx_seq();
    Scratch {
        host: tokens.saturating_mul(row.saturating_add(mask)),
        devices: BTreeMap::new(),
        output_row: u64::from(meta.n_vocab) * size_of::<f32>() as u64,
        exact: false,
    }
}

#[cfg(test)]
#[path = "place_tests.rs"]
mod tests;

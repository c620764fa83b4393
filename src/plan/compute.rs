//! Scratch buffers: what the engine's own plan says of a model, kept so that later plans need no engine.
//!
//! The engine's allocator packs tensors greedily, so the bytes are no affine function of the context; they are not even
//! monotonic (`tests/plan_memory.rs` shows it). Hence they are measured at powers of four and interpolated, and measured
//! exactly for the context that is chosen ([`Footprint::learn`](super::Footprint::learn)).

use super::Setup;
use crate::kv::{KvCacheConfig, KvType, LayerPolicy};
use serde::Serialize;
use std::collections::BTreeMap;

/// Bytes of scratch buffers as a function of the shape of a context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum Compute {
    /// From the engine's own plan of this model without allocation, at least one.
    Measured(Vec<Measured>),
    /// From the shapes alone, where there is no file.
    Estimated,
}

/// What decides how large scratch buffers are, apart from the number of cells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ComputeShape {
    /// Type of K.
    pub k: KvType,
    /// Type of V.
    pub v: KvType,
    /// Types that differ by layer.
    #[serde(skip)]
    pub layers: LayerPolicy,
    /// Tokens computed at once.
    pub n_ubatch: u32,
    /// Sequences.
    pub n_slots: u32,
    /// Threads for decode; 0: the physical cores.
    pub n_threads: u32,
    /// Threads for prefill; 0: as many.
    pub n_threads_batch: u32,
    /// One buffer for all sequences.
    pub unified: bool,
    /// Full-size caches for sliding-window layers.
    pub swa_full: bool,
    /// The cache lies on the devices of its layers.
    pub offload: bool,
}

/// The scratch buffers of one context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Measured {
    /// Its shape.
    pub shape: ComputeShape,
    /// Its cells.
    pub n_ctx: u32,
    /// Bytes in main memory, those that the CPU's threads work in included.
    pub host: u64,
    /// Bytes by device, by the engine's names.
    pub devices: BTreeMap<String, u64>,
    /// Bytes of one row of what comes out.
    pub output_row: u64,
}

/// The scratch buffers of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scratch {
    pub(super) host: u64,
    pub(super) devices: BTreeMap<String, u64>,
    pub(super) output_row: u64,
    /// Measured for this very context.
    pub(super) exact: bool,
}

impl ComputeShape {
    /// That of a setup.
    pub fn of(setup: &Setup) -> Self {
        Self::with(&setup.kv, setup)
    }

    pub(super) fn with(kv: &KvCacheConfig, setup: &Setup) -> Self {
        Self {
            k: kv.k,
            v: kv.v,
            layers: kv.layers.clone(),
            n_ubatch: setup.n_ubatch.min(setup.n_ctx.max(256)),
            n_slots: setup.n_slots,
            n_threads: setup.n_threads,
            n_threads_batch: setup.n_threads_batch,
            unified: kv.unified,
            swa_full: kv.swa_full,
            offload: kv.offload,
        }
    }

    /// How far a measurement of another shape is from telling about this one: less is better. `None`: it tells nothing.
    fn distance(&self, other: &Self) -> Option<u32> {
        if self.offload != other.offload {
            return None;
        }
        let kind = |ty: KvType| (ty.is_quantized(), ty.is_turbo());
        let types = if (self.k, self.v, &self.layers) == (other.k, other.v, &other.layers) {
            0
        } else if (kind(self.k), kind(self.v)) == (kind(other.k), kind(other.v)) {
            1
        } else if (self.k.is_quantized(), self.v.is_quantized()) == (other.k.is_quantized(), other.v.is_quantized()) {
            2
        } else {
            3
        };
        // one slot has the largest masks, so it errs on the safe side for several
        let slots = match (self.n_slots, other.n_slots) {
            (a, b) if a == b && (self.unified, self.swa_full) == (other.unified, other.swa_full) => 0,
            (_, 1) => 4,
            _ => 8,
        };
        let threads = u32::from((self.n_threads, self.n_threads_batch) != (other.n_threads, other.n_threads_batch));
        Some(types + slots + threads + if self.n_ubatch == other.n_ubatch { 0 } else { 16 })
    }
}

impl Compute {
    /// The scratch buffers of a context; `None`: nothing that was measured tells of it.
    pub(super) fn at(&self, shape: &ComputeShape, n_ctx: u32) -> Option<Scratch> {
        let Self::Measured(all) = self else { return None };
        let nearest = all
            .iter()
            .filter_map(|measured| Some((shape.distance(&measured.shape)?, &measured.shape)))
            .min_by_key(|(distance, _)| *distance)?;
        let mut points: Vec<&Measured> = all.iter().filter(|measured| measured.shape == *nearest.1).collect();
        points.sort_by_key(|point| point.n_ctx);
        let mut scratch = interpolate(&points, n_ctx)?;
        let (asked, had) = (u64::from(shape.n_ubatch), u64::from(nearest.1.n_ubatch.max(1)));
        if asked != had {
            // activations, masks and logits have one row per token of a ubatch
            let scale = |bytes: u64| bytes.saturating_mul(asked).div_ceil(had);
            scratch.host = scale(scratch.host);
            scratch.devices.values_mut().for_each(|bytes| *bytes = scale(*bytes));
        }
        scratch.exact &= nearest.0 == 0;
        Some(scratch)
    }

    /// Whether this very context was measured.
    pub(super) fn knows(&self, shape: &ComputeShape, n_ctx: u32) -> bool {
        matches!(self, Self::Measured(all) if all.iter().any(|m| m.n_ctx == n_ctx && m.shape == *shape))
    }

    pub(super) fn add(&mut self, measured: Measured) {
        match self {
            Self::Measured(all) => all.push(measured),
            Self::Estimated => *self = Self::Measured(vec![measured]),
        }
    }
}

/// Between two points on the line through them, beyond the last on the line through the last two, below the first as the first.
fn interpolate(points: &[&Measured], n_ctx: u32) -> Option<Scratch> {
    let (first, last) = (points.first()?, points.last()?);
    let above = points.iter().position(|point| point.n_ctx >= n_ctx);
    let (low, high) = match above {
        Some(0) => (*first, *first),
        Some(i) if points[i].n_ctx == n_ctx => (points[i], points[i]),
        Some(i) => (points[i - 1], points[i]),
        None if points.len() > 1 => (points[points.len() - 2], *last),
        None => (*last, *last),
    };
    let line = |from: u64, to: u64| -> u64 {
        if low.n_ctx == high.n_ctx {
            return to;
        }
        let along = (f64::from(n_ctx) - f64::from(low.n_ctx)) / (f64::from(high.n_ctx) - f64::from(low.n_ctx));
        // beyond what was measured nothing shrinks
        let along = if to < from && along > 1.0 { 1.0 } else { along };
        (from as f64 + along * (to as f64 - from as f64)).ceil() as u64
    };
    let devices = high.devices.iter().map(|(name, bytes)| {
        let from = low.devices.get(name).copied().unwrap_or(*bytes);
        (name.clone(), line(from, *bytes))
    });
    Some(Scratch {
        host: line(low.host, high.host),
        devices: devices.collect(),
        output_row: high.output_row,
        exact: low.n_ctx == n_ctx && high.n_ctx == n_ctx,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(k: KvType, n_slots: u32, n_ubatch: u32) -> ComputeShape {
        let setup = Setup {
            n_slots,
            n_ubatch,
            kv: KvCacheConfig::uniform(k),
            ..Setup::default()
        };
        ComputeShape::of(&setup)
    }

    fn measured(shape: &ComputeShape, n_ctx: u32, host: u64) -> Measured {
        Measured {
            shape: shape.clone(),
            n_ctx,
            host,
            devices: BTreeMap::from([("CUDA0".to_owned(), host / 2)]),
            output_row: 4,
        }
    }

    fn table() -> Compute {
        let (f16, turbo) = (shape(KvType::F16, 1, 512), shape(KvType::Turbo4, 1, 512));
        Compute::Measured(vec![
            measured(&f16, 4096, 5000),
            measured(&f16, 1024, 2000),
            measured(&turbo, 1024, 3000),
            measured(&turbo, 4096, 6000),
        ])
    }

    fn host(shape: &ComputeShape, n_ctx: u32) -> u64 {
        table().at(shape, n_ctx).expect("something is known").host
    }

    #[test]
    fn what_was_measured_is_exact() {
        let found = table().at(&shape(KvType::F16, 1, 512), 4096).expect("measured");
        assert!(found.exact);
        assert_eq!((found.host, found.devices["CUDA0"]), (5000, 2500));
    }

    #[test]
    fn between_points_lies_a_line_and_it_goes_on_beyond_the_last() {
        let f16 = shape(KvType::F16, 1, 512);
        assert_eq!(host(&f16, 2560), 3500);
        assert_eq!(host(&f16, 7168), 8000);
        assert_eq!(host(&f16, 256), 2000);
        assert!(!table().at(&f16, 2560).expect("interpolated").exact);
    }

    #[test]
    fn the_nearest_kind_of_type_stands_in() {
        assert_eq!(host(&shape(KvType::Turbo2, 1, 512), 1024), 3000);
        assert_eq!(host(&shape(KvType::BF16, 1, 512), 1024), 2000);
        assert_eq!(host(&shape(KvType::Q8_0, 1, 512), 1024), 3000);
    }

    #[test]
    fn a_smaller_ubatch_takes_its_part() {
        assert_eq!(host(&shape(KvType::F16, 1, 128), 4096), 1250);
    }

    #[test]
    fn an_estimate_was_never_measured() {
        assert_eq!(Compute::Estimated.at(&shape(KvType::F16, 1, 512), 4096), None);
    }
}

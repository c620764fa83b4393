//! How long a context can be before memory refuses: by plan. Trying it is the program's business, because what refuses may
//! be the system, and then the process is gone.

use super::stats;
use crate::kv::{CacheShape, KvCacheConfig, ResolvedKv};
use crate::{ContextConfig, Error, Model, Result};
use serde::Serialize;

/// Contexts are planned in steps of this many tokens, as the engine pads them.
pub const STEP: u32 = 256;

/// The scratch buffers of the graphs as a line: they grow with the context (masks), by amounts that depend on the model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ComputeBytes {
    /// Bytes of an empty context.
    pub fixed: f64,
    /// Bytes per token of context.
    pub per_token: f64,
}

impl ComputeBytes {
    /// Of a context of `n_ctx` tokens.
    pub fn at(&self, n_ctx: u32) -> u64 {
        (self.fixed + self.per_token * f64::from(n_ctx)).max(0.0) as u64
    }

    /// Reads them off two contexts with this cache, as long ones as take less than a quarter of `budget` bytes. The buffers
    /// are the largest of several lines, so a line through short contexts would promise too much.
    ///
    /// # Errors
    /// As [`Context::new`](crate::Context::new).
    pub fn measure(model: &Model, config: &ContextConfig, budget: u64) -> Result<Self> {
        let mut points = Vec::new();
        for n_ctx in [65_536_u32, 32_768, 16_384, 8192, 4096, 2048] {
            let small = n_ctx <= 4096; // two points are needed in any case
            if !small && config.kv.bytes(model.meta(), n_ctx)?.total() > budget / 4 {
                continue;
            }
            let context = model.context(ContextConfig {
                n_ctx,
                ..config.clone()
            })?;
            let bytes: u64 = context.memory_use()?.compute.values().sum();
            points.push((f64::from(n_ctx), bytes as f64));
            if points.len() == 2 {
                break;
            }
        }
        let (fixed, per_token) = stats::line(&points);
        Ok(Self { fixed, per_token })
    }
}

/// The longest context that a budget allows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ceiling {
    /// Tokens, a multiple of [`STEP`].
    pub n_ctx: u32,
    /// Bytes of its KV cache.
    pub kv_bytes: u64,
    /// Bytes of its scratch buffers.
    pub compute_bytes: u64,
}

/// Plans the longest context with which KV cache and scratch buffers stay within `budget` bytes; `None` if not even the
/// shortest does.
///
/// # Errors
/// As [`KvCacheConfig::resolve`].
pub fn planned_ceiling(
    model: &Model,
    kv: &KvCacheConfig,
    config: &ContextConfig,
    compute: ComputeBytes,
    budget: u64,
) -> Result<Option<Ceiling>> {
    let resolved = kv.resolve(model.meta())?;
    let at = |n_ctx: u32| Ceiling {
        n_ctx,
        kv_bytes: kv_bytes(&resolved, model, config, kv, n_ctx),
        compute_bytes: compute.at(n_ctx),
    };
    let fits = |steps: u32| {
        let ceiling = at(steps * STEP);
        ceiling.kv_bytes.saturating_add(ceiling.compute_bytes) <= budget
    };
    Ok(last_that(i32::MAX as u32 / STEP, fits).map(|steps| at(steps * STEP)))
}

fn kv_bytes(resolved: &ResolvedKv, model: &Model, config: &ContextConfig, kv: &KvCacheConfig, n_ctx: u32) -> u64 {
    let shape = CacheShape {
        n_ctx,
        n_ubatch: config.n_ubatch.min(config.n_batch),
        n_seq_max: config.n_seq_max,
        unified: kv.unified,
        swa_full: kv.swa_full,
    };
    resolved.bytes(model.meta(), &shape).total()
}

/// The largest of 1..=`most` for which `holds`, if it holds for all smaller ones too; `None` if not for 1.
///
/// Public because the trial is the same search with a dearer question.
pub fn last_that(most: u32, mut holds: impl FnMut(u32) -> bool) -> Option<u32> {
    if most == 0 || !holds(1) {
        return None;
    }
    let (mut good, mut most) = (1, most);
    while good < most {
        let middle = good + (most - good).div_ceil(2);
        if holds(middle) {
            good = middle;
        } else {
            most = middle - 1;
        }
    }
    Some(good)
}

/// As [`last_that`], for a question that may fail.
///
/// # Errors
/// The question's.
pub fn try_last_that(most: u32, mut holds: impl FnMut(u32) -> Result<bool>) -> Result<Option<u32>> {
    let mut failed: Option<Error> = None;
    let found = last_that(most, |n| {
        failed.is_none()
            && holds(n).unwrap_or_else(|error| {
                failed = Some(error);
                false
            })
    });
    failed.map_or(Ok(found), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_finds_the_last_that_holds() {
        for last in [1, 2, 3, 511, 512, 513, 8_388_607] {
            let mut asked = 0;
            let found = last_that(8_388_607, |n| {
                asked += 1;
                n <= last
            });
            assert_eq!(found, Some(last));
            assert!(asked <= 25, "{asked} questions");
        }
        assert_eq!(last_that(100, |_| false), None);
        assert_eq!(last_that(0, |_| true), None);
        assert_eq!(last_that(u32::MAX, |_| true), Some(u32::MAX));
    }

    #[test]
    fn a_question_that_fails_ends_the_search() {
        let mut asked = 0;
        let result = try_last_that(1000, |n| {
            asked += 1;
            if n > 1 { Err(Error::Cancelled) } else { Ok(true) }
        });
        assert!(matches!(result, Err(Error::Cancelled)) && asked == 2);
    }

    #[test]
    fn scratch_is_a_line() {
        let compute = ComputeBytes {
            fixed: 1000.0,
            per_token: 2.0,
        };
        assert_eq!((compute.at(0), compute.at(500)), (1000, 2000));
    }
}

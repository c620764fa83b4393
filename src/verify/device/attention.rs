//! Attention on the device against float64 arithmetic over the same packed cache.

use super::Operators;
use super::cells::{MANY_QUERIES, member_type};
use super::compare::relative_error;
use super::result::Verdict;
use crate::engine::attention;
use crate::engine::codec::{GgmlType, TurboType};
use crate::engine::device_probe::KernelRegistry;
use crate::engine::probe::{self, AttentionShape};
use crate::error::Result;
use crate::verify::rng::Rng;

/// One problem: what its shape exercises is in `name`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Problem {
    pub name: &'static str,
    pub kv_heads: u32,
    /// Query heads per KV head.
    pub group: u32,
    pub queries: u32,
    pub keys: u32,
    pub sequences: u32,
    pub mask: Mask,
    pub sinks: bool,
    pub softcap: f32,
    pub max_bias: f32,
}

/// What each query sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mask {
    /// Everything.
    None,
    /// What is not behind it, with one key of three hidden.
    Holes,
    /// As `Holes`; every third query sees nothing, and keys weigh less with their distance (for ALiBi).
    Blind,
}

const PLAIN: Problem = Problem {
    name: "one query, a tail",
    kv_heads: 2,
    group: 4,
    queries: 1,
    keys: 67,
    sequences: 1,
    mask: Mask::None,
    sinks: false,
    softcap: 0.0,
    max_bias: 0.0,
};

/// No cache length is a multiple of the 32 positions that a kernel takes at once. 6 and 3 heads are no power of two, so both of
/// ALiBi's slopes are used.
const QUICK: [Problem; 3] = [
    PLAIN,
    Problem {
        name: "8 queries, mask, sinks, softcap, ALiBi",
        group: 3,
        queries: 8,
        keys: 99,
        mask: Mask::Blind,
        sinks: true,
        softcap: 2.0,
        max_bias: 8.0,
        ..PLAIN
    },
    Problem {
        name: "20 queries, mask, sinks",
        group: 2,
        queries: 20,
        keys: 45,
        mask: Mask::Holes,
        sinks: true,
        ..PLAIN
    },
];

/// What the full check adds.
const MORE: [Problem; 4] = [
    Problem {
        name: "one query, long cache, 8 heads on one",
        kv_heads: 1,
        group: 8,
        keys: 2500,
        ..PLAIN
    },
    Problem {
        name: "2 queries, 2 sequences, mask, sinks",
        group: 2,
        queries: 2,
        keys: 131,
        sequences: 2,
        mask: Mask::Holes,
        sinks: true,
        ..PLAIN
    },
    Problem {
        name: "33 queries, mask, softcap, ALiBi",
        kv_heads: 1,
        group: 3,
        queries: 33,
        keys: 150,
        mask: Mask::Blind,
        softcap: 2.0,
        max_bias: 8.0,
        ..PLAIN
    },
    Problem {
        name: "64 queries, no mask",
        kv_heads: 1,
        group: 1,
        queries: 64,
        keys: 97,
        ..PLAIN
    },
];

/// The problems of a check.
pub(super) fn problems(quick: bool) -> Vec<Problem> {
    let more: &[Problem] = if quick { &[] } else { &MORE };
    QUICK.iter().chain(more).copied().collect()
}

/// Largest allowed errors, relative to the largest value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    few: f64,
    many: f64,
}

impl Bounds {
    /// What is required of attention is 1e-3. With many queries a graphics processor rounds queries, K and V to half for
    /// llama.cpp's kernels; on these problems that alone costs 9.6e-4, most for turbo2 keys (attention_tests.rs). llama.cpp's own
    /// path on the CPU, where somebody selected it, rounds the query to q8_0 (a step of 2^-7 of the largest value) or sums in f16.
    pub fn of(cpu: bool) -> Result<Self> {
        let (few, many) = match cpu {
            false => (1e-3, 2e-3),
            true if attention::Implementation::active()?.name() == attention::UPSTREAM => (3e-2, 3e-2),
            true => (1e-3, 1e-3),
        };
        Ok(Self { few, many })
    }

    pub fn bound(self, many: bool) -> f64 {
        if many { self.many } else { self.few }
    }
}

impl Problem {
    pub fn is_many(&self) -> bool {
        self.queries >= MANY_QUERIES
    }

    fn heads(&self) -> u32 {
        self.kv_heads * self.group
    }
}

/// One side of a cache: what the device gets, and what it means.
struct Side {
    ty: GgmlType,
    bytes: Vec<u8>,
    values: Vec<f32>,
}

/// A problem at a head size, with its data in every type. Positions after one another, as a cache has them.
pub(super) struct Instance<'a> {
    problem: Problem,
    head: (u32, u32),
    q: Vec<f32>,
    mask: Option<Vec<f32>>,
    sinks: Option<Vec<f32>>,
    k: Vec<(&'a str, Side)>,
    v: Vec<(&'a str, Side)>,
}

impl<'a> Instance<'a> {
    pub fn new(problem: Problem, head: (u32, u32), operands: &'a [String], types: &[TurboType]) -> Result<Self> {
        let mut rng =
            Rng::new(u64::from(head.0 * 1000 + head.1) << 32 | u64::from(problem.queries << 16 | problem.keys));
        let rows = (problem.kv_heads * problem.keys * problem.sequences) as usize;
        let queries = (problem.heads() * problem.queries * problem.sequences) as usize;
        let q = rng.normals(queries * head.0 as usize);
        let (k, v) = (rng.normals(rows * head.0 as usize), rng.normals(rows * head.1 as usize));
        let sides = |x: &[f32], dim: u32| -> Result<Vec<(&'a str, Side)>> {
            let side = |name: &'a String| -> Result<(&'a str, Side)> {
                let ty = member_type(types, name, dim)?;
                let bytes = probe::quantize(ty, x)?;
                let values = probe::dequantize(ty, &bytes)?;
                Ok((name, Side { ty, bytes, values }))
            };
            operands.iter().map(side).collect()
        };
        Ok(Self {
            problem,
            head,
            q,
            mask: mask(&problem, &mut rng),
            sinks: problem.sinks.then(|| rng.normals(problem.heads() as usize)),
            k: sides(&k, head.0)?,
            v: sides(&v, head.1)?,
        })
    }

    fn shape(&self, k: GgmlType, v: GgmlType) -> AttentionShape {
        let p = &self.problem;
        AttentionShape {
            head_dim_v: self.head.1,
            n_heads: p.heads(),
            n_kv_heads: p.kv_heads,
            n_queries: p.queries,
            n_sequences: p.sequences,
            max_bias: p.max_bias,
            logit_softcap: p.softcap,
            ..AttentionShape::new(self.head.0, p.keys, k, v)
        }
    }

    /// The weights of every pair with this K; computed once for all V.
    pub fn weights(&self, k: &str) -> Option<Weights<'_>> {
        let (_, side) = self.k.iter().find(|(name, _)| *name == k)?;
        Some(Weights {
            k: side,
            weights: weights(self, &side.values),
        })
    }

    /// Runs one pair; `bound` is the largest allowed error.
    pub fn check(&self, device: &mut dyn Operators, k: &Weights<'_>, v: &str, bound: f64) -> Result<Verdict> {
        let Some((_, v)) = self.v.iter().find(|(name, _)| *name == v) else {
            return Ok(Verdict::exact(0, 0, vec![format!("{v}: no such type")]));
        };
        let shape = self.shape(k.k.ty, v.ty);
        let Some(got) = device.attend(
            &shape,
            &self.q,
            &k.k.bytes,
            &v.bytes,
            self.mask.as_deref(),
            self.sinks.as_deref(),
        )?
        else {
            return Ok(Verdict::Refused);
        };
        let error = relative_error(&mixed(self, &k.weights, &v.values), &got);
        let wrong = if error <= bound {
            Vec::new()
        } else {
            vec![format!(
                "{}: relative error {error:.1e}, allowed {bound:.0e}",
                self.problem.name
            )]
        };
        Ok(Verdict::Ran {
            compared: 1,
            ties: 0,
            error: Some(error),
            wrong,
        })
    }
}

/// Softmax weights of one K: `[keys, heads, queries, sequences]`.
pub(super) struct Weights<'a> {
    k: &'a Side,
    weights: Vec<f64>,
}

/// Whether the device runs llama.cpp's own attention over an f16 cache.
pub(super) fn runs_plain(device: &mut dyn Operators, registry: &KernelRegistry) -> Result<bool> {
    let Some(plain) = registry.plain.iter().find(|name| *name == "f16") else {
        return Ok(false);
    };
    let operands = [plain.clone()];
    let instance = Instance::new(PLAIN, (128, 128), &operands, &[])?;
    let (k, v) = (&instance.k[0].1, &instance.v[0].1);
    let shape = instance.shape(k.ty, v.ty);
    let out = device.attend(&shape, &instance.q, &k.bytes, &v.bytes, None, None)?;
    Ok(out.is_some())
}

fn mask(p: &Problem, rng: &mut Rng) -> Option<Vec<f32>> {
    if p.mask == Mask::None {
        return None;
    }
    let (n, m) = (p.queries as usize, p.keys as usize);
    let mut values = Vec::with_capacity(n * m * p.sequences as usize);
    for _ in 0..p.sequences {
        for i in 0..n {
            let last = (m + i).saturating_sub(n); // the key at the query's own position
            for j in 0..m {
                let hole = j != last && rng.below(3) == 0;
                let blind = p.mask == Mask::Blind && i % 3 == 1;
                values.push(if j > last || hole || blind {
                    f32::NEG_INFINITY
                } else if p.max_bias > 0.0 {
                    // small numbers are exact in f16
                    -((last - j) as f32)
                } else {
                    0.0
                });
            }
        }
    }
    Some(values)
}

/// ALiBi's slope of a head, as Press et al. define it for any number of heads.
fn slope(head: usize, heads: u32, max_bias: f32) -> f64 {
    if max_bias <= 0.0 {
        return 1.0;
    }
    let power = 1_u32 << heads.ilog2();
    let bias = f64::from(max_bias) / f64::from(power);
    if head < power as usize {
        (-bias * (head + 1) as f64).exp2()
    } else {
        (-bias / 2.0 * (2 * (head - power as usize) + 1) as f64).exp2()
    }
}

/// Calls `f` with (sequence, query, head) and that row of `out`, on as many threads as there are processors.
fn for_rows(p: &Problem, out: &mut [f64], width: usize, f: impl Fn((usize, usize, usize), &mut [f64]) + Sync) {
    let (heads, queries) = (p.heads() as usize, p.queries as usize);
    let rows = out.len() / width;
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let share = rows.div_ceil(threads);
    let f = &f;
    std::thread::scope(|scope| {
        for (part, chunk) in out.chunks_mut(share * width).enumerate() {
            scope.spawn(move || {
                for (i, row) in chunk.chunks_exact_mut(width).enumerate() {
                    let number = part * share + i;
                    f(
                        (number / heads / queries, number / heads % queries, number % heads),
                        row,
                    );
                }
            });
        }
    });
}

/// softmax(q k^T), with softcap, ALiBi, mask and sinks as llama.cpp defines them. A query that sees nothing weighs nothing.
fn weights(x: &Instance<'_>, k: &[f32]) -> Vec<f64> {
    let p = &x.problem;
    let (dk, m, n) = (x.head.0 as usize, p.keys as usize, p.queries as usize);
    let (heads, kv_heads) = (p.heads() as usize, p.kv_heads as usize);
    let scale = 1.0 / f64::from(x.head.0).sqrt();
    let cap = f64::from(p.softcap);
    let mut out = vec![0.0; (p.sequences * p.queries) as usize * heads * m];
    for_rows(p, &mut out, m, |(s, i, h), row| {
        let query = &x.q[((s * n + i) * heads + h) * dk..][..dk];
        let slope = slope(h, p.heads(), p.max_bias);
        for (j, logit) in row.iter_mut().enumerate() {
            let key = &k[((s * m + j) * kv_heads + h / p.group as usize) * dk..][..dk];
            let dot: f64 = query.iter().zip(key).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            let scaled = dot * scale;
            let capped = if cap > 0.0 { cap * (scaled / cap).tanh() } else { scaled };
            let added = x.mask.as_ref().map_or(0.0, |mask| f64::from(mask[(s * n + i) * m + j]));
            *logit = capped + slope * added;
        }
        let sink = x.sinks.as_ref().map(|sinks| f64::from(sinks[h]));
        let top = row.iter().copied().chain(sink).fold(f64::NEG_INFINITY, f64::max);
        if top == f64::NEG_INFINITY {
            row.fill(0.0);
            return;
        }
        row.iter_mut().for_each(|logit| *logit = (*logit - top).exp());
        let sum = row.iter().sum::<f64>() + sink.map_or(0.0, |sink| (sink - top).exp());
        row.iter_mut().for_each(|weight| *weight /= sum);
    });
    out
}

/// The weighted sums of `v`: `[head_dim_v, heads, queries, sequences]`.
fn mixed(x: &Instance<'_>, weights: &[f64], v: &[f32]) -> Vec<f64> {
    let p = &x.problem;
    let (dv, m, n) = (x.head.1 as usize, p.keys as usize, p.queries as usize);
    let (heads, kv_heads) = (p.heads() as usize, p.kv_heads as usize);
    let mut out = vec![0.0; (p.sequences * p.queries) as usize * heads * dv];
    for_rows(p, &mut out, dv, |(s, i, h), row| {
        let weights = &weights[((s * n + i) * heads + h) * m..][..m];
        for (j, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
            let value = &v[((s * m + j) * kv_heads + h / p.group as usize) * dv..][..dv];
            row.iter_mut()
                .zip(value)
                .for_each(|(r, v)| *r += weight * f64::from(*v));
        }
    });
    out
}

#[cfg(test)]
#[path = "attention_tests.rs"]
mod tests;

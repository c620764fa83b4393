//! L1: what the error does to attention, through the engine's own operator.
//!
//! Three synthetic layers, because one kind of data flatters or hides an error:
//! - `diffuse`: independent values, nearly flat attention (logits of deviation 0.25). The output is an
//!   average over thousands of keys, its size is that of a random walk, and so is the error's: nothing averages
//!   out, and the cosine is `1 / sqrt(1 + D (1 + s^2))` for logits of deviation `s`. With `s` = 1 no 4-bit
//!   type could reach .995 here, whatever the codec.
//! - `topics`: keys and values scatter around 32 centers and queries ask for one of them, sharply, as
//!   trained layers do.
//! - `offset`: as `topics`, plus channels with an offset common to all keys of twice the spread. Softmax
//!   ignores the offset, but the scale of every block must cover it.

use super::rng::Rng;
use super::{Outcome, Plan, Tally};
use crate::engine::codec::{self, GgmlType, TurboType};
use crate::engine::probe::{self, AttentionShape};
use crate::error::{Error, Result};
use crate::kv::KvType;

/// Queries of one head see the same values, so their errors are nearly one sample; heads are independent.
const HEADS: usize = 8;
const QUERIES: usize = 8;
const TOPICS: usize = 32;

/// `q` holds `QUERIES` vectors per head, `k` and `v` as many as there are keys.
struct Layer {
    name: &'static str,
    dim: usize,
    keys: usize,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
}

fn layers(dim: usize, keys: usize) -> Vec<Layer> {
    let mut rng = Rng::new(0xa77e + dim as u64);
    let diffuse = Layer {
        name: "diffuse",
        dim,
        keys,
        q: rng.normals(HEADS * QUERIES * dim).iter().map(|v| 0.25 * v).collect(),
        k: rng.normals(HEADS * keys * dim),
        v: rng.normals(HEADS * keys * dim),
    };
    let (key_centers, value_centers) = (rng.normals(TOPICS * dim), rng.normals(TOPICS * dim));
    let topic_of: Vec<usize> = (0..HEADS * keys).map(|_| rng.below(TOPICS)).collect();
    let scatter = |centers: &[f32], topics: &[usize], rng: &mut Rng| -> Vec<f32> {
        let values = topics.iter().flat_map(|t| &centers[t * dim..(t + 1) * dim]);
        values.map(|c| 0.7 * c + 0.7 * rng.normal()).collect()
    };
    let asked: Vec<usize> = (0..HEADS * QUERIES).map(|i| i % TOPICS).collect();
    let k = scatter(&key_centers, &topic_of, &mut rng);
    let v = scatter(&value_centers, &topic_of, &mut rng);
    let q = scatter(&key_centers, &asked, &mut rng);
    // every eighth channel carries an offset of 2 sqrt(8): together twice the norm of the rest
    let offset = |(i, v): (usize, &f32)| if i % dim % 8 == 3 { v + 5.6 } else { *v };
    let shifted = k.iter().enumerate().map(offset).collect();
    let topics = Layer {
        name: "topics",
        dim,
        keys,
        q: q.clone(),
        k,
        v: v.clone(),
    };
    vec![
        diffuse,
        topics,
        Layer {
            name: "offset",
            dim,
            keys,
            q,
            k: shifted,
            v,
        },
    ]
}

/// Logits of all queries, query by query.
fn logits(layer: &Layer, q: &[f32], k: &[f32]) -> Vec<f32> {
    let dim = layer.dim;
    let scale = 1.0 / (dim as f32).sqrt();
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let heads = q.chunks_exact(QUERIES * dim).zip(k.chunks_exact(layer.keys * dim));
    heads
        .flat_map(|(q, k)| {
            q.chunks_exact(dim)
                .flat_map(move |q| k.chunks_exact(dim).map(move |k| scale * dot(q, k)))
        })
        .collect()
}

/// Attention in full precision, head by head, query by query.
fn exact(layer: &Layer, logits: &[f32]) -> Vec<f64> {
    let (keys, dim) = (layer.keys, layer.dim);
    let values = layer.v.chunks_exact(keys * dim);
    logits
        .chunks_exact(keys)
        .zip(values.flat_map(|v| std::iter::repeat_n(v, QUERIES)))
        .flat_map(|(row, v)| {
            let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let (mut sum, mut out) = (0.0, vec![0.0; dim]);
            for (logit, v) in row.iter().zip(v.chunks_exact(dim)) {
                let weight = f64::from(logit - top).exp();
                sum += weight;
                out.iter_mut().zip(v).for_each(|(o, v)| *o += weight * f64::from(*v));
            }
            out.iter_mut().for_each(|o| *o /= sum);
            out
        })
        .collect()
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// As the cache sees it: heads rotated as a whole.
fn rotated(layer: &Layer) -> Result<Layer> {
    let turn = |x: &[f32]| -> Result<Vec<f32>> {
        let mut x = x.to_vec();
        x.chunks_exact_mut(layer.dim).try_for_each(codec::rotate)?;
        Ok(x)
    };
    Ok(Layer {
        q: turn(&layer.q)?,
        k: turn(&layer.k)?,
        v: turn(&layer.v)?,
        ..*layer
    })
}

/// Correlation of two logit tables after removing each query's mean, which softmax ignores.
fn correlation(a: &[f32], b: &[f32], keys: usize) -> f64 {
    let centered = |table: &[f32]| -> Vec<f64> {
        let rows = table.chunks_exact(keys);
        rows.flat_map(|row| {
            let mean = row.iter().map(|v| f64::from(*v)).sum::<f64>() / keys as f64;
            row.iter().map(move |v| f64::from(*v) - mean).collect::<Vec<_>>()
        })
        .collect()
    };
    cosine(&centered(a), &centered(b))
}

/// Mean cosine of the outputs, and correlation of the logits, of one layer with K and V of these types.
///
/// `layer` is rotated already.
fn compare(layer: &Layer, (k, v): (GgmlType, GgmlType), exact_logits: &[f32], exact_out: &[f64]) -> Result<(f64, f64)> {
    let dim = layer.dim;
    let shape = AttentionShape {
        n_heads: HEADS as u32,
        n_kv_heads: HEADS as u32,
        n_queries: QUERIES as u32,
        n_threads: std::thread::available_parallelism().map_or(1, |n| n.get().min(8) as i32),
        ..AttentionShape::new(dim as u32, layer.keys as u32, k, v)
    };
    let mut out = probe::attention(&shape, &layer.q, &layer.k, &layer.v, None, None)?;
    out.chunks_exact_mut(dim).try_for_each(codec::rotate)?;
    let out: Vec<f64> = out.iter().map(|v| f64::from(*v)).collect();
    // the engine's output has the heads of one query side by side
    let of = |head: usize, query: usize| &out[(query * HEADS + head) * dim..][..dim];
    let mut sum = 0.0;
    for (i, expected) in exact_out.chunks_exact(dim).enumerate() {
        sum += cosine(of(i / QUERIES, i % QUERIES), expected);
    }
    let decoded = probe::dequantize(k, &probe::quantize(k, &layer.k)?)?;
    let correlation = correlation(&logits(layer, &layer.q, &decoded), exact_logits, layer.keys);
    Ok((sum / (HEADS * QUERIES) as f64, correlation))
}

/// What a pair of cache types does to attention over the synthetic layers, worst layer.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct AttentionAccuracy {
    /// Mean cosine of the outputs with those in full precision.
    pub output_cosine: f64,
    /// Correlation of the logits after removing each query's mean.
    pub logit_correlation: f64,
}

/// Measures attention over a `k`/`v` cache with `keys` cached positions. The synthetic heads have 128 values, or 64 where
/// `head_dim` is no multiple of 128: the blocks that turbo types store such heads in.
///
/// # Errors
/// A type that the engine does not know; the engine's.
pub fn attention_accuracy(k: KvType, v: KvType, head_dim: u32, keys: usize) -> Result<AttentionAccuracy> {
    let dim = if head_dim.is_multiple_of(128) { 128 } else { 64 };
    let ggml = |ty: KvType| {
        let layout = ty.layout(dim);
        layout
            .and_then(|layout| GgmlType::from_id(layout.id))
            .ok_or_else(|| Error::Invalid(format!("heads of {dim} values cannot be stored as {ty}")))
    };
    let pair = (ggml(k)?, ggml(v)?);
    let mut worst = AttentionAccuracy {
        output_cosine: f64::INFINITY,
        logit_correlation: f64::INFINITY,
    };
    for layer in layers(dim as usize, keys) {
        let exact_logits = logits(&layer, &layer.q, &layer.k);
        let exact_out = exact(&layer, &exact_logits);
        let (cosine, correlation) = compare(&rotated(&layer)?, pair, &exact_logits, &exact_out)?;
        worst.output_cosine = worst.output_cosine.min(cosine);
        worst.logit_correlation = worst.logit_correlation.min(correlation);
    }
    Ok(worst)
}

/// Bounds on (output cosine, logit correlation); 2 bit has none at this level.
fn bounds(bits: u32) -> Option<(f64, f64)> {
    match bits {
        4 => Some((0.995, 0.95)),
        3 => Some((0.98, 0.90)),
        _ => None,
    }
}

pub(super) fn synthetic(plan: &Plan, types: &[TurboType]) -> Outcome {
    let mut output = Tally::new(
        "attention.output",
        "attention outputs keep their direction",
        format!(
            "mean cosine >= .995 (4 bit), >= .98 (3 bit), {} keys, every layer",
            plan.keys
        ),
    );
    let mut logit = Tally::new(
        "attention.logits",
        "attention logits keep their order",
        "correlation after removing each query's mean >= .95 (4 bit), >= .90 (3 bit), worst layer",
    );
    let mut dims: Vec<usize> = types.iter().map(|t| t.block).collect();
    dims.sort_unstable();
    dims.dedup();
    for dim in dims {
        for layer in layers(dim, plan.keys) {
            let exact_logits = logits(&layer, &layer.q, &layer.k);
            let exact_out = exact(&layer, &exact_logits);
            let layer = rotated(&layer)?;
            for ty in types.iter().filter(|t| t.block == dim) {
                let (cosine, correlation) = compare(&layer, (ty.ggml()?, ty.ggml()?), &exact_logits, &exact_out)?;
                let line = |what: &str, value: f64| format!("{} {}: {what} {value:.5}", ty.name, layer.name);
                let (o, l) = (line("cosine", cosine), line("correlation", correlation));
                if let Some((least_cosine, least_correlation)) = bounds(ty.bits) {
                    output.add((1.0 - cosine) / (1.0 - least_cosine), o);
                    logit.add((1.0 - correlation) / (1.0 - least_correlation), l);
                } else {
                    output.note(o + " (no bound)");
                    logit.note(l + " (no bound)");
                }
            }
        }
    }
    Ok(vec![output.done(), logit.done()])
}

//! L0: the error on random vectors, which is what the codec promises whatever the model.

use super::rng::Rng;
use super::{Outcome, Plan, Tally};
use crate::engine::codec::{self, Implementation, TurboType};
use crate::error::Result;

/// Expected `E|x - x'|^2 / |x|^2`, computed apart from this code for random unit vectors of the block's dimension
/// (search over the scale, then the unbiased scale).
fn expected(bits: u32, block: usize) -> Option<f64> {
    match (bits, block) {
        (4, 128) => Some(0.0079),
        (4, 64) => Some(0.0071),
        (3, 128) => Some(0.0328),
        (3, 64) => Some(0.0304),
        (2, 128) => Some(0.1294),
        (2, 64) => Some(0.1255),
        _ => None,
    }
}

/// Digits of `expected` as published: half a unit of the last one is not the codec's fault.
const ROUNDING: f64 = 0.00005;

struct Measured {
    /// Total squared error over total squared norm.
    d: f64,
    /// Largest `|<x, x'> / |x|^2 - 1|`.
    slope: f64,
    /// Mean of `<y, x'> - <y, x>` in standard errors.
    bias: f64,
    /// Mean square of the same, over `D / dim`.
    spread: f64,
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// `x` and `y` are unit vectors of the block's dimension.
fn measure(implementation: &Implementation, ty: &TurboType, x: &[f32], y: &[f32]) -> Result<Measured> {
    let ggml = ty.ggml()?;
    let decoded = implementation.decode(ggml, &implementation.encode(ggml, x)?)?;
    let n = x.len() as f64 / ty.block as f64;
    let (mut error, mut norm, mut slope, mut sum, mut squares) = (0.0, 0.0, 0.0_f64, 0.0, 0.0);
    let blocks = x
        .chunks_exact(ty.block)
        .zip(decoded.chunks_exact(ty.block))
        .zip(y.chunks_exact(ty.block));
    for ((x, decoded), y) in blocks {
        let (xx, xd, dd) = (dot(x, x), dot(x, decoded), dot(decoded, decoded));
        error += xx - 2.0 * xd + dd;
        norm += xx;
        slope = slope.max((xd / xx - 1.0).abs());
        let off = dot(y, decoded) - dot(y, x);
        sum += off;
        squares += off * off;
    }
    let (d, mean, square) = (error / norm, sum / n, squares / n);
    Ok(Measured {
        d,
        slope,
        bias: mean.abs() / ((square - mean * mean) / n).sqrt(),
        spread: square / (d / ty.block as f64),
    })
}

/// Total error, slope, bias and spread of inner products, each a check of its own.
pub(super) fn random_vectors(plan: &Plan, types: &[TurboType]) -> Outcome {
    let mut total = Tally::new(
        "error.total",
        "total error on random vectors",
        "D within 2 % of the expected one",
    );
    let mut monotone = Tally::new(
        "error.monotone",
        "more bits, less error",
        "D falls with the width of the index",
    );
    let mut slope = Tally::new(
        "error.slope",
        "no vector is scaled",
        "<x,x'>/|x|^2 = 1 within .001 for every vector",
    );
    let mut bias = Tally::new(
        "error.unbiased",
        "inner products with a full-precision query are unbiased",
        "|mean error| below 3 standard errors",
    );
    let mut spread = Tally::new(
        "error.inner_product",
        "inner products spread no more than the total error explains",
        "mean square <= D |x|^2 |y|^2 / d * 1.05",
    );
    let mut rng = Rng::new(0x7475_7262);
    let mut found: Vec<(&TurboType, f64)> = Vec::new();
    let mut blocks: Vec<usize> = types.iter().map(|t| t.block).collect();
    blocks.sort_unstable();
    blocks.dedup();
    for block in blocks {
        let (x, y) = (
            rng.unit_vectors(plan.vectors, block),
            rng.unit_vectors(plan.vectors, block),
        );
        for ty in types.iter().filter(|t| t.block == block) {
            let m = measure(&plan.active, ty, &x, &y)?;
            let name = &ty.name;
            match expected(ty.bits, block) {
                Some(want) => total.add(
                    (m.d - want).abs() / (0.02 * want + ROUNDING),
                    format!(
                        "{name}: D = {:.5}, expected {want} ({:+.2} %)",
                        m.d,
                        100.0 * (m.d / want - 1.0)
                    ),
                ),
                None => total.note(format!("{name}: D = {:.5}, nothing to compare with", m.d)),
            }
            slope.add(m.slope / 0.001, format!("{name}: worst slope off by {:.6}", m.slope));
            bias.add(
                m.bias / 3.0,
                format!("{name}: mean error {:.2} standard errors", m.bias),
            );
            spread.add(m.spread / 1.05, format!("{name}: mean square {:.4} of D/d", m.spread));
            found.push((ty, m.d));
        }
    }
    for (ty, d) in &found {
        for (wider, better) in found.iter().filter(|(t, _)| t.block == ty.block && t.bits > ty.bits) {
            monotone.add(
                better / d,
                format!("{} {better:.5} against {} {d:.5}", wider.name, ty.name),
            );
        }
    }
    let mut checks: Vec<_> = [total, monotone, slope, bias, spread].map(Tally::done).into();
    for check in &mut checks {
        check.detail.push_str(&format!(
            "\n{} vectors per type, implementation {}",
            plan.vectors,
            plan.active.name()
        ));
    }
    Ok(checks)
}

/// Vectors that a plain Hadamard transform turns into spikes.
fn structured(n: usize) -> [(&'static str, Vec<f32>); 6] {
    let make = |f: &dyn Fn(f32) -> f32| (0..n).map(|i| f(i as f32 / n as f32)).collect::<Vec<f32>>();
    let alternating = |period: usize| {
        (0..n)
            .map(|i| if (i / period).is_multiple_of(2) { 1.0 } else { -1.0 })
            .collect()
    };
    [
        ("constant", vec![1.0; n]),
        ("alternating", alternating(1)),
        ("square wave", alternating(8)),
        ("ramp", make(&|t| t)),
        ("half a sine", make(&|t| (std::f32::consts::PI * t).sin())),
        ("offset cosine", make(&|t| 2.0 + (std::f32::consts::TAU * t).cos())),
    ]
}

/// After the signed rotation, structured vectors are as easy as random ones.
pub(super) fn structured_vectors(plan: &Plan, types: &[TurboType]) -> Outcome {
    let mut tally = Tally::new(
        "error.structured",
        "structured vectors are as easy as random ones",
        // A single vector of dimension d scatters around the mean error of its type.
        "mean D over the set at most .008 / .03 / .12 (4 / 3 / 2 bit) + 25 %",
    );
    for ty in types {
        let bound = match ty.bits {
            4 => 0.008,
            3 => 0.03,
            2 => 0.12,
            _ => continue,
        };
        let ggml = ty.ggml()?;
        let (mut sum, mut parts) = (0.0, Vec::new());
        for (name, x) in structured(ty.block) {
            let mut rotated = x.clone();
            codec::rotate(&mut rotated)?;
            let decoded = plan.active.decode(ggml, &plan.active.encode(ggml, &rotated)?)?;
            let error: f64 = rotated
                .iter()
                .zip(&decoded)
                .map(|(a, b)| f64::from(a - b).powi(2))
                .sum();
            let d = error / dot(&rotated, &rotated);
            sum += d;
            parts.push(format!("{name} {d:.4}"));
        }
        let mean = sum / parts.len() as f64;
        tally.add(
            mean / (1.25 * bound),
            format!("{}: mean D = {mean:.4} ({})", ty.name, parts.join(", ")),
        );
    }
    Ok(vec![tally.done()])
}

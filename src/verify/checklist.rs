//! The six lines of the verification checklist that every implementation and backend must keep.

use super::rng::Rng;
use super::{Check, Outcome, Plan, Tally};
use crate::codec::lloyd;
use crate::engine::codec::{self, GgmlType, Implementation, TurboType};
use crate::engine::probe;
use crate::error::Result;

const WIDTHS: [usize; 5] = [64, 128, 256, 512, 1024];

/// Vectors on which implementations are compared byte by byte.
const COMPARED: usize = 2000;

fn one(tally: Tally) -> Vec<Check> {
    vec![tally.done()]
}

/// Row `i` of the rotation matrix of width `n`; it is symmetric.
fn rotation_row(n: usize, i: usize) -> Result<Vec<f32>> {
    let mut row = vec![0.0; n];
    row[i] = 1.0;
    codec::rotate(&mut row)?;
    Ok(row)
}

/// Line 1. `R = S H S` has the entries `s_i s_j (-1)^|i and j| / sqrt(n)`: row 0 gives the signs, and
/// then every other entry is forced. A dense random or learned matrix cannot have this form.
pub(super) fn structured(_: &Plan, _: &[TurboType]) -> Outcome {
    let mut tally = Tally::new(
        "rotation.structured",
        "the rotation is signs x Walsh-Hadamard x signs",
        "every entry within 1e-6 of s_i s_j H_ij",
    );
    for n in WIDTHS {
        let unit = 1.0 / (n as f32).sqrt();
        let signs: Vec<f32> = rotation_row(n, 0)?.iter().map(|v| v.signum()).collect();
        let mut worst = 0.0_f32;
        for i in 0..n {
            for (j, entry) in rotation_row(n, i)?.iter().enumerate() {
                let hadamard = if (i & j).count_ones() % 2 == 0 { unit } else { -unit };
                // row 0 holds s_0 s_j, so the product of two of them is s_i s_j
                worst = worst.max((entry - signs[i] * signs[j] * hadamard).abs());
            }
        }
        let negative = signs.iter().filter(|s| **s != signs[0]).count();
        tally.add(
            f64::from(worst) / 1e-6,
            format!("width {n}: {worst:.1e} ({negative} signs against the first)"),
        );
        // all signs equal would be a plain Hadamard matrix: no protection for structured vectors
        if negative < n / 4 || negative > 3 * n / 4 {
            tally.add(f64::INFINITY, format!("width {n}: the signs are not mixed"));
        }
    }
    Ok(one(tally))
}

/// Line 2.
pub(super) fn involution(_: &Plan, _: &[TurboType]) -> Outcome {
    let mut tally = Tally::new(
        "rotation.involution",
        "rotating twice gives the identity, once keeps the norm",
        "round trip of the identity and norm within 1e-6",
    );
    for n in WIDTHS {
        let (mut trip, mut norm) = (0.0_f32, 0.0_f64);
        for i in 0..n {
            let mut row = rotation_row(n, i)?;
            let square: f64 = row.iter().map(|v| f64::from(*v).powi(2)).sum();
            norm = norm.max((square.sqrt() - 1.0).abs());
            codec::rotate(&mut row)?;
            row[i] -= 1.0;
            trip = row.iter().fold(trip, |worst, v| worst.max(v.abs()));
        }
        let worst = norm.max(f64::from(trip));
        tally.add(
            worst / 1e-6,
            format!("width {n}: round trip {trip:.1e}, norm {norm:.1e}"),
        );
    }
    Ok(one(tally))
}

/// The converged codebooks for dimension 128, positive halves, to six digits.
fn pinned(bits: u32) -> &'static [f64] {
    match bits {
        2 => &[0.039992, 0.133042],
        3 => &[0.021604, 0.066586, 0.118140, 0.188397],
        4 => &[
            0.011302, 0.034152, 0.057772, 0.082828, 0.110288, 0.141805, 0.180836, 0.237664,
        ],
        _ => &[],
    }
}

/// Line 3: the solver gives the pinned digits, and the engine's integer levels are that codebook, rounded.
pub(super) fn codebook(_: &Plan, types: &[TurboType]) -> Outcome {
    let mut tally = Tally::new(
        "codebook.lloyd_max",
        "the codebook is Lloyd-Max, converged",
        "six pinned digits within 2e-6; the engine's levels lose less than 0.03 dB against it",
    );
    for bits in lloyd::BITS {
        let solved = lloyd::codebook(bits, lloyd::DIM);
        let off = solved
            .iter()
            .zip(pinned(bits))
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f64::max);
        let off = if solved.len() == pinned(bits).len() {
            off
        } else {
            f64::INFINITY
        };
        tally.add(
            off / 2e-6,
            format!("{bits} bit: solver and pinned digits differ by {off:.1e}"),
        );

        let (levels, factor) = codec::levels(bits)?;
        let half = levels.len() / 2;
        let symmetric = levels
            .iter()
            .zip(levels.iter().rev())
            .all(|(a, b)| i32::from(*a) == -i32::from(*b));
        let positive: Vec<f64> = levels[half..]
            .iter()
            .map(|l| f64::from(*l) / f64::from(factor))
            .collect();
        let loss = 10.0 * (lloyd::distortion(&positive, lloyd::DIM) / lloyd::distortion(&solved, lloyd::DIM)).log10();
        let whole = symmetric && half == solved.len();
        tally.add(
            if whole { loss / 0.03 } else { f64::INFINITY },
            format!("{bits} bit: levels {levels:?} / {factor} lose {loss:.4} dB"),
        );
    }
    if let Some(odd) = types.iter().find(|t| !lloyd::BITS.contains(&t.bits)) {
        tally.add(f64::INFINITY, format!("{}: no table of {} bits", odd.name, odd.bits));
    }
    Ok(one(tally))
}

/// Line 4: doubling a block changes its two scale bytes (an fp16 exponent by one) and nothing else,
/// so there is one scale, it is an fp16, and the indices are a pure direction.
pub(super) fn one_scale(plan: &Plan, types: &[TurboType]) -> Outcome {
    let mut tally = Tally::new(
        "scale.one_fp16",
        "one fp16 scale per block",
        "2x the values: the fp16 scale doubles, every index byte stays",
    );
    let mut rng = Rng::new(4);
    for ty in types {
        let ggml = ty.ggml()?;
        let mut wrong = 0;
        for _ in 0..200 {
            let x = rng.normals(ty.block);
            let doubled: Vec<f32> = x.iter().map(|v| 2.0 * v).collect();
            let (a, b) = (plan.active.encode(ggml, &x)?, plan.active.encode(ggml, &doubled)?);
            let scale = |row: &[u8]| u16::from_le_bytes([row[0], row[1]]);
            let exponent_up = scale(&b) == scale(&a) + (1 << 10);
            wrong += usize::from(!exponent_up || a[2..] != b[2..]);
        }
        tally.add(
            if wrong == 0 { 0.0 } else { f64::INFINITY },
            format!("{}: {wrong} of 200 blocks differ", ty.name),
        );
    }
    Ok(one(tally))
}

/// Line 5.
pub(super) fn nothing_else(_: &Plan, types: &[TurboType]) -> Outcome {
    let mut tally = Tally::new(
        "layout.nothing_else",
        "no constants besides the scale",
        "a block is 2 bytes of scale and bits/8 bytes per value",
    );
    for ty in types {
        let expected = 2 + ty.block * ty.bits as usize / 8;
        let per_value = 8.0 * ty.bytes as f64 / ty.block as f64;
        ty.ggml()?;
        tally.add(
            if ty.bytes == expected { 0.0 } else { f64::INFINITY },
            format!(
                "{}: {} bytes per {} values, {per_value} bits each",
                ty.name, ty.bytes, ty.block
            ),
        );
    }
    Ok(one(tally))
}

/// Random rows with every finite fp16 scale among them, and vectors to encode.
fn samples(ty: &TurboType, rng: &mut Rng) -> (Vec<u8>, Vec<f32>) {
    let mut rows: Vec<u8> = (0..COMPARED * ty.bytes).map(|_| rng.bits() as u8).collect();
    for (i, block) in rows.chunks_exact_mut(ty.bytes).enumerate() {
        // the encoder writes only finite scales of positive sign: 0..=0x7bff
        let scale = (i * 0x7c00 / COMPARED) as u16;
        block[..2].copy_from_slice(&scale.to_le_bytes());
    }
    (rows, rng.normals(COMPARED * ty.block))
}

fn count_different<T: PartialEq>(a: &[T], b: &[T]) -> usize {
    if a.len() == b.len() {
        a.iter().zip(b).filter(|(a, b)| a != b).count()
    } else {
        usize::MAX
    }
}

/// Line 6, first half: same bits as the reference from every implementation and from the engine's own tables.
pub(super) fn identical(plan: &Plan, types: &[TurboType]) -> Outcome {
    let mut tally = Tally::new(
        "decode.bit_identical",
        "every implementation packs the same bytes and unpacks the same bits",
        "no difference from the scalar reference",
    );
    let reference = Implementation::named("scalar")?;
    let mut rng = Rng::new(6);
    for ty in types {
        let ggml = ty.ggml()?;
        let (rows, x) = samples(ty, &mut rng);
        let (packed, unpacked) = (reference.encode(ggml, &x)?, bits(&reference.decode(ggml, &rows)?));
        let mut compare = |name: &str, bytes: &[u8], values: &[f32]| {
            let (p, u) = (
                count_different(bytes, &packed),
                count_different(&bits(values), &unpacked),
            );
            let load = if p == 0 && u == 0 { 0.0 } else { f64::INFINITY };
            tally.add(
                load,
                format!("{} {name}: {p} bytes, {u} values differ in {COMPARED} blocks", ty.name),
            );
        };
        for other in &plan.compared {
            compare(other.name(), &other.encode(ggml, &x)?, &other.decode(ggml, &rows)?);
        }
        compare("engine", &probe::quantize(ggml, &x)?, &probe::dequantize(ggml, &rows)?);
        dots(plan, &reference, ggml, ty, &x, &packed, &mut tally)?;
    }
    for name in &plan.skipped {
        tally.note(format!("{name}: skipped, this CPU cannot run it"));
    }
    Ok(one(tally))
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Dot products may differ by the order of additions: 1e-5 of |q||k|.
fn dots(
    plan: &Plan,
    reference: &Implementation,
    ggml: GgmlType,
    ty: &TurboType,
    x: &[f32],
    packed: &[u8],
    tally: &mut Tally,
) -> Result<()> {
    let q8_0 = GgmlType::named("q8_0")?;
    for other in &plan.compared {
        let mut worst = 0.0_f64;
        for (row, q) in packed.chunks_exact(ty.bytes).zip(x.chunks_exact(ty.block).rev()) {
            let query = probe::quantize(q8_0, q)?;
            let (a, b) = (reference.dot(ggml, row, &query)?, other.dot(ggml, row, &query)?);
            let norm = |v: &[f32]| v.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
            let size = norm(q) * norm(&reference.decode(ggml, row)?);
            worst = worst.max((f64::from(a) - f64::from(b)).abs() / size);
        }
        tally.add(
            worst / 1e-5,
            format!(
                "{} {}: dot products within {worst:.1e} of |q||k|",
                ty.name,
                other.name()
            ),
        );
    }
    Ok(())
}

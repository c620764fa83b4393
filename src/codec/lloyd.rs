//! Converged Lloyd-Max codebooks and the integer levels derived from them.
//!
//! A coordinate of a uniformly random unit vector in R^d has the density `(1 - x^2)^((d - 3) / 2)`
//! up to a constant. [`codebook`] iterates Lloyd's two conditions (thresholds are midpoints,
//! centroids are conditional means) on that density until nothing moves, which matters: stopping
//! after the first pass doubles the error of a 4-bit table and still looks plausible.
//!
//! [`Levels`] rounds a codebook to `int8`. Every decoded value is then `scale * integer`, so
//! dequantization is one exact product on every backend and dot products with 8-bit queries are
//! exact integer sums. The rounding costs less than 0.03 dB.

use std::fmt::Write as _;

/// Dimension for which the tables are solved. Other block widths scale it by `sqrt(128 / d)`; the
/// shape differs from the exact one by less than 0.06 dB even in the Gaussian limit.
pub const DIM: u32 = 128;

/// Index widths that have a table.
pub const BITS: [u32; 3] = [2, 3, 4];

/// Beyond this the density is below 1e-22 of its peak for `DIM`, so integrals stop here.
const SUPPORT: f64 = 0.75;

/// Half levels covered by one bin of the look-up that the SIMD encoders use.
const BIN_WIDTH: i32 = 16;

/// `(mass, first moment)` of the unnormalized density over `[a, b]`, by composite 5-point Gauss.
fn moments(dim: u32, a: f64, b: f64) -> (f64, f64) {
    const NODES: [(f64, f64); 5] = [
        (-0.906_179_845_938_664, 0.236_926_885_056_189_1),
        (-0.538_469_310_105_683_1, 0.478_628_670_499_366_5),
        (0.0, 0.568_888_888_888_888_9),
        (0.538_469_310_105_683_1, 0.478_628_670_499_366_5),
        (0.906_179_845_938_664, 0.236_926_885_056_189_1),
    ];
    const PANELS: u32 = 16;
    let power = (f64::from(dim) - 3.0) / 2.0;
    let half = (b - a) / f64::from(2 * PANELS);
    let (mut mass, mut first) = (0.0, 0.0);
    for panel in 0..PANELS {
        let center = a + half * f64::from(2 * panel + 1);
        for (node, weight) in NODES {
            let x = center + half * node;
            let density = half * weight * (power * (-x * x).ln_1p()).exp();
            mass += density;
            first += density * x;
        }
    }
    (mass, first)
}

/// Cell borders of a symmetric codebook's positive half: 0, the midpoints, the end of the support.
fn borders(positive: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0];
    out.extend(positive.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0));
    out.push(SUPPORT);
    out
}

/// Positive half, ascending, of the converged `bits`-bit Lloyd-Max codebook for one coordinate of
/// a random unit vector in `R^dim`.
///
/// # Panics
/// If `dim < 32`: the support used for the integrals assumes a concentrated density.
#[must_use]
pub fn codebook(bits: u32, dim: u32) -> Vec<f64> {
    assert!(dim >= 32, "dimension {dim} is too small for this solver");
    let half = 1_usize << (bits - 1);
    let sigma = 1.0 / f64::from(dim).sqrt();
    let mut centers: Vec<f64> = (0..half)
        .map(|i| sigma * (i as f64 + 0.5) * 3.0 / half as f64)
        .collect();
    for _ in 0..100_000 {
        let edges = borders(&centers);
        let mut moved = 0.0_f64;
        for (center, cell) in centers.iter_mut().zip(edges.windows(2)) {
            let (mass, first) = moments(dim, cell[0], cell[1]);
            let next = first / mass;
            moved = moved.max((next - *center).abs());
            *center = next;
        }
        if moved < 1e-14 {
            break;
        }
    }
    centers
}

/// Expected squared error of a positive-half codebook on the density, per unit of `|x|^2`
/// (that is, `dim` times the error of one coordinate).
#[must_use]
pub fn distortion(positive: &[f64], dim: u32) -> f64 {
    const FINE: u32 = 64;
    let power = (f64::from(dim) - 3.0) / 2.0;
    let (mut mass, mut error) = (0.0, 0.0);
    for (cell, center) in borders(positive).windows(2).zip(positive) {
        let step = (cell[1] - cell[0]) / f64::from(FINE * 16);
        for i in 0..FINE * 16 {
            let x = cell[0] + step * (f64::from(i) + 0.5);
            let density = step * (power * (-x * x).ln_1p()).exp();
            mass += density;
            error += density * (x - center) * (x - center);
        }
    }
    f64::from(dim) * error / mass
}

/// A codebook rounded to `int8`, positive half: `codebook[i] ~ levels[i] / factor`.
#[derive(Debug, Clone, PartialEq)]
pub struct Levels {
    /// Ascending magnitudes, 1..=127. The full table is `-reverse, +forward`.
    pub levels: Vec<i32>,
    /// The factor `f` that maps the codebook onto the levels.
    pub factor: f64,
}

impl Levels {
    /// Searches the largest level over 90..=127 (in sixteenths) and keeps the rounding with the
    /// smallest probability-weighted squared error; `factor` is refitted for each candidate.
    #[must_use]
    pub fn derive(positive: &[f64], dim: u32) -> Self {
        let weights: Vec<f64> = borders(positive)
            .windows(2)
            .map(|cell| moments(dim, cell[0], cell[1]).0)
            .collect();
        let top = positive[positive.len() - 1];
        let mut best: Option<(f64, Self)> = None;
        for sixteenths in 90 * 16..=127 * 16 {
            let trial = f64::from(sixteenths) / 16.0 / top;
            let levels: Vec<i32> = positive.iter().map(|c| (trial * c).round() as i32).collect();
            let (mut cl, mut ll) = (0.0, 0.0);
            for ((c, l), w) in positive.iter().zip(&levels).zip(&weights) {
                cl += w * c * f64::from(*l);
                ll += w * f64::from(l * l);
            }
            let factor = ll / cl;
            let error: f64 = positive
                .iter()
                .zip(&levels)
                .zip(&weights)
                .map(|((c, l), w)| w * (c - f64::from(*l) / factor).powi(2))
                .sum();
            if best.as_ref().is_none_or(|(least, _)| error < *least) {
                best = Some((error, Self { levels, factor }));
            }
        }
        best.expect("the search range is not empty").1
    }

    /// Midpoints between adjacent magnitudes in half levels (`levels[i] + levels[i + 1]`), so that
    /// every threshold is an integer.
    #[must_use]
    pub fn edges(&self) -> Vec<i32> {
        self.levels.windows(2).map(|pair| pair[0] + pair[1]).collect()
    }

    /// The edges as a 16-bin look-up over `w = min(255, floor(2 |u|))`: bin `w / 16` holds the last
    /// `w` still below its edge (255: no edge here) and the rank at the start of the bin.
    ///
    /// # Panics
    /// If two edges share a bin: then the look-up cannot represent the table.
    #[must_use]
    pub fn bins(&self) -> ([i32; 16], [i32; 16]) {
        let (mut below, mut rank) = ([255; 16], [0; 16]);
        for (bin, (below, rank)) in (0_i32..).zip(below.iter_mut().zip(rank.iter_mut())) {
            let (start, end) = (bin * BIN_WIDTH, (bin + 1) * BIN_WIDTH);
            let edges = self.edges();
            let inside: Vec<i32> = edges.iter().copied().filter(|e| (start..end).contains(e)).collect();
            assert!(inside.len() <= 1, "edges {inside:?} share a bin");
            *rank = edges.iter().filter(|e| **e < start).count() as i32;
            if let Some(edge) = inside.first() {
                *below = edge - 1;
            }
        }
        (below, rank)
    }
}

fn list<T: ToString>(values: impl IntoIterator<Item = T>) -> String {
    values.into_iter().map(|v| v.to_string()).collect::<Vec<_>>().join(", ")
}

/// The text of `kernels/common/levels.h`.
#[must_use]
pub fn render_levels_header() -> String {
    let mut out = String::from(
        "// Generated by render_levels_header() in src/codec/lloyd.rs; a unit test there compares this\n\
         // file byte for byte. Do not edit.\n\
         //\n\
         // Per index width b (positive halves, ascending):\n\
         //   TQ_CODEBOOK_b  converged Lloyd-Max codebook of one coordinate of a random unit vector in R^128\n\
         //   TQ_MAG_b       the same rounded to int8: codebook ~ level / TQ_FACTOR_b\n\
         //   TQ_LEVELS_b    full table in index order: index 0 is the most negative level\n\
         //   TQ_EDGES_b     midpoints of adjacent magnitudes in half levels (exact integers)\n\
         //   TQ_BIN_BELOW_b, TQ_BIN_RANK_b  the edges as a look-up over bin = w / 16,\n\
         //                  w = min(255, floor(2 |u|)): rank = BIN_RANK[bin] + (w > BIN_BELOW[bin])\n\
         #ifndef TQ_LEVELS_H\n#define TQ_LEVELS_H\n",
    );
    for bits in BITS {
        let positive = codebook(bits, DIM);
        let table = Levels::derive(&positive, DIM);
        let (below, rank) = table.bins();
        let full = table
            .levels
            .iter()
            .rev()
            .map(|l| -l)
            .chain(table.levels.iter().copied());
        let pins = positive.iter().map(|c| format!("{c:.7}f"));
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "\n#define TQ_FACTOR_{bits} {:.4}f\n\
             #define TQ_CODEBOOK_{bits} {{ {} }}\n\
             #define TQ_MAG_{bits} {{ {} }}\n\
             #define TQ_LEVELS_{bits} {{ {} }}\n\
             #define TQ_EDGES_{bits} {{ {} }}\n\
             #define TQ_BIN_BELOW_{bits} {{ {} }}\n\
             #define TQ_BIN_RANK_{bits} {{ {} }}\n",
            table.factor,
            list(pins),
            list(table.levels.iter()),
            list(full),
            list(table.edges()),
            list(below),
            list(rank),
        );
    }
    out.push_str("\n#endif\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMITTED: &str = include_str!("../../kernels/common/levels.h");

    fn pinned(bits: u32) -> &'static [f64] {
        match bits {
            2 => &[0.039992, 0.133042],
            3 => &[0.021604, 0.066586, 0.118140, 0.188397],
            _ => &[
                0.011302, 0.034152, 0.057772, 0.082828, 0.110288, 0.141805, 0.180836, 0.237664,
            ],
        }
    }

    /// Numbers between the braces of `#define NAME { ... }` in the committed header.
    fn parsed(name: &str) -> Vec<f64> {
        let start = format!("#define {name} {{");
        let line = COMMITTED.lines().find(|l| l.starts_with(&start)).expect("row present");
        line[start.len()..]
            .trim_end_matches('}')
            .split(',')
            .map(|n| n.trim().trim_end_matches('f').parse().expect("a number"))
            .collect()
    }

    #[test]
    fn codebooks_match_the_published_six_digits() {
        for bits in BITS {
            for (got, want) in codebook(bits, DIM).iter().zip(pinned(bits)) {
                assert!((got - want).abs() < 2e-6, "{bits} bit: {got} against {want}");
            }
        }
    }

    #[test]
    fn codebooks_are_fixed_points() {
        for bits in BITS {
            let centers = codebook(bits, DIM);
            for (center, cell) in centers.iter().zip(borders(&centers).windows(2)) {
                let (mass, first) = moments(DIM, cell[0], cell[1]);
                assert!((first / mass - center).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn distortion_is_the_lloyd_max_one() {
        for (bits, want) in [(2, 0.11600), (3, 0.03397), (4, 0.009315)] {
            let got = distortion(&codebook(bits, DIM), DIM);
            assert!((got / want - 1.0).abs() < 2e-3, "{bits} bit: {got} against {want}");
        }
    }

    #[test]
    fn integer_levels_lose_less_than_three_hundredths_of_a_decibel() {
        for bits in BITS {
            let exact = codebook(bits, DIM);
            let table = Levels::derive(&exact, DIM);
            let rounded: Vec<f64> = table.levels.iter().map(|l| f64::from(*l) / table.factor).collect();
            let loss = 10.0 * (distortion(&rounded, DIM) / distortion(&exact, DIM)).log10();
            assert!(loss < 0.03, "{bits} bit loses {loss} dB");
            assert!(table.levels.iter().all(|l| (1..=127).contains(l)));
            assert!(table.levels.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }

    #[test]
    fn bins_give_the_same_rank_as_counting_edges() {
        for bits in BITS {
            let table = Levels::derive(&codebook(bits, DIM), DIM);
            let (below, rank) = table.bins();
            for w in 0..=255 {
                let counted = table.edges().iter().filter(|e| w >= **e).count() as i32;
                let bin = (w / BIN_WIDTH) as usize;
                assert_eq!(rank[bin] + i32::from(w > below[bin]), counted, "{bits} bit, w {w}");
            }
        }
    }

    #[test]
    fn committed_header_is_what_we_render() {
        assert_eq!(
            COMMITTED,
            render_levels_header(),
            "regenerate kernels/common/levels.h: cargo run --example levels_header > kernels/common/levels.h"
        );
    }

    #[test]
    fn committed_tables_equal_the_derived_ones() {
        for bits in BITS {
            let table = Levels::derive(&codebook(bits, DIM), DIM);
            let mags: Vec<i32> = parsed(&format!("TQ_MAG_{bits}")).iter().map(|v| *v as i32).collect();
            assert_eq!(mags, table.levels);
            let full: Vec<i32> = parsed(&format!("TQ_LEVELS_{bits}")).iter().map(|v| *v as i32).collect();
            let mirrored: Vec<i32> = full.iter().rev().map(|v| -v).collect();
            assert_eq!(full, mirrored);
            for (got, want) in parsed(&format!("TQ_CODEBOOK_{bits}")).iter().zip(pinned(bits)) {
                assert!((got - want).abs() < 2e-6);
            }
        }
    }
}

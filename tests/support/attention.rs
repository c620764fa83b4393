//! The attention operator through the engine's probe, and the same in float64 over the decoded cache: what is left is the
//! operator's own error, whatever the types.
#![allow(dead_code)] // each test program uses its part

use llama_turboquant::engine::codec::GgmlType;
use llama_turboquant::engine::probe::{self, AttentionShape};
use llama_turboquant::verify::rng::Rng;

/// The mask of one sequence: for query i of n and key j of m, what is added to the logit.
#[derive(Clone, Copy, Debug)]
pub enum Mask {
    None,
    /// The last query sees all keys.
    Causal,
    /// Causal, with two keys of three hidden at random.
    Holes,
    /// Every third query sees nothing at all (padding).
    Blind,
    /// Minus the distance, which ALiBi multiplies by the head's slope.
    Distance,
}

/// Who computes, as far as it decides what precision the query and the sums have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernels {
    Turboquant,
    Upstream,
}

#[derive(Clone, Debug)]
pub struct Case {
    pub kernels: Kernels,
    pub types: (&'static str, &'static str),
    pub dims: (u32, u32),
    pub heads: (u32, u32),
    pub queries: u32,
    pub keys: u32,
    pub sequences: u32,
    pub threads: i32,
    pub mask: Mask,
    pub sinks: bool,
    pub softcap: f32,
    pub max_bias: f32,
}

impl Case {
    /// A small problem, left to llama.cpp.
    pub fn new(types: (&'static str, &'static str)) -> Self {
        Self {
            kernels: Kernels::Upstream,
            types,
            dims: (128, 128),
            heads: (4, 2),
            queries: 3,
            keys: 67,
            sequences: 1,
            threads: 2,
            mask: Mask::Causal,
            sinks: false,
            softcap: 0.0,
            max_bias: 0.0,
        }
    }

    pub fn shape(&self) -> AttentionShape {
        AttentionShape {
            head_dim_v: self.dims.1,
            n_heads: self.heads.0,
            n_kv_heads: self.heads.1,
            n_queries: self.queries,
            n_sequences: self.sequences,
            n_threads: self.threads,
            max_bias: self.max_bias,
            logit_softcap: self.softcap,
            ..AttentionShape::new(
                self.dims.0,
                self.keys,
                member(self.types.0, self.dims.0),
                member(self.types.1, self.dims.1),
            )
        }
    }

    /// Largest allowed `max |difference| / max |reference|`.
    pub fn bound(&self) -> f64 {
        if self.kernels == Kernels::Turboquant {
            // kernels/attention: queries and the weights of the softmax are 16-bit integers, all else is f32 or exact. Either
            // rounding is uniform with a step of 2^-15 of the largest value at most.
            return 2e-4;
        }
        let tiled = self.exact_query();
        if self.types.1 == "f16" && !tiled {
            // Upstream accumulates f16 values in f16: every key rounds the running sum once, by up to
            // 2^-11 of it and .42 of that on average. The roundings are independent, so they add up like a
            // random walk; 4 deviations of it, because the largest of thousands of outputs is compared.
            return (2.0 + 1.7 * f64::from(self.keys).sqrt()) / 2048.0;
        }
        // On Arm with half-precision arithmetic upstream also sums f16 dot products in f16.
        if self.types.0 == "f16" && cfg!(target_arch = "aarch64") && !tiled {
            2e-2
        } else {
            1e-4
        }
    }

    /// Our kernels, and upstream's tiled prefill (f16 K and V, 64 queries or more), leave the query as it is.
    fn exact_query(&self) -> bool {
        self.kernels == Kernels::Turboquant || self.types == ("f16", "f16") && self.queries >= 64
    }
}

/// The member of a family whose block divides the head, as the engine chooses it.
fn member(family: &str, head_dim: u32) -> GgmlType {
    let wide = GgmlType::named(family).unwrap();
    if (head_dim as usize).is_multiple_of(wide.block()) {
        wide
    } else {
        GgmlType::named(&format!("{family}_64")).unwrap()
    }
}

fn through(ty: GgmlType, x: &[f32]) -> Vec<f32> {
    probe::dequantize(ty, &probe::quantize(ty, x).unwrap()).unwrap()
}

/// What upstream multiplies the keys by instead of the query: q8_0 for every quantized K, f16 for f16.
fn rounded_query(case: &Case, q: &[f32]) -> Vec<f32> {
    if case.exact_query() {
        return q.to_vec();
    }
    through(
        GgmlType::named(if case.types.0 == "f16" { "f16" } else { "q8_0" }).unwrap(),
        q,
    )
}

fn mask(case: &Case, rng: &mut Rng) -> Option<Vec<f32>> {
    let (n, m) = (case.queries as usize, case.keys as usize);
    let mut values = Vec::with_capacity(n * m * case.sequences as usize);
    for _ in 0..case.sequences {
        for i in 0..n {
            let last = (m + i).saturating_sub(n); // the key at the query's own position
            for j in 0..m {
                let hidden = match case.mask {
                    Mask::None => return None,
                    Mask::Causal | Mask::Distance => j > last,
                    Mask::Holes => j > last || (j != last && rng.below(3) != 0),
                    Mask::Blind => j > last || i % 3 == 1,
                };
                let distance = if matches!(case.mask, Mask::Distance) {
                    -(last.abs_diff(j) as f32)
                } else {
                    0.0
                };
                values.push(if hidden { f32::NEG_INFINITY } else { distance });
            }
        }
    }
    Some(values)
}

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

struct Inputs {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    mask: Option<Vec<f32>>,
    sinks: Option<Vec<f32>>,
}

/// Attention as the paper writes it, in float64.
fn reference(case: &Case, shape: &AttentionShape, x: &Inputs) -> Vec<f64> {
    let (dk, dv) = (case.dims.0 as usize, case.dims.1 as usize);
    let (heads, kv_heads) = (case.heads.0 as usize, case.heads.1 as usize);
    let (n, m) = (case.queries as usize, case.keys as usize);
    let (q, k, v) = (
        rounded_query(case, &x.q),
        through(shape.type_k, &x.k),
        through(shape.type_v, &x.v),
    );
    let mut out = vec![0.0; shape.out_len()];
    for s in 0..case.sequences as usize {
        for h in 0..heads {
            let kv = s * kv_heads + h / (heads / kv_heads);
            for i in 0..n {
                let query = &q[((s * heads + h) * n + i) * dk..][..dk];
                let logit = |j: usize| {
                    let key = &k[(kv * m + j) * dk..][..dk];
                    let dot: f64 = query.iter().zip(key).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                    let (cap, scaled) = (f64::from(case.softcap), dot * f64::from(shape.scale));
                    let capped = if cap > 0.0 { cap * (scaled / cap).tanh() } else { scaled };
                    let added = x.mask.as_ref().map_or(0.0, |mask| f64::from(mask[(s * n + i) * m + j]));
                    capped + slope(h, case.heads.0, case.max_bias) * added
                };
                let logits: Vec<f64> = (0..m).map(logit).collect();
                let sink = x.sinks.as_ref().map(|sinks| f64::from(sinks[h]));
                let top = logits.iter().copied().chain(sink).fold(f64::NEG_INFINITY, f64::max);
                if top == f64::NEG_INFINITY {
                    continue; // nothing to see: zeros
                }
                let result = &mut out[((s * n + i) * heads + h) * dv..][..dv];
                let mut sum = sink.map_or(0.0, |sink| (sink - top).exp());
                for (j, logit) in logits.iter().enumerate() {
                    let weight = (logit - top).exp();
                    sum += weight;
                    let value = &v[(kv * m + j) * dv..][..dv];
                    result
                        .iter_mut()
                        .zip(value)
                        .for_each(|(r, v)| *r += weight * f64::from(*v));
                }
                result.iter_mut().for_each(|r| *r /= sum);
            }
        }
    }
    out
}

/// A case with its data and what comes out of it.
pub struct Problem {
    pub case: Case,
    shape: AttentionShape,
    inputs: Inputs,
    expected: Vec<f64>,
}

impl Problem {
    pub fn new(case: Case) -> Self {
        let (shape, inputs) = inputs(&case);
        let expected = reference(&case, &shape, &inputs);
        Self {
            case,
            shape,
            inputs,
            expected,
        }
    }

    /// The engine's `max |difference| / max |expected|`.
    pub fn error(&self) -> f64 {
        let got = compute(&self.case, &self.shape, &self.inputs);
        let size = self.expected.iter().fold(0.0_f64, |top, v| top.max(v.abs()));
        // f64::max would drop a NaN
        assert!(got.iter().all(|v| v.is_finite()), "{:?}: not finite", self.case);
        got.iter()
            .zip(&self.expected)
            .fold(0.0_f64, |top, (a, b)| top.max((f64::from(*a) - b).abs()))
            / size
    }
}

/// What the engine computes for a case.
pub fn computed(case: &Case) -> Vec<f32> {
    let (shape, inputs) = inputs(case);
    compute(case, &shape, &inputs)
}

fn compute(case: &Case, shape: &AttentionShape, x: &Inputs) -> Vec<f32> {
    probe::attention(shape, &x.q, &x.k, &x.v, x.mask.as_deref(), x.sinks.as_deref())
        .unwrap_or_else(|error| panic!("{case:?}: {error}"))
}

fn inputs(case: &Case) -> (AttentionShape, Inputs) {
    let shape = case.shape();
    // same data whatever the order of the table
    let mut rng = Rng::new(u64::from(case.keys) << 32 | u64::from(case.queries * 1000 + case.dims.0));
    let x = Inputs {
        q: rng.normals(shape.q_len()),
        k: rng.normals(shape.k_len()),
        v: rng.normals(shape.v_len()),
        mask: mask(case, &mut rng),
        sinks: case.sinks.then(|| rng.normals(case.heads.0 as usize)),
    };
    (shape, x)
}

pub const FAMILIES: [&str; 6] = ["f16", "q8_0", "q4_0", "turbo4", "turbo3", "turbo2"];

/// Pairs that stand for the kinds of path: plain, quantized, turbo, and the mixtures people use.
pub const PAIRS: [(&str, &str); 7] = [
    ("f16", "f16"),
    ("q8_0", "q8_0"),
    ("q8_0", "turbo4"),
    ("turbo4", "turbo4"),
    ("turbo3", "turbo2"),
    ("f16", "turbo3"),
    ("turbo2", "f16"),
];

pub fn all_pairs() -> impl Iterator<Item = (&'static str, &'static str)> {
    FAMILIES
        .into_iter()
        .flat_map(|k| FAMILIES.into_iter().map(move |v| (k, v)))
}

/// Every pair of types at every head size.
pub fn head_sizes() -> impl Iterator<Item = Case> {
    let dims = [
        (64, 64),
        (128, 128),
        (192, 192),
        (256, 256),
        (320, 320),
        (576, 576),
        (192, 128),
        (576, 512),
    ];
    all_pairs().flat_map(move |types| {
        dims.map(|dims| Case {
            dims,
            ..Case::new(types)
        })
    })
}

/// One query, with every pair.
pub fn decoding() -> impl Iterator<Item = Case> {
    all_pairs().flat_map(|types| {
        [1, 31, 257].map(|keys| Case {
            queries: 1,
            keys,
            heads: (8, 2),
            ..Case::new(types)
        })
    })
}

/// Query heads that share keys and values, and some that do not.
pub fn groups() -> impl Iterator<Item = Case> {
    PAIRS.into_iter().flat_map(|types| {
        [(1, 1), (2, 2), (6, 3), (8, 2), (14, 2), (16, 2), (16, 1)]
            .into_iter()
            .flat_map(move |heads| {
                [1, 3, 33].map(|queries| Case {
                    heads,
                    queries,
                    keys: 101,
                    ..Case::new(types)
                })
            })
    })
}

/// Masks, sinks, caps on the logits, ALiBi's slopes.
pub fn masks() -> impl Iterator<Item = Case> {
    let masks = [Mask::None, Mask::Causal, Mask::Holes, Mask::Blind];
    PAIRS.into_iter().flat_map(move |types| {
        let plain = masks.into_iter().flat_map(move |mask| {
            [(1, 129), (33, 129), (5, 5)]
                .into_iter()
                .flat_map(move |(queries, keys)| {
                    [(false, 0.0), (true, 0.0), (false, 2.0), (true, 2.0)].map(|(sinks, softcap)| Case {
                        mask,
                        queries,
                        keys,
                        sinks,
                        softcap,
                        ..Case::new(types)
                    })
                })
        });
        // 12 heads: not a power of two, so that both slopes are used
        let sloped = [(1, false), (7, true)].into_iter().flat_map(move |(queries, sinks)| {
            [4.0, 8.0].map(|max_bias| Case {
                mask: Mask::Distance,
                max_bias,
                queries,
                sinks,
                heads: (12, 4),
                keys: 65,
                ..Case::new(types)
            })
        });
        plain.chain(sloped)
    })
}

/// Several sequences.
pub fn sequences() -> impl Iterator<Item = Case> {
    PAIRS.into_iter().flat_map(|types| {
        [(2, 1), (3, 3), (2, 33)].map(|(sequences, queries)| Case {
            sequences,
            queries,
            mask: Mask::Holes,
            keys: 71,
            ..Case::new(types)
        })
    })
}

/// Several numbers of threads.
pub fn threads() -> impl Iterator<Item = Case> {
    PAIRS.into_iter().flat_map(|types| {
        [1, 2, 4].into_iter().flat_map(move |threads| {
            // 1031 keys: long enough for the paths that split the cache among threads
            [(1, 1031), (3, 517), (33, 131)].map(|(queries, keys)| Case {
                threads,
                queries,
                keys,
                ..Case::new(types)
            })
        })
    })
}

/// Fails with every line of `failed`, of `count` cases.
#[track_caller]
pub fn assert_none(failed: &[String], count: usize) {
    assert!(
        failed.is_empty(),
        "{} of {count} cases:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

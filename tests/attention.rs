//! The engine's attention operator against float64 arithmetic over the decoded cache: what is left
//! is the operator's own error, whatever the types. Table-driven; each row of a table is one shape.

use llama_turboquant::Backend;
use llama_turboquant::engine::codec::GgmlType;
use llama_turboquant::engine::probe::{self, AttentionShape};
use llama_turboquant::verify::rng::Rng;

const FAMILIES: [&str; 6] = ["f16", "q8_0", "q4_0", "turbo4", "turbo3", "turbo2"];

/// Pairs that stand for the kinds of path: plain, quantized, turbo, and the mixtures people use.
const PAIRS: [(&str, &str); 7] = [
    ("f16", "f16"),
    ("q8_0", "q8_0"),
    ("q8_0", "turbo4"),
    ("turbo4", "turbo4"),
    ("turbo3", "turbo2"),
    ("f16", "turbo3"),
    ("turbo2", "f16"),
];

/// The mask of one sequence: for query i of n and key j of m, what is added to the logit.
#[derive(Clone, Copy, Debug)]
enum Mask {
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

#[derive(Clone, Debug)]
struct Case {
    types: (&'static str, &'static str),
    dims: (u32, u32),
    heads: (u32, u32),
    queries: u32,
    keys: u32,
    sequences: u32,
    threads: i32,
    mask: Mask,
    sinks: bool,
    softcap: f32,
    max_bias: f32,
}

impl Case {
    fn new(types: (&'static str, &'static str)) -> Self {
        Self {
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

    fn shape(&self) -> AttentionShape {
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
    fn bound(&self) -> f64 {
        if self.is_compressed() {
            // kernels/attention: queries and probabilities are 16-bit integers, all else is f32 or exact. Either
            // rounding is uniform with a step of 2^-15 of the largest value at most.
            return 1e-4;
        }
        let tiled = self.exact_query();
        if !tiled {
            // Upstream accumulates f16 values in f16 (and on Arm dot products too): every key rounds the running sum once, by up to
            // 2^-11 of it and .42 of that on average. The roundings are independent, so they add up like a
            // random walk; 4 deviations of it, because the largest of thousands of outputs is compared.
            return (2.0 + 1.7 * f64::from(self.keys).sqrt()) / 2048.0;
        }
        1e-4
    }

    /// Computed by our kernels; a plain cache stays upstream's.
    fn is_compressed(&self) -> bool {
        self.types != ("f16", "f16")
    }

    /// Our kernels and upstream's tiled prefill (f16 K and V, 64 queries or more) do not round the query to f16.
    fn exact_query(&self) -> bool {
        self.is_compressed() || self.queries >= 64
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

/// What meets the keys instead of the query.
fn rounded_query(case: &Case, q: &[f32]) -> Vec<f32> {
    if case.exact_query() {
        return q.to_vec();
    }
    through(GgmlType::named("f16").unwrap(), q)
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

/// Relative error of one case.
fn error_of(case: &Case) -> f64 {
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
    let got = probe::attention(&shape, &x.q, &x.k, &x.v, x.mask.as_deref(), x.sinks.as_deref())
        .unwrap_or_else(|error| panic!("{case:?}: {error}"));
    let expected = reference(case, &shape, &x);
    let size = expected.iter().fold(0.0_f64, |top, v| top.max(v.abs()));
    // f64::max would drop a NaN
    assert!(got.iter().all(|v| v.is_finite()), "{case:?}: not finite");
    got.iter()
        .zip(&expected)
        .fold(0.0_f64, |top, (a, b)| top.max((f64::from(*a) - b).abs()))
        / size
}

/// Runs a table and prints the worst error per kind of bound.
fn check(cases: impl IntoIterator<Item = Case>) {
    Backend::init().expect("the engine starts");
    let (mut count, mut failed, mut worst) = (0, Vec::new(), [0.0_f64; 2]);
    for case in cases {
        let (error, bound) = (error_of(&case), case.bound());
        count += 1;
        let kind = usize::from(bound > 1e-4);
        worst[kind] = worst[kind].max(if kind == 0 { error } else { error / bound });
        if error > bound {
            failed.push(format!("{error:.2e} > {bound:.2e}: {case:?}"));
        }
    }
    println!(
        "{count} cases; worst error {:.1e}; with f16 sums {:.0} % of the bound",
        worst[0],
        100.0 * worst[1]
    );
    assert!(
        failed.is_empty(),
        "{} of {count} cases:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

fn all_pairs() -> impl Iterator<Item = (&'static str, &'static str)> {
    FAMILIES
        .into_iter()
        .flat_map(|k| FAMILIES.into_iter().map(move |v| (k, v)))
}

#[test]
fn every_pair_of_types_at_every_head_size() {
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
    check(all_pairs().flat_map(|types| {
        dims.map(|dims| Case {
            dims,
            ..Case::new(types)
        })
    }));
}

#[test]
fn decoding_one_query_with_every_pair() {
    check(all_pairs().flat_map(|types| {
        [1, 31, 257].map(|keys| Case {
            queries: 1,
            keys,
            heads: (8, 2),
            ..Case::new(types)
        })
    }));
}

#[test]
fn heads_share_keys_and_values() {
    check(PAIRS.into_iter().flat_map(|types| {
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
    }));
}

#[test]
fn masks_sinks_caps_and_slopes() {
    let masks = [Mask::None, Mask::Causal, Mask::Holes, Mask::Blind];
    check(PAIRS.into_iter().flat_map(|types| {
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
    }));
}

#[test]
fn sequences_keep_apart() {
    check(PAIRS.into_iter().flat_map(|types| {
        [(2, 1), (3, 3), (2, 33)].map(|(sequences, queries)| Case {
            sequences,
            queries,
            mask: Mask::Holes,
            keys: 71,
            ..Case::new(types)
        })
    }));
}

#[test]
fn any_number_of_threads() {
    check(PAIRS.into_iter().flat_map(|types| {
        [1, 2, 4].into_iter().flat_map(move |threads| {
            // 1031 keys: long enough for the paths that split the cache among threads
            [(1, 1031), (3, 517), (33, 131)].map(|(queries, keys)| Case {
                threads,
                queries,
                keys,
                ..Case::new(types)
            })
        })
    }));
}

#[test]
fn tiled_prefill_of_f16() {
    check([64, 70, 130].into_iter().flat_map(|queries| {
        [(64, 64), (128, 128), (192, 128)].map(|dims| Case {
            queries,
            dims,
            keys: 131,
            sinks: true,
            ..Case::new(("f16", "f16"))
        })
    }));
}

#[test]
fn misuse_is_an_error_not_an_abort() {
    Backend::init().expect("the engine starts");
    let good = Case::new(("q8_0", "turbo4")).shape();
    let run = |shape: AttentionShape, masked: bool| {
        let zeros = |n: usize| vec![0.0; n];
        let mask = masked.then(|| zeros(shape.mask_len()));
        probe::attention(
            &shape,
            &zeros(shape.q_len()),
            &zeros(shape.k_len()),
            &zeros(shape.v_len()),
            mask.as_deref(),
            None,
        )
    };
    assert!(run(good, false).is_ok());
    let bad = [
        ("KV heads", AttentionShape { n_heads: 3, ..good }),
        ("multiple", AttentionShape { head_dim_k: 80, ..good }),
        ("multiple", AttentionShape { head_dim_v: 96, ..good }),
        ("max_bias", AttentionShape { max_bias: 8.0, ..good }),
        ("n_threads", AttentionShape { n_threads: 0, ..good }),
        ("size is 0", AttentionShape { n_keys: 0, ..good }),
        ("size is 0", AttentionShape { n_kv_heads: 0, ..good }),
    ];
    for (word, shape) in bad {
        let message = run(shape, false).expect_err("must be refused").to_string();
        assert!(message.contains(word), "{message}");
    }
    assert!(
        probe::attention(&good, &[0.0], &[], &[], None, None)
            .unwrap_err()
            .to_string()
            .contains('q')
    );
}

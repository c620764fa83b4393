//! Every codec implementation of this CPU against the scalar reference: same bytes, same bits, same
//! sums up to the order of additions. The runner is one; implementations and types are asked for.

#[path = "kernels/device.rs"]
mod device;

use llama_turboquant::engine::codec::{self, GgmlType, Implementation, TurboType};
use llama_turboquant::engine::probe;
use llama_turboquant::verify::rng::Rng;
use llama_turboquant::verify::vectors::edge_vectors;
use llama_turboquant::{Backend, Error, verify};
use std::sync::{Mutex, PoisonError};

/// The implementation in use is a fact of the process: tests that change it or report it take turns.
static SELECTION: Mutex<()> = Mutex::new(());

const GOLDEN: &str = include_str!("data/codec_golden.txt");

/// Row lengths in values: head sizes in use, whole rows of several heads.
const LENGTHS: [usize; 8] = [64, 128, 192, 256, 320, 512, 576, 1024];

struct Bench {
    types: Vec<TurboType>,
    reference: Implementation,
    others: Vec<Implementation>,
}

fn bench() -> Bench {
    Backend::init().expect("the engine starts");
    let all = Implementation::all().expect("a list of implementations");
    for name in &all.skipped {
        println!("skipped: {name} (this CPU cannot run it)");
    }
    let mut runnable = all.runnable.into_iter();
    let reference = runnable.next().expect("the scalar implementation is always there");
    assert_eq!(reference.name(), "scalar");
    let others: Vec<_> = runnable.collect();
    println!(
        "compared with scalar: {:?}",
        others.iter().map(Implementation::name).collect::<Vec<_>>()
    );
    Bench {
        types: codec::types().expect("a registry"),
        reference,
        others,
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

fn norm(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt()
}

/// Packs in a buffer with guards on both sides, at an address that is only 2-byte aligned.
fn guarded_encode(implementation: &Implementation, ty: GgmlType, x: &[f32]) -> Vec<u8> {
    const GUARD: usize = 66;
    let size = ty.row_bytes(x.len()).unwrap();
    let mut buffer = vec![0xa5_u8; size + 2 * GUARD];
    implementation
        .encode_into(ty, x, &mut buffer[GUARD..GUARD + size])
        .unwrap();
    let intact = buffer[..GUARD]
        .iter()
        .chain(&buffer[GUARD + size..])
        .all(|b| *b == 0xa5);
    assert!(intact, "{} wrote outside its row", implementation.name());
    buffer[GUARD..GUARD + size].to_vec()
}

/// Unpacks between guards, at an address that no vector register likes.
fn guarded_decode(implementation: &Implementation, ty: GgmlType, row: &[u8]) -> Vec<f32> {
    const GUARD: usize = 17;
    let n = ty.row_values(row.len()).unwrap();
    let mut buffer = vec![f32::from_bits(0x1234_5678); n + 2 * GUARD];
    implementation
        .decode_into(ty, row, &mut buffer[GUARD..GUARD + n])
        .unwrap();
    let intact = buffer[..GUARD]
        .iter()
        .chain(&buffer[GUARD + n..])
        .all(|v| v.to_bits() == 0x1234_5678);
    assert!(intact, "{} wrote outside its row", implementation.name());
    buffer[GUARD..GUARD + n].to_vec()
}

#[test]
fn packing_gives_the_same_bytes_everywhere() {
    let Bench {
        types,
        reference,
        others,
    } = bench();
    let mut rng = Rng::new(1);
    for ty in &types {
        let ggml = ty.ggml().unwrap();
        let lengths = LENGTHS.iter().filter(|n| n.is_multiple_of(ty.block));
        let random = lengths
            .flat_map(|n| (0..8).map(|_| *n).collect::<Vec<_>>())
            .map(|n| rng.normals(n + 1));
        // one value longer than the row: the row starts 4 bytes off
        let mut rows: Vec<(String, Vec<f32>)> =
            random.map(|x| (format!("random, {} values", x.len() - 1), x)).collect();
        rows.extend(
            edge_vectors(ty.block, &mut rng)
                .into_iter()
                .map(|(name, x)| (name, [&[0.0], &x[..]].concat())),
        );
        for (name, x) in &rows {
            let expected = guarded_encode(&reference, ggml, &x[1..]);
            for other in &others {
                let got = guarded_encode(other, ggml, &x[1..]);
                assert_eq!(got, expected, "{} {}: {name}", ty.name, other.name());
            }
            assert_eq!(
                probe::quantize(ggml, &x[1..]).unwrap(),
                expected,
                "{} engine: {name}",
                ty.name
            );
        }
    }
}

#[test]
fn unpacking_gives_the_same_bits_everywhere() {
    let Bench {
        types,
        reference,
        others,
    } = bench();
    let mut rng = Rng::new(2);
    for ty in &types {
        let ggml = ty.ggml().unwrap();
        for n in LENGTHS.iter().filter(|n| n.is_multiple_of(ty.block)) {
            for round in 0..16 {
                // 2 bytes longer than the row, so that it starts at an address of 2 mod 4
                let size = ggml.row_bytes(*n).unwrap();
                let mut bytes: Vec<u8> = (0..size + 2).map(|_| rng.bits() as u8).collect();
                for block in bytes[2..].chunks_exact_mut(ty.bytes) {
                    // no NaN scale (its payload is nobody's promise), but zero, denormals and infinity
                    let scale = [rng.below(0x7c01) as u16, rng.below(0x400) as u16][round % 2];
                    block[..2].copy_from_slice(&scale.to_le_bytes());
                }
                let expected = bits(&guarded_decode(&reference, ggml, &bytes[2..]));
                for other in &others {
                    let got = bits(&guarded_decode(other, ggml, &bytes[2..]));
                    assert_eq!(got, expected, "{} {}, {n} values", ty.name, other.name());
                }
                assert_eq!(
                    bits(&probe::dequantize(ggml, &bytes[2..]).unwrap()),
                    expected,
                    "{} engine",
                    ty.name
                );
            }
        }
    }
}

#[test]
fn dot_products_differ_only_by_the_order_of_additions() {
    let Bench {
        types,
        reference,
        others,
    } = bench();
    let q8_0 = GgmlType::named("q8_0").unwrap();
    let mut rng = Rng::new(3);
    for ty in &types {
        let ggml = ty.ggml().unwrap();
        for n in LENGTHS.iter().filter(|n| n.is_multiple_of(ty.block)) {
            for _ in 0..32 {
                let (k, q) = (rng.normals(*n), rng.normals(*n));
                let (row, query) = (reference.encode(ggml, &k).unwrap(), probe::quantize(q8_0, &q).unwrap());
                // both rows 2 bytes off their natural place
                let (row, query) = ([&[0, 0], &row[..]].concat(), [&[0, 0], &query[..]].concat());
                let expected = reference.dot(ggml, &row[2..], &query[2..]).unwrap();
                // and the reference itself against plain arithmetic on the decoded rows
                let (dk, dq) = (
                    reference.decode(ggml, &row[2..]).unwrap(),
                    probe::dequantize(q8_0, &query[2..]).unwrap(),
                );
                let plain: f64 = dk.iter().zip(&dq).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                let bound = 1e-5 * norm(&q) * norm(&k);
                assert!(
                    (f64::from(expected) - plain).abs() < bound,
                    "{} scalar: {expected} against {plain}",
                    ty.name
                );
                for other in &others {
                    let got = other.dot(ggml, &row[2..], &query[2..]).unwrap();
                    let off = (f64::from(got) - f64::from(expected)).abs();
                    assert!(
                        off < bound,
                        "{} {}, {n} values: {got} against {expected}",
                        ty.name,
                        other.name()
                    );
                }
            }
        }
    }
}

#[test]
fn edge_vectors_decode_to_something_sane() {
    let Bench { types, reference, .. } = bench();
    let mut rng = Rng::new(4);
    for ty in &types {
        let ggml = ty.ggml().unwrap();
        for (name, x) in edge_vectors(ty.block, &mut rng) {
            let decoded = reference.decode(ggml, &reference.encode(ggml, &x).unwrap()).unwrap();
            let what = format!("{}: {name}", ty.name);
            assert!(decoded.iter().all(|v| v.is_finite()), "{what}: {decoded:?}");
            if x.iter().all(|v| *v == 0.0 || v.is_nan()) {
                assert!(
                    decoded.iter().all(|v| *v == 0.0),
                    "{what}: a block without values decodes to zeros"
                );
            } else if x.iter().all(|v| v.is_finite()) && (1e-3..1e5).contains(&norm(&x)) {
                let along: f64 = x.iter().zip(&decoded).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                assert!(
                    (along / norm(&x).powi(2) - 1.0).abs() < 1e-3,
                    "{what}: the projection is kept"
                );
            }
        }
    }
}

#[test]
fn zero_bytes_are_zero_values() {
    let Bench {
        types,
        reference,
        others,
    } = bench();
    // cache buffers are zero-filled
    for ty in &types {
        for implementation in others.iter().chain([&reference]) {
            let decoded = implementation.decode(ty.ggml().unwrap(), &vec![0; ty.bytes]).unwrap();
            assert!(
                decoded.iter().all(|v| v.to_bits() == 0 || *v == 0.0),
                "{} {}",
                ty.name,
                implementation.name()
            );
        }
    }
}

#[test]
fn a_poisoned_block_leaves_its_neighbours_alone() {
    let Bench {
        types,
        reference,
        others,
    } = bench();
    let mut rng = Rng::new(5);
    for ty in &types {
        let ggml = ty.ggml().unwrap();
        let clean = rng.normals(3 * ty.block);
        for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
            let mut x = clean.clone();
            x[ty.block..2 * ty.block].fill(poison);
            for implementation in others.iter().chain([&reference]) {
                let (a, b) = (
                    implementation.encode(ggml, &clean).unwrap(),
                    implementation.encode(ggml, &x).unwrap(),
                );
                let what = format!("{} {} with {poison}", ty.name, implementation.name());
                assert_eq!(a[..ty.bytes], b[..ty.bytes], "{what}: block before");
                assert_eq!(a[2 * ty.bytes..], b[2 * ty.bytes..], "{what}: block after");
            }
        }
    }
}

/// Element i of a golden vector, as the head of the file defines it.
fn golden_vector(seed: u64, n: usize) -> Vec<f32> {
    let mut rng = Rng::new(seed);
    (0..n)
        .map(|_| ((rng.bits() >> 40) as i32 - (1 << 23)) as f32 / (1 << 23) as f32)
        .collect()
}

#[test]
fn golden_bytes_have_not_changed() {
    let Bench {
        types,
        reference,
        others,
    } = bench();
    let mut seen = Vec::new();
    for line in GOLDEN
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
    {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [name, seed, hex] = fields[..] else {
            panic!("not a golden line: {line}")
        };
        let ty = types
            .iter()
            .find(|t| t.name == name)
            .unwrap_or_else(|| panic!("{name} is in no registry"));
        let x = golden_vector(seed.parse().unwrap(), ty.block);
        for implementation in others.iter().chain([&reference]) {
            let bytes = implementation.encode(ty.ggml().unwrap(), &x).unwrap();
            let got: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(
                got,
                hex,
                "{name} seed {seed} by {}: saved caches become unreadable",
                implementation.name()
            );
        }
        seen.push(name);
    }
    for ty in &types {
        assert!(seen.contains(&ty.name.as_str()), "{} has no golden bytes", ty.name);
    }
}

#[test]
fn selecting_an_implementation_changes_the_active_one() {
    let Bench { reference, others, .. } = bench();
    let _turn = SELECTION.lock().unwrap_or_else(PoisonError::into_inner);
    let before = Implementation::active().unwrap();
    for implementation in others.iter().chain([&reference]) {
        implementation.select().unwrap();
        assert_eq!(Implementation::active().unwrap(), *implementation);
    }
    before.select().unwrap();
}

#[test]
fn misuse_is_an_error_that_names_its_subject() {
    let Bench { types, reference, .. } = bench();
    let ggml = types[0].ggml().unwrap();
    let message = |result: Result<(), Error>| result.expect_err("must be refused").to_string();
    assert!(message(GgmlType::named("turbo5").map(drop)).contains("turbo5"));
    assert!(message(Implementation::named("mmx").map(drop)).contains("scalar"));
    assert!(message(reference.encode(ggml, &[0.0; 100]).map(drop)).contains("100"));
    let f16 = GgmlType::named("f16").unwrap();
    assert!(message(reference.encode(f16, &[0.0; 64]).map(drop)).contains("turbo"));
    assert!(message(codec::rotate(&mut [0.0; 96])).contains("96"));
    assert!(message(codec::levels(5).map(drop)).contains('5'));
    assert!(reference.decode_into(ggml, &[0; 66], &mut [0.0; 64]).is_err());
}

#[test]
fn acceptance_levels_hold() {
    bench();
    let _turn = SELECTION.lock().unwrap_or_else(PoisonError::into_inner);
    let plan = verify::Plan::detect().unwrap();
    let checks = verify::run(&plan, |check| {
        println!(
            "{:22} {:?}  {}  [{}]\n{}",
            check.id, check.passed, check.measured, check.requirement, check.detail
        );
    });
    let failed: Vec<_> = checks
        .iter()
        .filter(|c| c.passed == Some(false))
        .map(|c| c.id)
        .collect();
    assert!(failed.is_empty(), "failed: {failed:?}");
    assert!(checks.iter().any(|c| c.passed == Some(true)));
}

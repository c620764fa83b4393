//! The built engine does arithmetic: matrix products large enough to reach every path of the CPU (AMX, repacked, tiled,
//! plain), and a model of every synthetic architecture computes finite logits. A miscompiled engine dies here.

use llama_turboquant::engine::codec::GgmlType;
use llama_turboquant::engine::probe;
use llama_turboquant::engine::synth::SynthParams;
use llama_turboquant::verify::rng::Rng;
use llama_turboquant::{Backend, Batch, ContextConfig, Error, Model};
use std::ops::ControlFlow;

/// Rows of `a` that are compared: all rows would make the float64 reference the slow part.
const COMPARED: usize = 61;

/// `max |difference| / max |reference|` of a product with random values.
///
/// The reference multiplies the weights as they were rounded, so what is left is how each path rounds the other side: to
/// q8_0 (an error of up to 1/254 of a block's largest value, about 3.3 deviations: 0.4 % of the
/// deviation per product on average) or to f16 (2^-12), and the order of additions.
fn error_of(name: &str, buffer: &str, m: usize, n: usize, k: usize, threads: i32) -> f64 {
    let ty = GgmlType::named(name).unwrap();
    let mut rng = Rng::new((m * 7 + n * 3 + k) as u64);
    let (a, b) = (rng.normals(m * k), rng.normals(n * k));
    let got = probe::matmul(ty, Some(buffer), k, &a, &b, threads).unwrap();
    let weights = probe::dequantize(ty, &probe::quantize(ty, &a).unwrap()).unwrap();
    let (mut worst, mut size) = (0.0_f64, 0.0_f64);
    for (row, out) in b.chunks_exact(k).zip(got.chunks_exact(m)) {
        for i in (0..m).step_by(m.div_ceil(COMPARED)) {
            let exact: f64 = weights[i * k..(i + 1) * k]
                .iter()
                .zip(row)
                .map(|(a, b)| f64::from(*a) * f64::from(*b))
                .sum();
            assert!(out[i].is_finite(), "{name} in {buffer}: not finite");
            worst = worst.max((f64::from(out[i]) - exact).abs());
            size = size.max(exact.abs());
        }
    }
    worst / size
}

#[test]
fn matrix_products_on_every_path() {
    Backend::init().expect("the engine starts");
    for (name, bound) in [("f32", 1e-5), ("f16", 1e-3), ("q8_0", 1e-2), ("q4_0", 1e-2)] {
        let ty = GgmlType::named(name).unwrap();
        // (1: decode), (512: prefill, past the thresholds of all tiled paths), odd counts for the tails
        for (m, n, k) in [(512, 1, 512), (512, 512, 512), (1024, 33, 256), (96, 7, 1024)] {
            for buffer in probe::matmul_buffers(ty, m, k).unwrap() {
                for threads in [1, 2] {
                    let error = error_of(name, &buffer, m, n, k, threads);
                    println!("{name:5} {buffer:12} {m}x{n}x{k} {threads} threads: {error:.1e}");
                    assert!(
                        error < bound,
                        "{name} in {buffer}, {m}x{n}x{k}, {threads} threads: {error:.2e} > {bound:e}"
                    );
                }
            }
        }
    }
}

#[test]
fn turbo_rows_multiply_too() {
    Backend::init().expect("the engine starts");
    for name in ["turbo4", "turbo3", "turbo2", "turbo4_64"] {
        let error = error_of(name, "CPU", 128, 9, 256, 2);
        assert!(error < 1e-2, "{name}: {error:.2e}");
    }
}

#[test]
fn matrix_misuse_is_an_error_not_an_abort() {
    Backend::init().expect("the engine starts");
    let q8_0 = GgmlType::named("q8_0").unwrap();
    let message = |result: Result<Vec<f32>, Error>| result.expect_err("must be refused").to_string();
    assert!(message(probe::matmul(q8_0, None, 48, &[0.0; 96], &[0.0; 48], 1)).contains("48"));
    assert!(message(probe::matmul(q8_0, Some("nowhere"), 64, &[0.0; 128], &[0.0; 64], 1)).contains("nowhere"));
    assert!(message(probe::matmul(q8_0, None, 64, &[0.0; 100], &[0.0; 64], 1)).contains("100"));
    assert!(message(probe::matmul(q8_0, None, 64, &[0.0; 128], &[0.0; 64], 0)).contains("n_threads"));
}

/// Small variants of every architecture; head sizes with a 128 block and with a 64 one.
fn models() -> Vec<SynthParams> {
    let mut list: Vec<_> = ["llama", "qwen2", "qwen3", "gemma3", "lfm2", "deepseek2"]
        .map(SynthParams::of)
        .into();
    list.push(SynthParams {
        head_dim: 128,
        layers: 3,
        weight_type: "q8_0".into(),
        ..SynthParams::of("llama")
    });
    list.push(SynthParams {
        head_dim: 96,
        embd: 256,
        weight_type: "q4_0".into(),
        ..SynthParams::of("qwen3")
    });
    list.push(SynthParams {
        layers: 7,
        window: 64,
        weight_type: "f32".into(),
        ..SynthParams::of("gemma3")
    });
    list
}

#[test]
fn synthetic_models_load_and_compute() {
    Backend::init().expect("the engine starts");
    let dir = tempfile::tempdir().unwrap();
    for params in models() {
        let what = format!("{params:?}");
        let path = dir.path().join("model.gguf");
        params.write(&path).unwrap_or_else(|e| panic!("{what}: {e}"));
        let size = std::fs::metadata(&path).unwrap().len();
        assert_eq!(size, params.size().unwrap(), "{what}: the size that was announced");
        let model = Model::load(&path).unwrap_or_else(|e| panic!("{what}: {e}"));
        let tokens = model.tokenize("hello world, 1 + 1 = 2\n", true, true).unwrap();
        let text: Vec<u8> = tokens.iter().flat_map(|t| model.piece(*t, true).unwrap()).collect();
        assert_eq!(
            String::from_utf8_lossy(&text),
            "hello world, 1 + 1 = 2\n",
            "{what}: tokens"
        );
        let config = ContextConfig {
            n_ctx: 256,
            ..Default::default()
        };
        let mut context = model.context(config).unwrap_or_else(|e| panic!("{what}: {e}"));
        let mut batch = Batch::new(tokens.len());
        for (pos, token) in (0..).zip(&tokens) {
            batch.push(*token, pos, 0, pos as usize + 1 == tokens.len());
        }
        context.decode(&batch).unwrap_or_else(|e| panic!("{what}: {e}"));
        let logits = context
            .logits(tokens.len() - 1)
            .expect("logits of the last token")
            .to_vec();
        assert!(logits.iter().all(|v| v.is_finite()), "{what}: logits are not finite");
        let mean = logits.iter().sum::<f32>() / logits.len() as f32;
        let deviation = (logits.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / logits.len() as f32).sqrt();
        println!("{}: {size} bytes, logits of deviation {deviation:.2}", params.arch);
        assert!(
            (0.1..10.0).contains(&deviation),
            "{what}: logits of deviation {deviation}"
        );
    }
}

#[test]
fn equal_parameters_give_equal_files() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, seed: u64| {
        let path = dir.path().join(name);
        SynthParams {
            seed,
            ..SynthParams::default()
        }
        .write(&path)
        .unwrap();
        std::fs::read(path).unwrap()
    };
    assert!(file("a", 1) == file("b", 1));
    assert!(file("a", 1) != file("c", 2));
}

#[test]
fn a_stopped_or_failed_write_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    let mut calls = 0;
    let stopped = SynthParams::default().write_with(&path, |done| {
        assert!((0.0..=1.0).contains(&done));
        calls += 1;
        if calls < 3 {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    assert!(matches!(stopped, Err(Error::Cancelled)), "{stopped:?}");
    assert_eq!(calls, 3);
    let left = || std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left(), 0);
    let panicked =
        std::panic::catch_unwind(|| SynthParams::default().write_with(&path, |_| panic!("from the callback")));
    assert!(panicked.is_err() && left() == 0);
    let nowhere = dir.path().join("no/such/folder/model.gguf");
    let message = SynthParams::default().write(&nowhere).unwrap_err().to_string();
    assert!(message.contains("no/such/folder"), "{message}");
}

#[test]
fn impossible_shapes_are_refused_by_name() {
    let default = SynthParams::default;
    let bad = [
        ("qwen3", SynthParams::of("gpt9")), // the list of known ones
        (
            "q8_0",
            SynthParams {
                weight_type: "q3_k".into(),
                ..default()
            },
        ),
        (
            "kv_heads",
            SynthParams {
                heads: 4,
                kv_heads: 3,
                ..default()
            },
        ),
        (
            "head_dim",
            SynthParams {
                head_dim: 0,
                ..default()
            },
        ),
        (
            "head_dim",
            SynthParams {
                head_dim: 2048,
                ..default()
            },
        ),
        (
            "head_dim",
            SynthParams {
                head_dim: 63,
                ..default()
            },
        ),
        (
            "vocab",
            SynthParams {
                vocab: 299,
                ..default()
            },
        ),
        ("layers", SynthParams { layers: 0, ..default() }),
        (
            "multiple of 32",
            SynthParams {
                embd: 100,
                weight_type: "q4_0".into(),
                ..default()
            },
        ),
        (
            "heads*head_dim",
            SynthParams {
                embd: 512,
                ..SynthParams::of("qwen2")
            },
        ),
        (
            "layers",
            SynthParams {
                layers: 27,
                ..SynthParams::of("deepseek2")
            },
        ),
    ];
    for (word, params) in bad {
        let message = params.size().expect_err("must be refused").to_string();
        assert!(message.contains(word), "{message}");
    }
}

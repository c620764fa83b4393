//! llama.cpp's own attention operator, with our types in it, against float64 arithmetic over the decoded cache.
//! Table-driven; each row of a table is one shape. Our kernels have tests/fused_attention.rs.

#[path = "support/attention.rs"]
mod attention;

use attention::{Case, Problem};
use llama_turboquant::Backend;
use llama_turboquant::engine::attention::{Implementation, UPSTREAM};
use llama_turboquant::engine::probe::{self, AttentionShape};

/// Every test of this program selects the same, so they may run side by side.
fn start() {
    Backend::init().expect("the engine starts");
    Implementation::named(UPSTREAM)
        .and_then(|it| it.select())
        .expect("llama.cpp's own path is always there");
}

/// Runs a table and prints the worst error per kind of bound.
fn check(cases: impl IntoIterator<Item = Case>) {
    start();
    let (mut count, mut failed, mut worst) = (0, Vec::new(), [0.0_f64; 2]);
    for case in cases {
        let (error, bound) = (Problem::new(case.clone()).error(), case.bound());
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
    attention::assert_none(&failed, count);
}

#[test]
fn every_pair_of_types_at_every_head_size() {
    check(attention::head_sizes());
}

#[test]
fn decoding_one_query_with_every_pair() {
    check(attention::decoding());
}

#[test]
fn heads_share_keys_and_values() {
    check(attention::groups());
}

#[test]
fn masks_sinks_caps_and_slopes() {
    check(attention::masks());
}

#[test]
fn sequences_keep_apart() {
    check(attention::sequences());
}

#[test]
fn any_number_of_threads() {
    check(attention::threads());
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
    start();
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

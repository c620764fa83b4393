//! Snapshots of all formats for fixed rows.

use super::super::plan::{Attention, Varies};
use super::super::row::{Build, Comparison, EXTRA, FIELDS, Row};
use super::{Format, exporter};
use llama_turboquant::engine::attention::Ops;
use llama_turboquant::kv::{KvBytes, LayerTypes};
use llama_turboquant::measure::stats::Interval;
use llama_turboquant::measure::{AttentionCounts, AttentionUse, Facts, Run, Speed, Test};
use llama_turboquant::{KvSpec, KvType};
use std::time::Duration;

/// What llama-bench of the pinned llama.cpp prints as its CSV header.
const LLAMA_BENCH: &str = "build_commit,build_number,cpu_info,gpu_info,backends,model_filename,model_type,model_size,\
model_n_params,n_batch,n_ubatch,n_threads,cpu_mask,cpu_strict,poll,type_k,type_v,n_gpu_layers,n_cpu_moe,split_mode,main_gpu,\
no_kv_offload,flash_attn,devices,tensor_split,tensor_buft_overrides,load_mode,lazy_mode,embeddings,no_op_offload,no_host,\
repack,fit_target,fit_min_ctx,n_prompt,n_gen,n_depth,test_time,avg_ns,stddev_ns,avg_ts,stddev_ts";

fn build() -> Build {
    Build {
        commit: "0123456ab".into(),
        number: 7,
        cpu_info: "A \"CPU\"".into(),
        gpu_info: String::new(),
        backends: "CPU".into(),
    }
}

/// Two runs: 16 tokens of prompt in 1.0 and 1.6 ms, 4 tokens of 0.25 ms each.
fn row(cache: &str) -> Row {
    let cache: KvSpec = cache.parse().unwrap();
    let us = Duration::from_micros;
    let run = |prompt| Run {
        prompt: us(prompt),
        first_token: Some(us(prompt + 10)),
        tokens: vec![us(250); 4],
    };
    Row {
        build: build(),
        model_filename: "it's.gguf".into(),
        model_type: "llama 8B Q4_0".into(),
        model_size: 4_920_000_000,
        model_n_params: 8_030_000_000,
        n_batch: 2048,
        n_ubatch: 512,
        gpu_layers: None,
        no_kv_offload: false,
        flash_attn: Attention::Auto.number(),
        load_mode: "auto",
        use_mmap: true,
        test_time: "2026-11-21T09:00:00Z".into(),
        cache,
        speed: Speed {
            test: Test {
                n_prompt: 16,
                n_gen: 4,
                n_depth: 128,
            },
            runs: vec![run(1000), run(1600)],
            facts: Facts {
                layers: vec![LayerTypes {
                    layer: 0,
                    k: cache.k,
                    v: cache.v,
                }],
                kv: KvBytes {
                    k: 1 << 20,
                    v: 1 << 19,
                    ..KvBytes::default()
                },
                kv_bytes_per_token: 768,
                attention: attention(cache),
                load: Duration::from_millis(12),
                n_threads: 4,
                rss_peak: Some(64 << 20),
                rss_predicted: Some(63 << 20),
            },
        },
        comparison: None,
        foreign_cpu: None,
    }
}

/// One layer on the CPU, by the kernels that are there for it.
fn attention(cache: KvSpec) -> AttentionUse {
    let compressed = cache.k.is_quantized() || cache.v.is_quantized();
    AttentionUse {
        cpu_compressed: compressed.into(),
        cpu_plain: (!compressed).into(),
        fused: true,
        counts: Some(AttentionCounts {
            selected: "avx512".into(),
            ops: Ops {
                turboquant: 8 * u64::from(compressed),
                upstream: 0,
            },
        }),
        ..AttentionUse::default()
    }
}

fn compared(cache: &str) -> Row {
    let ratio = Interval {
        estimate: 0.95,
        low: 0.9,
        high: 1.0,
    };
    Row {
        comparison: Some(Comparison {
            baseline: KvSpec::F16,
            ratio: Some(ratio),
            interleaved: true,
        }),
        foreign_cpu: Some(0.02),
        ..row(cache)
    }
}

fn text(format: Format, rows: &[Row], varies: Varies, extra: bool) -> String {
    let mut exporter = exporter(format, &build(), varies, extra).unwrap();
    let mut text = exporter.header();
    for row in rows {
        text += &exporter.row(row);
    }
    text + &exporter.footer()
}

#[test]
fn the_table_is_llama_benchs() {
    let varies = Varies {
        type_k: true,
        flash_attn: true,
        ..Varies::default()
    };
    assert_eq!(
        text(Format::Md, &[row("f16"), row("turbo4/f16")], varies, false),
        "\
| model                          |       size |     params | backend    | threads | type_k |  fa |            test |                  t/s |
| ------------------------------ | ---------: | ---------: | ---------- | ------: | -----: | --: | --------------: | -------------------: |
| llama 8B Q4_0                  |   4.58 GiB |     8.03 B | CPU        |       4 |    f16 |  -1 | pp16+tg4 @ d128 |    8846.15 ± 1631.78 |
| llama 8B Q4_0                  |   4.58 GiB |     8.03 B | CPU        |       4 | turbo4 |  -1 | pp16+tg4 @ d128 |    8846.15 ± 1631.78 |

build: 0123456ab (7)
"
    );
}

#[test]
fn on_a_gpu_the_table_shows_layers_instead_of_threads() {
    let gpu = Build {
        backends: "CUDA".into(),
        ..build()
    };
    let header = exporter(Format::Md, &gpu, Varies::default(), false).unwrap().header();
    assert!(header.contains("| backend    | ngl |            test |"), "{header}");
}

#[test]
fn our_columns_follow_when_they_are_asked_for() {
    let text = text(Format::Md, &[row("f16"), compared("turbo4")], Varies::default(), true);
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].contains("t/s |                  ratio |   KV MiB |   B/tok |  TTFT ms | ITL p50 ms |   p95 ms |  RSS MiB | predicted | attention             |"),
        "{text}"
    );
    assert!(
        lines[3].ends_with("|   0.950 [0.900, 1.000] |      1.5 |     768 |      1.3 |       0.25 |     0.25 |     64.0 |      63.0 | CPU turboquant/avx512 |"),
        "{text}"
    );
    let widths: Vec<usize> = lines[..4].iter().map(|line| line.chars().count()).collect();
    assert!(widths.iter().all(|width| *width == widths[0]), "{widths:?}\n{text}");
}

#[test]
fn csv_has_llama_benchs_columns_first() {
    let text = text(
        Format::Csv,
        &[row("f16"), compared("turbo4@0")],
        Varies::default(),
        false,
    );
    let lines: Vec<&str> = text.lines().collect();
    let ours: Vec<&str> = EXTRA.iter().map(|(name, _)| *name).collect();
    assert_eq!(lines[0], format!("{LLAMA_BENCH},{}", ours.join(",")));
    assert!(
        lines[1].starts_with(
            r#""0123456ab","7","A ""CPU""","","CPU","it's.gguf","llama 8B Q4_0","4920000000","8030000000","2048","512","4","0x0","0","50","f16","f16","-1","0","layer","0","0","-1","auto","0.00","none","auto","auto","0","0","0","1","0","0","16","4","128","2026-11-21T09:00:00Z","2300000","424264","8846.153846","1631.784880"#
        ),
        "{}",
        lines[1]
    );
    assert!(
        lines[1].ends_with(
            r#","f16","1572864","768","CPU llama.cpp","1.310000","0.250000","0.250000","0.250000","67108864","66060288","12.000000","","","","","","","1""#
        ),
        "{}",
        lines[1]
    );
    assert!(
        lines[2].ends_with(r#","f16","0.950000","0.900000","1.000000","1","0.020000","1""#)
            && lines[2].contains(r#","turbo4@0","1572864""#),
        "{}",
        lines[2]
    );
}

#[test]
fn json_is_an_array_of_llama_benchs_rows_followed_by_our_fields() {
    let rows: serde_json::Value = serde_json::from_str(&text(
        Format::Json,
        &[row("f16"), compared("turbo4")],
        Varies::default(),
        false,
    ))
    .unwrap();
    let keys: Vec<&str> = rows[0].as_object().unwrap().keys().map(String::as_str).collect();
    let theirs: Vec<&str> = LLAMA_BENCH.split(',').chain(["samples_ns", "samples_ts"]).collect();
    assert_eq!(keys[..theirs.len()], theirs);
    assert_eq!(
        keys[theirs.len()..],
        [
            "kv",
            "kv_bytes",
            "kv_bytes_per_token",
            "attention_on",
            "ttft_ms",
            "itl_p50_ms",
            "itl_p95_ms",
            "itl_p99_ms",
            "rss_peak",
            "rss_predicted",
            "load_ms",
            "baseline",
            "ratio",
            "interleaved",
            "foreign_cpu",
            "use_mmap"
        ]
    );
    assert_eq!(rows[0]["cpu_strict"], false);
    assert_eq!(rows[0]["no_op_offload"], 0);
    assert_eq!(rows[0]["flash_attn"], -1);
    assert_eq!(rows[0]["samples_ns"], serde_json::json!([2_000_000, 2_600_000]));
    assert_eq!(rows[0]["avg_ts"], 8846.153846);
    assert!(rows[0]["ratio"].is_null() && rows[0]["baseline"].is_null());
    assert_eq!(
        rows[1]["ratio"],
        serde_json::json!({"estimate": 0.95, "low": 0.9, "high": 1.0})
    );
    let none = text(Format::Json, &[], Varies::default(), false);
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&none).unwrap(),
        serde_json::json!([])
    );
}

#[test]
fn each_line_of_jsonl_is_an_object() {
    let text = text(Format::Jsonl, &[row("f16"), row("turbo4")], Varies::default(), false);
    let kv: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["kv"].clone())
        .collect();
    assert_eq!(kv, ["f16", "turbo4"]);
}

#[test]
fn sql_fills_llama_benchs_table_and_ours_beside_it() {
    let text = text(Format::Sql, &[row("f16")], Varies::default(), false);
    let table = &text[..text.find(");").unwrap()];
    assert!(
        table.starts_with("CREATE TABLE IF NOT EXISTS llama_bench (\n  build_commit TEXT,\n  build_number INTEGER,")
    );
    assert!(table.ends_with("  avg_ts REAL,\n  stddev_ts REAL\n"));
    assert_eq!(
        table.lines().count(),
        FIELDS.len() + 1,
        "no column of ours in llama-bench's table"
    );
    let columns = LLAMA_BENCH.replace(',', ", ");
    assert!(text.contains(&format!(
        "INSERT INTO llama_bench ({columns}) VALUES ('0123456ab', '7', "
    )));
    assert!(text.contains("'it''s.gguf'"), "a quote in a name must not end the text");
    assert!(text.contains("VALUES (last_insert_rowid(), 'f16', '1572864'") && text.contains("NULL"));
}

#[test]
fn a_type_that_a_guard_replaced_is_reported_as_what_it_became() {
    let mut guarded = row("turbo4");
    guarded.speed.facts.layers[0].k = KvType::Q8_0;
    assert_eq!((guarded.type_k(), guarded.type_v()), (KvType::Q8_0, KvType::Turbo4));
}

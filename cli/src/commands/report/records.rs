//! What is read of a record. Every field may be missing or null, and what is unknown is passed over: a record of an older
//! or a newer program still gives what both know.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A record of this program.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Record {
    pub kind: Option<String>,
    pub date: Option<String>,
    pub program: Option<Value>,
    pub command: Option<String>,
    pub environment: Option<Value>,
    pub model: Option<Model>,
    pub settings: Option<Value>,
    pub complete: Option<bool>,
    pub noise: Option<Noise>,
    #[serde(deserialize_with = "or_default")]
    pub warnings: Vec<String>,
    pub results: Option<Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Model {
    pub file: Option<String>,
    pub description: Option<String>,
    pub size: Option<f64>,
    pub n_params: Option<f64>,
    pub n_kv_layers: Option<f64>,
    pub n_ctx_train: Option<f64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Noise {
    pub foreign_cpu: Option<f64>,
    pub seconds: Option<f64>,
}

/// An estimate with a 95 % interval; a bare number has none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    pub estimate: f64,
    pub bounds: Option<(f64, f64)>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Perplexity {
    pub base: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub arms: Vec<Arm>,
    pub floor: Option<Box<Arm>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Arm {
    pub cache: Option<String>,
    pub mode: Option<String>,
    pub bits_per_value: Option<f64>,
    pub kv_bytes: Option<f64>,
    #[serde(deserialize_with = "interval")]
    pub ppl: Option<Interval>,
    #[serde(deserialize_with = "interval")]
    pub ppl_ratio: Option<Interval>,
    #[serde(deserialize_with = "interval")]
    pub kl: Option<Interval>,
    pub kl_p999: Option<f64>,
    #[serde(deserialize_with = "interval")]
    pub same_top: Option<Interval>,
    pub flips_by_depth: Option<Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Needle {
    #[serde(deserialize_with = "or_default")]
    pub cells: Vec<NeedleCell>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NeedleCell {
    pub cache: Option<String>,
    pub n_ctx: Option<f64>,
    pub depth: Option<f64>,
    pub trials: Option<u64>,
    pub found: Option<u64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Prompts {
    #[serde(deserialize_with = "or_default")]
    pub prompts: Vec<Prompt>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Prompt {
    pub id: Option<String>,
    pub category: Option<String>,
    /// Why it was not asked.
    pub not_run: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub answers: Vec<Answer>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Answer {
    pub cache: Option<String>,
    pub passed: Option<bool>,
    /// Why it did not pass, or why that cannot be decided.
    pub why: Option<String>,
    pub answer: Option<String>,
    pub first_difference: Option<Difference>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Difference {
    pub token: Option<u64>,
    pub char: Option<u64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Session {
    #[serde(deserialize_with = "or_default")]
    pub caches: Vec<SessionCache>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct SessionCache {
    pub cache: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub turns: Vec<Turn>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Turn {
    pub turn: Option<f64>,
    /// Conversations with a recall question in this turn; left out: one.
    pub asked: Option<f64>,
    /// The share of them that was answered right.
    pub recalled: Option<f64>,
    #[serde(deserialize_with = "interval")]
    pub kl: Option<Interval>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Sensitivity {
    pub base: Option<String>,
    pub probe: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub layers: Vec<Layer>,
    pub map: Option<LayerMap>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Layer {
    pub layer: Option<f64>,
    pub side: Option<String>,
    #[serde(deserialize_with = "interval")]
    pub kl: Option<Interval>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct LayerMap {
    pub bits_per_value: Option<f64>,
    #[serde(deserialize_with = "or_default")]
    pub layers: Vec<LayerPair>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct LayerPair {
    pub k: Option<String>,
    pub v: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Ceiling {
    #[serde(deserialize_with = "or_default")]
    pub caches: Vec<CeilingCache>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct CeilingCache {
    pub cache: Option<String>,
    pub bytes_per_token: Option<f64>,
    pub planned_n_ctx: Option<f64>,
    pub tried_n_ctx: Option<f64>,
    pub stopped_by: Option<Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Gate {
    pub candidate: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub criteria: Vec<Criterion>,
    pub verdict: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Criterion {
    pub id: Option<String>,
    pub what: Option<String>,
    pub measured: Option<Value>,
    pub pass: Option<Value>,
    pub kill: Option<Value>,
    pub verdict: Option<String>,
    pub why: Option<String>,
}

/// A row of `bench`; llama-bench writes the first part of it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct BenchRow {
    pub build_commit: Option<String>,
    pub cpu_info: Option<String>,
    pub gpu_info: Option<String>,
    pub backends: Option<String>,
    pub model_filename: Option<String>,
    pub model_type: Option<String>,
    pub model_size: Option<f64>,
    pub n_batch: Option<Value>,
    pub n_ubatch: Option<Value>,
    pub n_threads: Option<Value>,
    pub type_k: Option<String>,
    pub type_v: Option<String>,
    pub n_gpu_layers: Option<Value>,
    pub flash_attn: Option<Value>,
    pub n_prompt: Option<u64>,
    pub n_gen: Option<u64>,
    pub n_depth: Option<u64>,
    pub test_time: Option<String>,
    pub avg_ts: Option<f64>,
    pub stddev_ts: Option<f64>,
    #[serde(deserialize_with = "or_default")]
    pub samples_ts: Vec<f64>,
    pub kv: Option<String>,
    pub kv_bytes: Option<f64>,
    pub kv_bytes_per_token: Option<f64>,
    pub attention_on: Option<Value>,
    pub ttft_ms: Option<f64>,
    pub itl_p50_ms: Option<f64>,
    pub itl_p95_ms: Option<f64>,
    pub itl_p99_ms: Option<f64>,
    pub rss_peak: Option<f64>,
    pub rss_predicted: Option<f64>,
    pub load_ms: Option<f64>,
    pub foreign_cpu: Option<f64>,
    pub baseline: Option<Value>,
    #[serde(deserialize_with = "interval")]
    pub ratio: Option<Interval>,
}

impl BenchRow {
    /// The cache: ours by name, llama-bench's by its two types.
    pub fn cache(&self) -> Option<String> {
        match (&self.kv, &self.type_k, &self.type_v) {
            (Some(kv), _, _) => Some(kv.clone()),
            (None, Some(k), Some(v)) if k == v => Some(k.clone()),
            (None, Some(k), Some(v)) => Some(format!("{k}/{v}")),
            _ => None,
        }
    }

    /// llama-bench's name of the test without its depth.
    pub fn test(&self) -> String {
        match (self.n_prompt.unwrap_or(0), self.n_gen.unwrap_or(0)) {
            (pp, 0) => format!("pp{pp}"),
            (0, tg) => format!("tg{tg}"),
            (pp, tg) => format!("pp{pp}+tg{tg}"),
        }
    }
}

/// A list that may be null.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// An interval, a bare number, or null; an estimate that does not exist is no interval.
fn interval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Interval>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Bare(f64),
        Full {
            estimate: Option<f64>,
            #[serde(default)]
            low: Option<f64>,
            #[serde(default)]
            high: Option<f64>,
        },
    }
    Ok(match Option::<Form>::deserialize(deserializer)? {
        None | Some(Form::Full { estimate: None, .. }) => None,
        Some(Form::Bare(estimate)) => Some(Interval { estimate, bounds: None }),
        Some(Form::Full {
            estimate: Some(estimate),
            low,
            high,
        }) => Some(Interval {
            estimate,
            bounds: low.zip(high),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn missing_null_and_unknown_fields_are_no_mistake() {
        let arm: Arm = serde_json::from_value(json!({
            "cache": "turbo4", "kl": {"estimate": 0.1, "low": null, "high": 0.2}, "ppl": 3.5, "same_top": null,
            "of_the_future": {"a": [1]}
        }))
        .unwrap();
        assert_eq!(
            arm.kl,
            Some(Interval {
                estimate: 0.1,
                bounds: None
            })
        );
        assert_eq!(arm.ppl.unwrap().estimate, 3.5);
        assert_eq!((arm.same_top, arm.kv_bytes), (None, None));
        let needle: Needle = serde_json::from_value(json!({"cells": null})).unwrap();
        assert!(needle.cells.is_empty());
    }

    #[test]
    fn a_row_of_llama_bench_names_its_cache_and_test() {
        let row: BenchRow = serde_json::from_value(json!({
            "type_k": "q8_0", "type_v": "f16", "n_prompt": 512, "n_gen": 0, "n_depth": 0
        }))
        .unwrap();
        assert_eq!((row.cache().unwrap(), row.test()), ("q8_0/f16".into(), "pp512".into()));
        assert_eq!(BenchRow::default().cache(), None);
    }
}

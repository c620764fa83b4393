//! A result as llama-bench writes it, field for field, and what we measure beyond that.

use super::plan::Group;
use jiff::Timestamp;
use llama_turboquant::measure::{Environment, Speed, Test, stats};
use llama_turboquant::{DeviceKind, KvSpec, KvType, Model, measure::stats::Interval};
use serde_json::{Value as Json, json};

/// A field's content; `Nothing` where there is no such number.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Text(String),
    Int(i128),
    Flag(bool),
    Float(f64),
    Nothing,
}

impl Value {
    fn text(text: impl ToString) -> Self {
        Self::Text(text.to_string())
    }

    fn int(n: impl Into<i128>) -> Self {
        Self::Int(n.into())
    }

    fn float(number: Option<f64>) -> Self {
        number.filter(|n| n.is_finite()).map_or(Self::Nothing, Self::Float)
    }

    /// As JSON; numbers with six decimals, as llama-bench writes them.
    pub fn json(&self) -> Json {
        match self {
            Self::Text(text) => json!(text),
            Self::Int(n) => i64::try_from(*n).map_or_else(|_| json!(n.to_string()), |n| json!(n)),
            Self::Flag(flag) => json!(flag),
            Self::Float(number) => json!((number * 1e6).round() / 1e6),
            Self::Nothing => Json::Null,
        }
    }

    /// As llama-bench writes it into CSV and SQL; empty for nothing.
    pub fn plain(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Int(n) => n.to_string(),
            Self::Flag(flag) => u8::from(*flag).to_string(),
            Self::Float(number) => format!("{number:.6}"),
            Self::Nothing => String::new(),
        }
    }
}

/// SQL type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Integer,
    Real,
}

use Kind::{Integer, Real, Text};

/// llama-bench's fields in its order, as of the pinned llama.cpp.
pub const FIELDS: [(&str, Kind); 42] = [
    ("build_commit", Text),
    ("build_number", Integer),
    ("cpu_info", Text),
    ("gpu_info", Text),
    ("backends", Text),
    ("model_filename", Text),
    ("model_type", Text),
    ("model_size", Integer),
    ("model_n_params", Integer),
    ("n_batch", Integer),
    ("n_ubatch", Integer),
    ("n_threads", Integer),
    ("cpu_mask", Text),
    ("cpu_strict", Integer),
    ("poll", Integer),
    ("type_k", Text),
    ("type_v", Text),
    ("n_gpu_layers", Integer),
    ("n_cpu_moe", Integer),
    ("split_mode", Text),
    ("main_gpu", Integer),
    ("no_kv_offload", Integer),
    ("flash_attn", Integer),
    ("devices", Text),
    ("tensor_split", Text),
    ("tensor_buft_overrides", Text),
    ("load_mode", Text),
    ("lazy_mode", Text),
    ("embeddings", Integer),
    ("no_op_offload", Integer),
    ("no_host", Integer),
    ("repack", Integer),
    ("fit_target", Integer),
    ("fit_min_ctx", Integer),
    ("n_prompt", Integer),
    ("n_gen", Integer),
    ("n_depth", Integer),
    ("test_time", Text),
    ("avg_ns", Integer),
    ("stddev_ns", Integer),
    ("avg_ts", Real),
    ("stddev_ts", Real),
];

/// Our fields, as columns; JSON has the ratio as one interval.
pub const EXTRA: [(&str, Kind); 18] = [
    ("kv", Text),
    ("kv_bytes", Integer),
    ("kv_bytes_per_token", Integer),
    ("attention_on", Text),
    ("ttft_ms", Real),
    ("itl_p50_ms", Real),
    ("itl_p95_ms", Real),
    ("itl_p99_ms", Real),
    ("rss_peak", Integer),
    ("rss_predicted", Integer),
    ("load_ms", Real),
    ("baseline", Text),
    ("ratio", Real),
    ("ratio_low", Real),
    ("ratio_high", Real),
    ("interleaved", Integer),
    ("foreign_cpu", Real),
    ("use_mmap", Integer),
];

/// What all rows of one run of the program have in common.
#[derive(Debug, Clone, PartialEq)]
pub struct Build {
    pub commit: String,
    /// llama.cpp's own convention where it is unknown: 0.
    pub number: u32,
    pub cpu_info: String,
    pub gpu_info: String,
    pub backends: String,
}

impl Build {
    pub fn new(environment: &Environment) -> Self {
        let described = |wanted: &[DeviceKind]| {
            let devices = environment.devices.iter();
            let names: Vec<&str> = devices
                .filter(|device| wanted.contains(&device.kind))
                .map(|device| device.description.as_str())
                .collect();
            names.join(", ")
        };
        let others: Vec<&str> = environment
            .engine
            .backends
            .iter()
            .map(String::as_str)
            .filter(|name| *name != "CPU")
            .collect();
        let version = environment.engine.llama_cpp.strip_prefix('b');
        Self {
            commit: env!("TURBOQUANT_COMMIT").into(),
            number: version.and_then(|number| number.parse().ok()).unwrap_or(0),
            cpu_info: described(&[DeviceKind::Cpu, DeviceKind::Accel]),
            gpu_info: described(&[DeviceKind::Gpu, DeviceKind::Igpu]),
            backends: if others.is_empty() {
                "CPU".into()
            } else {
                others.join(",")
            },
        }
    }

    /// Whether the processor computes: then the table shows threads and not layers on a GPU.
    pub fn is_cpu(&self) -> bool {
        ["CPU", "BLAS", "ZenDNN"]
            .iter()
            .any(|name| self.backends.contains(name))
    }
}

/// A comparison with the baseline.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    pub baseline: KvSpec,
    /// `None` for the baseline itself.
    pub ratio: Option<Interval>,
    pub interleaved: bool,
}

/// One result.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub build: Build,
    pub model_filename: String,
    pub model_type: String,
    pub model_size: u64,
    pub model_n_params: u64,
    pub n_batch: u32,
    pub n_ubatch: u32,
    pub gpu_layers: Option<u32>,
    pub no_kv_offload: bool,
    pub flash_attn: i8,
    pub load_mode: &'static str,
    pub use_mmap: bool,
    pub test_time: String,
    pub cache: KvSpec,
    pub speed: Speed,
    pub comparison: Option<Comparison>,
    pub foreign_cpu: Option<f64>,
}

impl Row {
    /// The row of one cache of a group.
    pub fn new(build: &Build, filename: &str, model: &Model, group: &Group, cache: KvSpec, speed: Speed) -> Self {
        let meta = model.meta();
        Self {
            build: build.clone(),
            model_filename: filename.into(),
            model_type: meta.description.clone(),
            model_size: meta.size,
            model_n_params: meta.n_params,
            n_batch: group.n_batch,
            n_ubatch: group.n_ubatch,
            gpu_layers: group.gpu_layers,
            no_kv_offload: group.no_kv_offload,
            flash_attn: group.attention.number(),
            // `auto` maps the file unless a device dislikes it; without devices that is what happens here, too
            load_mode: group.load_mode.name(build.backends == "CPU"),
            use_mmap: group.load_mode.maps(),
            test_time: Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            cache,
            speed,
            comparison: None,
            foreign_cpu: None,
        }
    }

    pub fn test(&self) -> Test {
        self.speed.test
    }

    /// The type asked for, or, where a guard replaced it in all layers, the one in its place.
    fn effective(&self, asked: KvType, side: impl Fn(usize) -> KvType) -> KvType {
        let layers = 0..self.speed.facts.layers.len();
        if layers.clone().any(|layer| side(layer) == asked) {
            asked
        } else {
            layers.map(side).next().unwrap_or(asked)
        }
    }

    pub fn type_k(&self) -> KvType {
        self.effective(self.cache.k, |layer| self.speed.facts.layers[layer].k)
    }

    pub fn type_v(&self) -> KvType {
        self.effective(self.cache.v, |layer| self.speed.facts.layers[layer].v)
    }

    pub fn samples_ns(&self) -> Vec<u64> {
        let ns = |run: &llama_turboquant::measure::Run| u64::try_from(run.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.speed.runs.iter().map(ns).collect()
    }

    /// The values of [`FIELDS`].
    pub fn values(&self) -> Vec<Value> {
        let ns: Vec<f64> = self.samples_ns().iter().map(|ns| *ns as f64).collect();
        let ts = self.speed.tokens_per_second();
        let test = self.test();
        vec![
            Value::text(&self.build.commit),
            Value::int(self.build.number),
            Value::text(&self.build.cpu_info),
            Value::text(&self.build.gpu_info),
            Value::text(&self.build.backends),
            Value::text(&self.model_filename),
            Value::text(&self.model_type),
            Value::int(self.model_size),
            Value::int(self.model_n_params),
            Value::int(self.n_batch),
            Value::int(self.n_ubatch),
            Value::int(self.speed.facts.n_threads),
            Value::text("0x0"),
            Value::Flag(false),
            Value::int(50),
            Value::text(self.type_k()),
            Value::text(self.type_v()),
            Value::int(self.gpu_layers.map_or(-1, i64::from)),
            Value::int(0),
            Value::text("layer"),
            Value::int(0),
            Value::Flag(self.no_kv_offload),
            Value::int(self.flash_attn),
            Value::text("auto"),
            Value::text("0.00"),
            Value::text("none"),
            Value::text(self.load_mode),
            Value::text("auto"),
            Value::Flag(false),
            Value::int(0),
            Value::Flag(false),
            Value::Flag(true),
            Value::int(0),
            Value::int(0),
            Value::int(test.n_prompt),
            Value::int(test.n_gen),
            Value::int(test.n_depth),
            Value::text(&self.test_time),
            Value::Int(stats::mean(&ns) as i128),
            Value::Int(stats::standard_deviation(&ns) as i128),
            Value::float(Some(stats::mean(&ts))),
            Value::float(Some(stats::standard_deviation(&ts))),
        ]
    }

    /// The values of [`EXTRA`].
    pub fn extra(&self) -> Vec<Value> {
        let facts = &self.speed.facts;
        let latency = self.speed.latency();
        let bytes = |bytes: Option<u64>| bytes.map_or(Value::Nothing, Value::int);
        let ratio = self.ratio();
        vec![
            Value::text(self.cache),
            Value::int(facts.kv.total()),
            Value::int(facts.kv_bytes_per_token),
            Value::text(&facts.attention),
            Value::float(self.speed.first_token_ms()),
            Value::float(latency.map(|latency| latency.p50_ms)),
            Value::float(latency.map(|latency| latency.p95_ms)),
            Value::float(latency.map(|latency| latency.p99_ms)),
            bytes(facts.rss_peak),
            bytes(facts.rss_predicted),
            Value::float(Some(1e3 * facts.load.as_secs_f64())),
            self.comparison
                .as_ref()
                .map_or(Value::Nothing, |comparison| Value::text(comparison.baseline)),
            Value::float(ratio.map(|ratio| ratio.estimate)),
            Value::float(ratio.map(|ratio| ratio.low)),
            Value::float(ratio.map(|ratio| ratio.high)),
            self.comparison
                .as_ref()
                .map_or(Value::Nothing, |comparison| Value::Flag(comparison.interleaved)),
            Value::float(self.foreign_cpu),
            Value::Flag(self.use_mmap),
        ]
    }

    /// How many times the baseline's speed.
    pub fn ratio(&self) -> Option<Interval> {
        self.comparison.as_ref().and_then(|comparison| comparison.ratio)
    }

    /// The row as one JSON object: llama-bench's, then ours.
    pub fn json(&self) -> Json {
        let mut object = serde_json::Map::new();
        for ((name, _), value) in FIELDS.iter().zip(self.values()) {
            object.insert((*name).into(), value.json());
        }
        object.insert("samples_ns".into(), json!(self.samples_ns()));
        object.insert("samples_ts".into(), json!(self.speed.tokens_per_second()));
        for ((name, _), value) in EXTRA.iter().zip(self.extra()) {
            match *name {
                "ratio" => object.insert((*name).into(), json!(self.ratio())),
                "ratio_low" | "ratio_high" => continue,
                _ => object.insert((*name).into(), value.json()),
            };
        }
        Json::Object(object)
    }
}

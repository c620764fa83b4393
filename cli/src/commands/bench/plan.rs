//! What was typed, as the list of measurements it means.

use crate::args::BenchArgs;
use crate::args::lists::{Counts, Switches};
use crate::measuring::caches;
use anyhow::{Result, bail};
use llama_turboquant::measure::{Test, Workload};
use llama_turboquant::{GpuLayers, KvSpec, KvType, LayerPolicy, memory};
use std::fmt;
use std::str::FromStr;

/// More results than this are a slip of the pen.
const MOST: usize = 10_000;

/// Whether flash attention must be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attention {
    /// Where the engine can.
    Auto,
    /// Or an error.
    On,
}

impl Attention {
    /// llama.cpp's number of it.
    pub const fn number(self) -> i8 {
        match self {
            Self::Auto => -1,
            Self::On => 1,
        }
    }
}

impl FromStr for Attention {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" | "-1" => Ok(Self::Auto),
            "on" | "enabled" | "true" | "1" => Ok(Self::On),
            "off" | "disabled" | "false" | "0" => {
                Err("this engine does not compute without flash attention where it is \
                 possible, and quantized V caches need it; use on or auto"
                    .into())
            }
            _ => Err("use on or auto".into()),
        }
    }
}

/// How a file gets into memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadMode {
    /// Mapped.
    Auto,
    /// Mapped.
    Mmap,
    /// Read.
    None,
}

impl LoadMode {
    /// Whether the file is mapped.
    pub const fn maps(self) -> bool {
        !matches!(self, Self::None)
    }

    /// llama-bench's word for what happens; `auto` only where llama.cpp's `auto` would do the same.
    pub const fn name(self, auto_maps: bool) -> &'static str {
        match self {
            Self::Auto if auto_maps => "auto",
            Self::Auto | Self::Mmap => "mmap",
            Self::None => "none",
        }
    }
}

impl FromStr for LoadMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "mmap" => Ok(Self::Mmap),
            "none" => Ok(Self::None),
            "mlock" | "mmap+mlock" => Err("memory is not locked by this program; use auto, mmap or none".into()),
            "dio" => Err("files are not read past the system's cache by this program; use auto, mmap or none".into()),
            _ => Err("use auto, mmap or none".into()),
        }
    }
}

/// Caches that are measured with everything else equal: one, or with `--ab` all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Number of the model.
    pub model: usize,
    /// Layers on the GPU; `None`: all.
    pub gpu_layers: Option<u32>,
    /// How the model is loaded.
    pub load_mode: LoadMode,
    /// Tokens submitted at once.
    pub n_batch: u32,
    /// Tokens computed at once.
    pub n_ubatch: u32,
    /// Caches stay in main memory.
    pub no_kv_offload: bool,
    /// Flash attention.
    pub attention: Attention,
    /// Threads.
    pub n_threads: u32,
    /// What is timed.
    pub test: Test,
    /// Over which caches.
    pub caches: Vec<KvSpec>,
}

impl Default for Group {
    fn default() -> Self {
        let test = Test {
            n_prompt: 0,
            n_gen: 0,
            n_depth: 0,
        };
        Self {
            model: 0,
            gpu_layers: None,
            load_mode: LoadMode::Auto,
            n_batch: 2048,
            n_ubatch: 512,
            no_kv_offload: false,
            attention: Attention::Auto,
            n_threads: 0,
            test,
            caches: vec![KvSpec::F16],
        }
    }
}

impl Group {
    /// Groups with the same can share a loaded model.
    pub fn load_settings(&self) -> (usize, Option<u32>, LoadMode) {
        (self.model, self.gpu_layers, self.load_mode)
    }

    /// Layers to the devices.
    pub fn gpu_layers(&self) -> GpuLayers {
        self.gpu_layers.map_or(GpuLayers::All, GpuLayers::Count)
    }

    /// What is measured for each cache.
    pub fn workloads(&self, guard: bool, allow_cpu_attention: bool) -> Vec<Workload> {
        let workload = |cache: &KvSpec| {
            let mut kv = cache.config();
            kv.offload = !self.no_kv_offload;
            kv.guard = guard;
            kv.allow_cpu_attention = allow_cpu_attention;
            Workload {
                test: self.test,
                kv,
                n_batch: self.n_batch,
                n_ubatch: self.n_ubatch,
                n_threads: self.n_threads,
            }
        };
        self.caches.iter().map(workload).collect()
    }
}

/// Which columns a table needs beyond the fixed ones: what varies or is not llama-bench's default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Varies {
    pub n_threads: bool,
    pub n_batch: bool,
    pub n_ubatch: bool,
    pub type_k: bool,
    pub type_v: bool,
    pub mode: bool,
    pub no_kv_offload: bool,
    pub flash_attn: bool,
    pub load_mode: bool,
}

/// All measurements, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub groups: Vec<Group>,
    pub varies: Varies,
}

fn counts(lists: &[Counts]) -> Vec<u32> {
    lists.iter().flat_map(|list| list.0.clone()).collect()
}

fn switches(lists: &[Switches]) -> Vec<bool> {
    lists.iter().flat_map(|list| list.0.clone()).collect()
}

impl Plan {
    /// The full cross product, in llama-bench's order, so that models are loaded as rarely as possible.
    ///
    /// # Errors
    /// Options of llama-bench without an equivalent; modes that do not exist; nothing or far too much to measure.
    pub fn new(args: &BenchArgs) -> Result<Self> {
        if let Some((option, value, why)) = args.unsupported.refused() {
            if matches!(option, "--hf-token") {
                bail!("{option} is not supported: {why}");
            }
            bail!("{option} {value} is not supported: {why}");
        }
        let caches = caches_of(args)?;
        let sets: Vec<Vec<KvSpec>> = match args.ab {
            None => caches.iter().map(|cache| vec![*cache]).collect(),
            Some(_) => vec![caches.clone()],
        };
        let load_modes: Vec<LoadMode> = if args.mmap.is_empty() {
            args.load_mode.clone()
        } else {
            let mode = |map| if map { LoadMode::Mmap } else { LoadMode::None };
            switches(&args.mmap).into_iter().map(mode).collect()
        };
        let (batches, ubatches) = (counts(&args.batch_size), counts(&args.ubatch_size));
        if batches.iter().chain(&ubatches).any(|n| *n == 0) {
            bail!("--batch-size and --ubatch-size must be at least 1");
        }
        let gpu_layers: Vec<Option<u32>> = args.gpu_layers.iter().flat_map(|list| list.0.clone()).collect();
        let no_kv_offload = switches(&args.no_kv_offload);
        let default_threads = memory::physical_cores();
        let threads: Vec<u32> = counts(&args.threads)
            .into_iter()
            .map(|n| if n == 0 { default_threads } else { n })
            .collect();
        let tests = tests_of(args);
        let depths = counts(&args.n_depth);

        let n_models = args.model.len().max(1);
        let total = [
            n_models,
            gpu_layers.len(),
            load_modes.len(),
            batches.len(),
            ubatches.len(),
            caches.len(),
            no_kv_offload.len(),
            args.flash_attn.len(),
            threads.len(),
            depths.len(),
            tests.len(),
        ]
        .iter()
        .try_fold(1_usize, |product, n| product.checked_mul(*n))
        .unwrap_or(usize::MAX);
        if total == 0 {
            bail!("there is nothing to measure: -p and -n are 0, and there is no -pg");
        }
        if total > MOST {
            bail!("these lists make more than {MOST} combinations; all of them would be measured");
        }

        // the first list varies slowest
        let models: Vec<usize> = (0..n_models).collect();
        let mut groups = vec![Group::default()];
        groups = each(&groups, &models, |group, model| group.model = *model);
        groups = each(&groups, &gpu_layers, |group, layers| group.gpu_layers = *layers);
        groups = each(&groups, &load_modes, |group, mode| group.load_mode = *mode);
        groups = each(&groups, &batches, |group, n| group.n_batch = *n);
        groups = each(&groups, &ubatches, |group, n| group.n_ubatch = *n);
        groups = each(&groups, &sets, |group, set| group.caches.clone_from(set));
        groups = each(&groups, &no_kv_offload, |group, stays| group.no_kv_offload = *stays);
        groups = each(&groups, &args.flash_attn, |group, attention| {
            group.attention = *attention
        });
        groups = each(&groups, &threads, |group, n| group.n_threads = *n);
        groups = each(&groups, &depths, |group, n| group.test.n_depth = *n);
        groups = each(&groups, &tests, |group, test| {
            (group.test.n_prompt, group.test.n_gen) = (test.n_prompt, test.n_gen);
        });
        let side = |side: fn(&KvSpec) -> KvType| {
            let mut types: Vec<KvType> = caches.iter().map(side).collect();
            types.dedup();
            varies(&types, &KvType::F16)
        };
        Ok(Self {
            groups,
            varies: Varies {
                n_threads: varies(&threads, &default_threads),
                n_batch: varies(&batches, &2048),
                n_ubatch: varies(&ubatches, &512),
                type_k: side(|cache| cache.k),
                type_v: side(|cache| cache.v),
                mode: caches.iter().any(|cache| cache.mode.is_some()),
                no_kv_offload: varies(&no_kv_offload, &false),
                flash_attn: varies(&args.flash_attn, &Attention::Auto),
                load_mode: varies(&load_modes, &LoadMode::Auto),
            },
        })
    }

    /// Steps of the whole plan: each cache is opened once and run `runs` times.
    pub fn steps(&self, runs: usize) -> usize {
        self.groups.iter().map(|group| group.caches.len() * (runs + 1)).sum()
    }

    /// Cells of the longest context.
    pub fn n_ctx(&self) -> u32 {
        self.groups.iter().map(|group| group.test.n_ctx()).max().unwrap_or(0)
    }
}

/// Each group once with each value.
fn each<T>(groups: &[Group], values: &[T], set: impl Fn(&mut Group, &T)) -> Vec<Group> {
    let mut all = Vec::with_capacity(groups.len() * values.len());
    for group in groups {
        for value in values {
            let mut group = group.clone();
            set(&mut group, value);
            all.push(group);
        }
    }
    all
}

/// llama-bench's rule for a column.
fn varies<T: PartialEq>(values: &[T], default: &T) -> bool {
    values.len() != 1 || values[0] != *default
}

fn tests_of(args: &BenchArgs) -> Vec<Test> {
    let test = |n_prompt, n_gen| Test {
        n_prompt,
        n_gen,
        n_depth: 0,
    };
    let prompts = counts(&args.n_prompt).into_iter().map(|n| test(n, 0));
    let answers = counts(&args.n_gen).into_iter().map(|n| test(0, n));
    let both = args.pg.iter().map(|pair| test(pair.n_prompt, pair.n_gen));
    prompts
        .chain(answers)
        .chain(both)
        .filter(|test| test.n_tokens() > 0)
        .collect()
}

fn caches_of(args: &BenchArgs) -> Result<Vec<KvSpec>> {
    let mut modes = Vec::new();
    for text in args
        .layer_adaptive
        .iter()
        .map(|text| text.trim())
        .filter(|text| !text.is_empty())
    {
        let mode = text.parse::<u8>().ok().filter(|mode| LayerPolicy::mode(*mode).is_ok());
        let Some(mode) = mode else {
            bail!("--layer-adaptive (TURBO_LAYER_ADAPTIVE) takes modes from 0 to 7, not `{text}`");
        };
        modes.push(Some(mode));
    }
    let mut pairs = args.kv.clone();
    if pairs.is_empty() {
        for &k in &args.cache_type_k {
            pairs.extend(args.cache_type_v.iter().map(|&v| KvSpec { k, v, mode: None }));
        }
    }
    if let Some(cache) = pairs.iter().find(|cache| cache.mode.is_some() && !modes.is_empty()) {
        bail!("--kv {cache} and --layer-adaptive both name a mode; use one of them");
    }
    if modes.is_empty() {
        modes.push(None);
    }
    let mut all: Vec<KvSpec> = args
        .ab
        .into_iter()
        .filter(|base| !with_modes(&pairs, &modes).contains(base))
        .collect();
    all.extend(with_modes(&pairs, &modes));
    Ok(caches::unique(all))
}

fn with_modes(pairs: &[KvSpec], modes: &[Option<u8>]) -> Vec<KvSpec> {
    let each = |pair: &KvSpec| {
        let pair = *pair;
        modes.iter().map(move |mode| KvSpec {
            mode: mode.or(pair.mode),
            ..pair
        })
    };
    pairs.iter().flat_map(each).collect()
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let caches: Vec<String> = self.caches.iter().map(KvSpec::to_string).collect();
        write!(f, "{} over {}", self.test, caches.join(", "))
    }
}

#[cfg(test)]
mod tests;

//! What was typed, checked as far as it can be without a model.

use crate::args::perplexity::PerplexityArgs;
use crate::measuring::{caches, data};
use crate::settings::EngineSettings;
use anyhow::{Context, Result, bail};
use llama_turboquant::measure::{Corpus, Mode, Options};
use llama_turboquant::{Backend, DeviceKind, GpuLayers, KvCacheConfig, KvSpec, LayerMap, LayerPolicy, Model, memory};
use serde::Serialize;
use std::borrow::Cow;

/// What --kl-divergence compares where nothing is named.
const CANDIDATES: &str = "q8_0,q5_0,q4_0,turbo4,turbo3,turbo2,q8_0/turbo4";
/// What --bars judges, and what it is compared with.
const JUDGED: &str = "q8_0,q5_0,q4_0,turbo4,turbo3,turbo2@0,turbo2,q8_0/turbo4,q8_0/turbo3,turbo4/turbo3";
/// Chunks of the built-in text that --kl-divergence measures where nothing is said.
const BUILT_IN_CHUNKS: usize = 20;
/// Chunks of the noise floor where nothing is said.
const FLOOR_CHUNKS: usize = 2;

/// A cache by its name in tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// As on the command line; `map:NAME` for a layer map.
    pub name: String,
    /// What it is; `None` for a layer map.
    pub spec: Option<KvSpec>,
    /// Its settings.
    pub config: KvCacheConfig,
}

/// Everything that decides what is measured.
#[derive(Debug)]
pub struct Settings {
    pub engine: EngineSettings,
    pub text: Cow<'static, str>,
    pub text_name: String,
    pub n_ctx: u32,
    pub n_batch: u32,
    pub n_ubatch: u32,
    /// At most so many chunks; `None`: all.
    pub chunks: Option<usize>,
    pub spread: bool,
    /// 0: none.
    pub stride: u32,
    pub caches: Vec<Cache>,
    /// The caches are our choice: those that this model cannot have are left out.
    optional: bool,
    /// What the caches are compared with; `None`: perplexity only.
    pub base: Option<Cache>,
    pub modes: Vec<Mode>,
    pub decode_chunks: Option<usize>,
    /// 0: not measured.
    pub floor_chunks: usize,
    pub depth_buckets: usize,
    pub bars: bool,
    pub one_by_one: bool,
}

/// What a record tells of the settings.
#[derive(Debug, Serialize)]
pub struct Told {
    text: String,
    caches: Vec<String>,
    base: Option<String>,
    n_ctx: u32,
    n_batch: u32,
    n_ubatch: u32,
    n_threads: u32,
    chunks: Option<usize>,
    chunks_spread: bool,
    ppl_stride: u32,
    modes: Vec<Mode>,
    decode_chunks: Option<usize>,
    floor_chunks: usize,
}

impl Settings {
    /// Validates `args` and reads the text.
    ///
    /// # Errors
    /// Numbers that make no sense together, a cache that does not exist, a text or a layer map that cannot be read.
    pub fn new(args: &PerplexityArgs) -> Result<Self> {
        if let Some(file) = &args.kl_divergence_base {
            bail!(
                "--kl-divergence-base {}: no file is needed, both caches are computed in this run; use --kl-divergence, with \
                 --kl-base to name the base's cache",
                file.display()
            );
        }
        if args.ctx_size < 4 {
            bail!("-c {}: chunks of fewer than 4 tokens cannot be scored", args.ctx_size);
        }
        if args.batch_size == 0 || args.ubatch_size == 0 {
            bail!("--batch-size and --ubatch-size must be at least 1");
        }
        if args.ppl_stride > args.ctx_size {
            bail!(
                "--ppl-stride {} is larger than the context (-c {}): tokens between two windows would never be scored",
                args.ppl_stride,
                args.ctx_size
            );
        }
        let kl = args.kl_divergence || args.bars;
        if !kl && args.floor.is_some_and(|chunks| chunks > 0) {
            bail!("--floor compares the base with itself: it needs --kl-divergence");
        }
        let built_in = kl && args.file.is_none() && args.chunks.is_none();
        let chunks = match args.chunks {
            Some(0) => bail!("--chunks 0 measures nothing; -1 measures all chunks"),
            Some(n) => usize::try_from(n).ok(),
            None => built_in.then_some(BUILT_IN_CHUNKS),
        };
        let engine = EngineSettings::new(&args.engine);
        let cache = |spec: KvSpec| Cache {
            name: spec.to_string(),
            spec: Some(spec),
            config: engine.cache(spec.config()),
        };
        let mut candidates: Vec<Cache> = specs(args, kl)?.into_iter().map(cache).collect();
        if let Some(path) = &args.layer_map {
            let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy();
            candidates.push(Cache {
                name: format!("map:{name}"),
                spec: None,
                config: engine.cache(KvCacheConfig::default().with_layers(LayerMap::read(path)?.policy())),
            });
        }
        let mut text = data::text(args.file.as_deref(), data::EVAL)?;
        if text.ends_with('\n') {
            // as llama.cpp does with -f
            text.to_mut().pop();
        }
        let modes = match (args.decode, args.both) {
            (true, _) => vec![Mode::Decode],
            (_, true) => vec![Mode::Batched, Mode::Decode],
            _ => vec![Mode::Batched],
        };
        Ok(Self {
            text,
            text_name: data::name(args.file.as_deref(), "eval.txt"),
            n_ctx: args.ctx_size,
            n_batch: args.batch_size,
            n_ubatch: args.ubatch_size,
            chunks,
            spread: args.chunks_spread || built_in,
            stride: args.ppl_stride,
            caches: candidates,
            optional: args.kv.is_empty() && args.cache_type_k.is_none() && args.cache_type_v.is_none(),
            base: kl.then(|| cache(args.kl_base)),
            modes,
            decode_chunks: args.decode_chunks.map(|n| n as usize),
            floor_chunks: args
                .floor
                .map_or(if kl { FLOOR_CHUNKS } else { 0 }, |chunks| chunks as usize),
            depth_buckets: args.depth_buckets as usize,
            bars: args.bars,
            one_by_one: args.one_by_one,
            engine,
        })
    }

    /// What the caches are compared with, by name; empty: nothing.
    pub fn base_name(&self) -> &str {
        self.base.as_ref().map_or("", |base| &base.name)
    }

    /// Leaves out the caches that nobody asked for and that this model cannot have; the reasons. A cache that was asked for
    /// stays, and is an error later.
    ///
    /// # Errors
    /// If none is left.
    pub fn keep_possible(&mut self, model: &Model) -> Result<Vec<String>> {
        let mut reasons = Vec::new();
        let optional = self.optional;
        self.caches.retain(|cache| match cache.config.resolve(model.meta()) {
            Err(reason) if optional && cache.spec.is_some() => {
                reasons.push(format!("{}: not run, because {reason}", cache.name));
                false
            }
            _ => true,
        });
        if self.caches.is_empty() {
            bail!("no cache to measure; name some with --kv\n{}", reasons.join("\n"));
        }
        Ok(reasons)
    }

    /// The text in chunks.
    ///
    /// # Errors
    /// A text that is shorter than one chunk.
    pub fn corpus(&self, model: &Model) -> Result<Corpus> {
        let corpus = if self.stride == 0 {
            Corpus::from_text(model, &self.text, self.n_ctx)
        } else {
            Corpus::strided(model, &self.text, self.n_ctx, self.stride)
        };
        let corpus = corpus.with_context(|| format!("cannot score {} with -c {}", self.text_name, self.n_ctx))?;
        Ok(match self.chunks {
            None => corpus,
            Some(n) if self.spread => corpus.spread(n),
            Some(n) => corpus.first(n),
        })
    }

    /// Options for `arms` arms at the same time. Where everything runs on the CPU, arms side by side keep the threads
    /// busier than threads that wait for each other inside one arm.
    ///
    /// # Errors
    /// If the engine cannot list its devices.
    pub fn options(&self, arms: usize) -> Result<Options> {
        let threads = match self.engine.threads {
            0 => memory::physical_cores(),
            n => n,
        };
        let on_gpu = self.engine.gpu_layers != GpuLayers::Count(0)
            && Backend::init()?.devices()?.iter().any(|it| it.kind == DeviceKind::Gpu);
        let side_by_side = if on_gpu {
            1
        } else {
            threads.min(u32::try_from(arms).unwrap_or(u32::MAX)).max(1)
        };
        Ok(Options::default()
            .threads(threads / side_by_side)
            .parallel(side_by_side)
            .batch(self.n_batch)
            .ubatch(self.n_ubatch))
    }

    /// For the record.
    pub fn told(&self) -> Told {
        Told {
            text: self.text_name.clone(),
            caches: self.caches.iter().map(|cache| cache.name.clone()).collect(),
            base: self.base.as_ref().map(|base| base.name.clone()),
            n_ctx: self.n_ctx,
            n_batch: self.n_batch,
            n_ubatch: self.n_ubatch,
            n_threads: self.engine.threads,
            chunks: self.chunks,
            chunks_spread: self.spread,
            ppl_stride: self.stride,
            modes: self.modes.clone(),
            decode_chunks: self.decode_chunks,
            floor_chunks: self.floor_chunks,
        }
    }
}

/// The caches that were named, or those that make sense.
fn specs(args: &PerplexityArgs, kl: bool) -> Result<Vec<KvSpec>> {
    let mode = match args.layer_adaptive.as_deref().map(str::trim) {
        None | Some("") => None,
        Some(mode) => {
            let wrong = "--layer-adaptive (TURBO_LAYER_ADAPTIVE) takes a mode from 0 to 7";
            let number = mode.parse().context(wrong)?;
            LayerPolicy::mode(number).context(wrong)?;
            Some(number)
        }
    };
    if !args.kv.is_empty() {
        let with_mode = |spec: &KvSpec| KvSpec {
            mode: spec.mode.or(mode),
            ..*spec
        };
        return Ok(caches::unique(args.kv.iter().map(with_mode).collect()));
    }
    if args.cache_type_k.is_some() || args.cache_type_v.is_some() {
        let side = |name: &Option<String>, option: &'static str| match name {
            None => Ok(KvSpec::F16.k),
            Some(name) => name.parse().context(option),
        };
        return Ok(vec![KvSpec {
            k: side(&args.cache_type_k, "--cache-type-k")?,
            v: side(&args.cache_type_v, "--cache-type-v")?,
            mode,
        }]);
    }
    let names = match (args.bars, kl) {
        (true, _) => JUDGED,
        (_, _) if args.layer_map.is_some() => return Ok(Vec::new()),
        (_, true) => CANDIDATES,
        _ => return Ok(vec![KvSpec::F16]),
    };
    let specs: Vec<KvSpec> = names.split(',').map(caches::parse).collect::<Result<_, _>>()?;
    Ok(specs.into_iter().filter(|spec| *spec != args.kl_base).collect())
}

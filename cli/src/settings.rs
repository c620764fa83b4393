//! What was typed, as validated types; and the model and context they describe.

use crate::args::{EngineArgs, ModelArgs, SamplingArgs};
use crate::console;
use crate::embedded;
use crate::loras::LoraFiles;
use crate::projector::ProjectorSettings;
use anyhow::{Context as _, Result, anyhow, bail};
use llama_turboquant::choose::DEFAULT_SLOTS;
use llama_turboquant::engine::sampler::SamplingParams;
pub use llama_turboquant::memory::human_bytes;
use llama_turboquant::{
    CancelToken, Context, ContextConfig, Error, GpuLayers, KvCacheConfig, KvType, LayerMap, LayerPolicy, Model,
    ModelBuilder, Output, memory,
};
use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A type, or the choice left to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheType {
    /// turbo4 where the model allows it, else q8_0, else f16; which one is said.
    Auto,
    /// This one or an error.
    Fixed(KvType),
}

impl CacheType {
    /// The type, where one was named.
    pub const fn named(self) -> Option<KvType> {
        match self {
            Self::Auto => None,
            Self::Fixed(ty) => Some(ty),
        }
    }
}

impl FromStr for CacheType {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        if name.eq_ignore_ascii_case("auto") {
            return Ok(Self::Auto);
        }
        name.parse().map(Self::Fixed).map_err(|e| anyhow!("{e}, auto"))
    }
}

impl fmt::Display for CacheType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Fixed(ty) => ty.fmt(f),
        }
    }
}

/// How tasks that do not depend on each other share the processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turns {
    /// Threads of each; 0: the physical cores.
    pub threads: u32,
    /// Tasks that are computed at the same time.
    pub at_once: u32,
}

/// Which model, and what every cache on it has in common.
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// The file; `None`: the embedded model.
    pub file: Option<PathBuf>,
    /// Layers to the GPU.
    pub gpu_layers: GpuLayers,
    /// Map the file.
    pub mmap: bool,
    /// Threads; 0: the physical cores.
    pub threads: u32,
    /// Layers to the GPU that were asked for, if any were.
    asked_gpu_layers: Option<u32>,
    offload: bool,
    guard: bool,
    allow_cpu_attention: bool,
    swa_full: bool,
}

impl EngineSettings {
    /// What was typed.
    pub fn new(args: &EngineArgs) -> Self {
        Self {
            file: args.model.clone(),
            gpu_layers: gpu_layers(args.gpu_layers, args.model.is_none()),
            mmap: !args.no_mmap,
            threads: args.threads,
            asked_gpu_layers: args.gpu_layers,
            offload: !args.no_kv_offload,
            guard: !args.no_kv_guard,
            allow_cpu_attention: args.allow_cpu_attention,
            swa_full: args.swa_full,
        }
    }

    /// The same for another model.
    #[must_use]
    pub fn of(&self, file: Option<PathBuf>) -> Self {
        Self {
            gpu_layers: gpu_layers(self.asked_gpu_layers, file.is_none()),
            file,
            ..self.clone()
        }
    }

    /// `kv` as it is on this model's device, with the guards that were asked for.
    #[must_use]
    pub fn cache(&self, mut kv: KvCacheConfig) -> KvCacheConfig {
        kv.offload = self.offload;
        kv.guard = self.guard;
        kv.allow_cpu_attention = self.allow_cpu_attention;
        kv.swa_full = self.swa_full;
        kv
    }

    /// The name clients see.
    pub fn model_name(&self) -> String {
        Self::name_of(self.file.as_deref())
    }

    /// The name clients see of the model in `file`; `None`: the embedded one.
    pub fn name_of(file: Option<&Path>) -> String {
        file.map_or_else(
            || embedded::NAME.into(),
            |file| {
                file.file_stem()
                    .unwrap_or(file.as_os_str())
                    .to_string_lossy()
                    .into_owned()
            },
        )
    }

    /// How `tasks` tasks take turns. The embedded model is so small that a thread for each is faster than all threads for
    /// one, unless the user said how many threads.
    pub fn turns(&self, tasks: usize) -> Turns {
        match (&self.file, self.threads) {
            (None, 0) => Turns {
                threads: 1,
                at_once: memory::physical_cores()
                    .min(u32::try_from(tasks).unwrap_or(u32::MAX))
                    .max(1),
            },
            (_, threads) => Turns { threads, at_once: 1 },
        }
    }

    /// How to load the model; the embedded one is unpacked first.
    ///
    /// # Errors
    /// If the embedded model cannot be unpacked.
    pub fn builder(&self) -> Result<ModelBuilder> {
        let path = self.file.clone().map_or_else(embedded::path, Ok)?;
        Ok(Model::builder(path).gpu_layers(self.gpu_layers).mmap(self.mmap))
    }

    /// Loads the model; `cancel` stops it.
    ///
    /// # Errors
    /// As [`ModelBuilder::load`].
    pub fn load(&self, cancel: &CancelToken) -> Result<Model> {
        if self.file.is_none() {
            console::say!("{}", embedded::GREETING);
        }
        let bar = progress_bar();
        let token = cancel.clone();
        let loaded = self
            .builder()?
            .progress(move |done| {
                bar.set_position((done * 1000.0) as u64);
                if token.is_cancelled() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })
            .load();
        Ok(loaded?)
    }
}

/// The embedded model is too small to gain from a GPU, and shows the same cache on every machine.
fn gpu_layers(asked: Option<u32>, embedded: bool) -> GpuLayers {
    match asked {
        Some(n) => GpuLayers::Count(n),
        None if embedded => GpuLayers::Count(0),
        None => GpuLayers::All,
    }
}

/// What was asked of the choice; the rest is left to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Tokens, all slots together; 0: what the model was trained with.
    pub n_ctx: Option<u32>,
    /// Requests served at once.
    pub n_slots: Option<u32>,
    /// The least context that is of use.
    pub min_ctx: Option<u32>,
    /// All layers on devices, and no shorter context than asked for.
    pub whole: bool,
    /// The least quality.
    pub floor: Option<KvType>,
    /// Bytes to be left free in every pool of memory.
    pub margin: Option<u64>,
    /// Bytes to be left free besides, for others.
    pub kept_back: u64,
}

/// Everything about a model and its context, checked as far as it can be without loading.
#[derive(Debug, Clone)]
pub struct ModelSettings {
    /// The model.
    pub engine: EngineSettings,
    /// Type of K.
    pub k: CacheType,
    /// Type of V.
    pub v: CacheType,
    /// Types by layer, which replace `k` and `v`.
    pub map: Option<LayerMap>,
    /// The context; its `kv` holds all but the types.
    pub context: ContextConfig,
    /// Of types, context, slots and layers, what was asked for.
    pub asked: Asked,
    /// A chat template (Jinja) instead of the model's.
    pub chat_template: Option<String>,
    /// LoRA adapters that are loaded with it.
    pub loras: LoraFiles,
    /// With what the model sees images.
    pub projector: Option<ProjectorSettings>,
}

impl ModelSettings {
    /// Validates `args` for a server of so many slots; `None`: it is left to the choice.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn for_slots(args: &ModelArgs, n_slots: Option<u32>) -> Result<Self> {
        let mut settings = Self::new(args, n_slots.unwrap_or(DEFAULT_SLOTS))?;
        settings.asked.n_slots = n_slots;
        Ok(settings)
    }

    /// Validates `args` for a context of `n_seq_max` sequences.
    ///
    /// # Errors
    /// Unknown types (with the list of valid ones), a mode that does not exist, a layer map that cannot be read, numbers
    /// out of range.
    pub fn new(args: &ModelArgs, n_seq_max: u32) -> Result<Self> {
        let k = args.cache_type_k.parse().context("--cache-type-k")?;
        let v = args.cache_type_v.parse().context("--cache-type-v")?;
        let layers = layer_policy(args.layer_adaptive.as_deref())?;
        let map = args.layer_map.as_deref().map(LayerMap::read).transpose()?;
        if map.is_some() && !matches!(layers, LayerPolicy::Auto) {
            bail!("--layer-map and --layer-adaptive both say which layers get which types; use one of them");
        }
        if args.batch_size == 0 || args.ubatch_size == 0 {
            bail!("--batch-size and --ubatch-size must be at least 1");
        }
        if !(1..=ContextConfig::MAX_SEQUENCES).contains(&n_seq_max) {
            let most = ContextConfig::MAX_SEQUENCES;
            bail!("--parallel must be between 1 and {most}, not {n_seq_max}");
        }
        if let Some(n_ctx) = args.ctx_size.filter(|&n_ctx| i32::try_from(n_ctx).is_err()) {
            bail!("--ctx-size {n_ctx} is beyond the engine's limit of {}", i32::MAX);
        }
        let engine = EngineSettings::new(&args.engine);
        let mut kv = engine.cache(KvCacheConfig::default().with_layers(layers));
        kv.unified = n_seq_max > 1; // slots share all cells: one long request may use what others do not
        let context = ContextConfig {
            n_ctx: args.ctx_size.unwrap_or(0),
            n_batch: args.batch_size,
            n_ubatch: args.ubatch_size,
            n_seq_max,
            n_threads: engine.threads,
            n_threads_batch: args.threads_batch,
            kv,
            output: Output::Logits,
        };
        Ok(Self {
            engine,
            k,
            v,
            map,
            context,
            asked: Asked {
                n_ctx: args.ctx_size.or((!args.fit).then_some(0)),
                whole: !args.fit,
                n_slots: Some(n_seq_max),
                min_ctx: args.fit_ctx,
                floor: args
                    .kv_floor
                    .as_deref()
                    .map(str::parse)
                    .transpose()
                    .context("--kv-floor")?,
                margin: args.fit_target.map(|mib| u64::from(mib) << 20),
                kept_back: 0,
            },
            chat_template: None,
            loras: LoraFiles::default(),
            projector: ProjectorSettings::new(&args.projector, args.engine.threads)?,
        })
    }

    /// The caches to try, best first: one, or several where the types were left to us.
    pub fn caches(&self) -> Vec<KvCacheConfig> {
        const CHOICES: [KvType; 3] = [KvType::Turbo4, KvType::Q8_0, KvType::F16];
        if let Some(map) = &self.map {
            return vec![self.context.kv.clone().with_layers(map.policy())];
        }
        let choices = |side: CacheType| match side {
            CacheType::Auto => CHOICES.to_vec(),
            CacheType::Fixed(ty) => vec![ty],
        };
        let (ks, vs) = (choices(self.k), choices(self.v));
        let attempt = |attempt: usize| KvCacheConfig {
            k: ks[attempt.min(ks.len() - 1)],
            v: vs[attempt.min(vs.len() - 1)],
            ..self.context.kv.clone()
        };
        (0..ks.len().max(vs.len())).map(attempt).collect()
    }

    /// Creates the context, choosing the types that were left to us.
    ///
    /// # Errors
    /// As [`Context::new`].
    pub fn create_context(&self, model: &Model) -> Result<Context> {
        let caches = self.caches();
        let only = caches.len() == 1;
        let mut refused = None;
        for kv in caches {
            let (k, v) = (kv.k, kv.v);
            let config = ContextConfig {
                kv,
                ..self.context.clone()
            };
            match model.context(config) {
                Err(Error::UnsupportedKv(issue)) if !only => {
                    tracing::warn!("auto: {k}/{v} is not possible here: {issue}");
                    refused = Some(issue);
                }
                made => return Ok(made?),
            }
        }
        Err(refused.map_or_else(|| anyhow!("no KV type to try"), |issue| Error::from(issue).into()))
    }
}

/// What `--layer-adaptive` says; [`LayerPolicy::Auto`] where it says nothing.
///
/// # Errors
/// A mode that does not exist.
pub fn layer_policy(mode: Option<&str>) -> Result<LayerPolicy> {
    match mode.map(str::trim) {
        None | Some("") => Ok(LayerPolicy::Auto),
        Some(mode) => mode
            .parse()
            .map_err(|_| anyhow!("`{mode}` is not a number"))
            .and_then(|mode| Ok(LayerPolicy::mode(mode)?))
            .context("--layer-adaptive (TURBO_LAYER_ADAPTIVE) takes a mode from 0 to 7"),
    }
}

fn progress_bar() -> indicatif::ProgressBar {
    if !console::is_watched() {
        return indicatif::ProgressBar::hidden();
    }
    let style = indicatif::ProgressStyle::with_template("loading {bar:40} {percent}%")
        .unwrap_or_else(|_| indicatif::ProgressStyle::default_bar());
    indicatif::ProgressBar::new(1000)
        .with_style(style)
        .with_finish(indicatif::ProgressFinish::AndClear)
}

/// Sampling parameters as the engine takes them.
pub fn sampling(args: &SamplingArgs) -> SamplingParams {
    SamplingParams {
        seed: args.seed,
        temperature: args.temp,
        top_k: args.top_k,
        top_p: args.top_p,
        min_p: args.min_p,
        repeat_penalty: args.repeat_penalty,
        ..SamplingParams::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Command};
    use clap::Parser;

    fn engine(options: &[&str]) -> EngineSettings {
        let args = Args::parse_from([&["turboquant", "session"], options].concat());
        match args.command {
            Command::Session(session) => EngineSettings::new(&session.engine),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_the_embedded_model_is_computed_on_a_thread_for_each_task() {
        let cores = memory::physical_cores();
        let turns = |threads, at_once| Turns { threads, at_once };
        assert_eq!(engine(&[]).turns(1), turns(1, 1));
        assert_eq!(engine(&[]).turns(10_000), turns(1, cores));
        assert_eq!(engine(&[]).turns(0), turns(1, 1), "never none");
        assert_eq!(engine(&["-t", "3"]).turns(10_000), turns(3, 1), "what was asked for");
        assert_eq!(engine(&["-m", "model.gguf"]).turns(10_000), turns(0, 1));
    }
}

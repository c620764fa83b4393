//! `auto`: the cache that is chosen for a model as it is run here, before anything is timed.

use super::plan::{AskedCache, Group, Plan};
use super::source::Source;
use crate::args::{BenchArgs, EngineArgs};
use crate::auto::Auto;
use crate::console;
use crate::loras::LoraFiles;
use crate::settings::{Asked, CacheType, EngineSettings, ModelSettings};
use anyhow::{Context, Result};
use llama_turboquant::choose::Decision;
use llama_turboquant::machine::Machine;
use llama_turboquant::{ContextConfig, GpuLayers, KvCacheConfig, KvSpec, KvType, LayerPolicy};

/// What a choice depends on besides the whole run: the model, the layers on devices, whether the cache stays in main memory.
type Key = (usize, GpuLayers, bool, AskedCache);

/// The choices of a run: each for the largest context of its tests, the most tokens computed at once, and one sequence.
pub struct Choice<'a> {
    args: &'a BenchArgs,
    sources: &'a [Source],
    n_ctx: u32,
    n_ubatch: u32,
    mmap: bool,
    /// Read when it is first needed.
    machine: Option<Machine>,
    made: Vec<(Key, KvSpec)>,
}

impl<'a> Choice<'a> {
    /// For `plan`; nothing is chosen yet.
    pub fn new(args: &'a BenchArgs, plan: &Plan<AskedCache>, sources: &'a [Source]) -> Self {
        Self {
            args,
            sources,
            n_ctx: plan.n_ctx(),
            n_ubatch: plan.n_ubatch(),
            mmap: plan.groups.iter().all(|group| group.load_mode.maps()),
            machine: None,
            made: Vec::new(),
        }
    }

    /// What `asked` stands for in `group`; said on standard error the first time.
    ///
    /// # Errors
    /// Nothing fits, or nothing is possible.
    pub fn of(&mut self, group: &Group<AskedCache>, asked: AskedCache) -> Result<KvSpec> {
        let key = (group.model, group.gpu_layers(), group.no_kv_offload, asked);
        if let Some((_, made)) = self.made.iter().find(|(other, _)| *other == key) {
            return Ok(*made);
        }
        let source = &self.sources[group.model];
        let made = self
            .choose(source, group, asked)
            .with_context(|| format!("{}, cache {asked}", source.name()))?;
        self.made.push((key, made));
        Ok(made)
    }

    fn choose(&mut self, source: &Source, group: &Group<AskedCache>, asked: AskedCache) -> Result<KvSpec> {
        let machine = match self.machine.take() {
            Some(machine) => machine,
            None => Machine::detect()?,
        };
        let mut settings = self.settings(source, group, asked)?;
        let decision = Auto::open(&settings, 0)?.settle(&mut settings, &machine, false)?;
        self.machine = Some(machine);
        Ok(match decision {
            Some(decision) => {
                let spec = spec(asked, &decision.kv);
                self.say(source, asked, spec, &decision);
                spec
            }
            None => {
                let spec = spec(asked, &KvSpec::F16.config());
                console::say!(
                    "{}: {asked} is {spec}: the model has no KV cache to choose",
                    source.name()
                );
                spec
            }
        })
    }

    /// The run as `serve` would be asked for it.
    fn settings(&self, source: &Source, group: &Group<AskedCache>, asked: AskedCache) -> Result<ModelSettings> {
        let engine = EngineSettings::new(&EngineArgs {
            model: Some(source.path().to_owned()),
            no_kv_guard: self.args.no_kv_guard,
            allow_cpu_attention: self.args.allow_cpu_attention,
            no_kv_offload: group.no_kv_offload,
            swa_full: false,
            threads: group.n_threads,
            gpu_layers: group.gpu_layers,
            no_mmap: !self.mmap,
        });
        let layers = asked.mode.map_or(Ok(LayerPolicy::Auto), LayerPolicy::mode)?;
        Ok(ModelSettings {
            k: asked.k,
            v: asked.v,
            map: None,
            context: ContextConfig {
                n_ctx: self.n_ctx,
                n_batch: self.n_ubatch,
                n_ubatch: self.n_ubatch,
                n_seq_max: 1,
                n_threads: group.n_threads,
                kv: engine.cache(KvCacheConfig::default().with_layers(layers)),
                ..ContextConfig::default()
            },
            asked: Asked {
                n_ctx: Some(self.n_ctx),
                n_slots: Some(1),
                // a test in a shorter context is another test
                min_ctx: Some(self.n_ctx),
                whole: true,
                ..Asked::default()
            },
            engine,
            chat_template: None,
            loras: LoraFiles::default(),
            projector: None,
        })
    }

    fn say(&self, source: &Source, asked: AskedCache, spec: KvSpec, decision: &Decision) {
        console::say!("{}: {asked} is {spec} at {} tokens", source.name(), self.n_ctx);
        for reason in &decision.reasons {
            console::say!("  {}", reason.text);
        }
        for warning in &decision.warnings {
            console::say!("warning: {}", warning.text);
        }
    }
}

/// What was asked for, and of `chosen` what was not.
fn spec(asked: AskedCache, chosen: &KvCacheConfig) -> KvSpec {
    let side = |asked: CacheType, chosen: KvType| match asked {
        CacheType::Auto => chosen,
        CacheType::Fixed(ty) => ty,
    };
    KvSpec {
        k: side(asked.k, chosen.k),
        v: side(asked.v, chosen.v),
        // the choice knows the default of its types, and none
        mode: asked.mode.or((chosen.layers == LayerPolicy::Uniform).then_some(0)),
    }
}

//! `auto`: what the options leave open is chosen for the model and this machine, by the rule of `docs/choosing.md`. What they
//! say is never changed.

use crate::embedded;
use crate::settings::{CacheType, ModelSettings};
use llama_turboquant::choose::{self, BASE_CONTEXT, Decision, NoFit, Rejected, Support, Wishes};
use llama_turboquant::kv::KvNotice;
use llama_turboquant::machine::Machine;
use llama_turboquant::plan::{Footprint, MemoryPlan, Setup};
use llama_turboquant::{Backend, Error, GpuLayers, KvCacheConfig, KvType, Model, ModelMeta};

/// Times a choice is made again because the engine's own plan of it said otherwise.
const ATTEMPTS: usize = 3;

/// Why nothing could be chosen.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// No choice fulfils what was asked.
    #[error(transparent)]
    NoFit(#[from] NoFit),
    /// The file or the engine.
    #[error(transparent)]
    Engine(#[from] Error),
}

/// A model file, read as far as planning needs it.
pub struct Auto {
    footprint: Footprint,
    /// Without its weights.
    model: Model,
    /// What the devices run, asked with the survey of scratch buffers when something has to be chosen.
    support: Option<Support>,
}

impl Auto {
    /// Reads the file that the settings name, without its weights. What is to be loaded with it counts: adapters, and a
    /// projector of so many bytes.
    ///
    /// # Errors
    /// A file that is no model.
    pub fn open(settings: &ModelSettings, projector: u64) -> Result<Self, Error> {
        let engine = &settings.engine;
        let path = match &engine.file {
            Some(file) => file.clone(),
            None => embedded::path().map_err(|error| Error::Engine(format!("{error:#}")))?,
        };
        let (footprint, model) = Footprint::open(path, engine.gpu_layers)?;
        let mut footprint = footprint.with_adapters(settings.loras.size());
        footprint.projector = projector;
        Ok(Self {
            footprint,
            model,
            support: None,
        })
    }

    /// Fills in what the settings leave open, so that it fits `machine`; `None`: nothing is open, or the model has no KV cache
    /// to choose. With `whole`, a context that nobody asked for is not shortened below the usual one.
    ///
    /// # Errors
    /// Nothing fits, or wishes exclude each other.
    pub fn settle(
        &mut self,
        settings: &mut ModelSettings,
        machine: &Machine,
        whole: bool,
    ) -> Result<Option<Decision>, Refused> {
        let meta = &self.footprint.meta;
        if meta.kv_layers().next().is_none() || !settings.is_open(machine) {
            return Ok(None);
        }
        let mut wishes = settings.wishes(&self.footprint);
        if let Some(notice) = guarded(&wishes, meta) {
            tracing::warn!("{notice}");
            wishes.k = Some(KvType::Q8_0);
        }
        if whole && wishes.n_ctx.is_none() {
            let usual = BASE_CONTEXT.min(meta.n_ctx_train);
            wishes.min_ctx = Some(wishes.min_ctx.unwrap_or(0).max(usual));
        }
        let support = match self.support.take() {
            Some(support) => support,
            None => {
                let support = Support::of(Backend::init()?, meta)?;
                self.footprint.survey(&self.model)?;
                support
            }
        };
        let support = self.support.insert(support).clone();
        let mut decision = choose::choose(&self.footprint, machine, &support, &wishes)?;
        for _ in 0..ATTEMPTS {
            let mut settled = settings.clone();
            settled.take(&decision);
            let plan = self.plan(&settled, decision.plan.margin, machine)?;
            if plan.fits() {
                decision.plan = plan;
                break;
            }
            // scratch between the contexts that were surveyed is interpolated; this one is known now
            decision = choose::choose(&self.footprint, machine, &support, &wishes)?;
        }
        settings.take(&decision);
        Ok(Some(decision))
    }

    /// The engine's own plan of these settings, in which nothing is open but a context of 0, the one that the model was trained
    /// with.
    ///
    /// # Errors
    /// A KV cache that the model cannot have.
    pub fn plan(&mut self, settings: &ModelSettings, margin: u64, machine: &Machine) -> Result<MemoryPlan, Error> {
        let context = &settings.context;
        let mut refused = None;
        for kv in settings.caches() {
            let setup = Setup {
                n_ctx: match context.n_ctx {
                    0 => self.footprint.meta.n_ctx_train,
                    n_ctx => n_ctx,
                },
                kv,
                margin,
                mmap: settings.engine.mmap,
                ..Setup::of(context, settings.engine.gpu_layers)
            };
            match self.footprint.learn(&self.model, &setup) {
                Ok(()) => return MemoryPlan::new(&self.footprint, &setup, machine),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        Err(refused.unwrap_or_else(|| Error::Invalid("no KV type to try".into())))
    }
}

/// That K is kept at q8_0 although less was asked for, in a family that less is known to break.
fn guarded(wishes: &Wishes, meta: &ModelMeta) -> Option<KvNotice> {
    let k = wishes.k.filter(|_| !wishes.no_guard)?;
    let resolved = KvCacheConfig::uniform(k).resolve(meta).ok()?;
    let guard = |notice: &KvNotice| matches!(notice, KvNotice::KeyGuard { .. });
    resolved.notices.into_iter().find(guard)
}

impl ModelSettings {
    /// Whether something is left to choose on `machine`.
    fn is_open(&self, machine: &Machine) -> bool {
        let types = self.map.is_none() && [self.k, self.v].contains(&CacheType::Auto);
        let layers =
            !self.asked.whole && self.engine.gpu_layers == GpuLayers::All && machine.devices().next().is_some();
        types || layers || self.asked.n_ctx.is_none() || self.asked.n_slots.is_none()
    }

    /// What was asked for.
    fn wishes(&self, footprint: &Footprint) -> Wishes {
        let kv = &self.context.kv;
        let (k, v, layers) = match &self.map {
            Some(map) => (None, None, Some(map.policy())),
            None => {
                let asked = Some(kv.layers.clone()).filter(|layers| *layers != Default::default());
                (self.k.named(), self.v.named(), asked)
            }
        };
        let n_ctx = self.asked.n_ctx.map(|n_ctx| match n_ctx {
            0 => footprint.meta.n_ctx_train,
            n_ctx => n_ctx,
        });
        Wishes {
            n_ctx,
            min_ctx: if self.asked.whole { n_ctx } else { self.asked.min_ctx },
            n_slots: self.asked.n_slots,
            k,
            v,
            layers,
            map: None,
            floor: self.asked.floor,
            gpu_layers: match self.engine.gpu_layers {
                GpuLayers::All => self.asked.whole.then_some(GpuLayers::All),
                layers => Some(layers),
            },
            margin: match (self.asked.margin, self.asked.kept_back) {
                (margin, 0) => margin,
                (margin, more) => Some(
                    margin
                        .unwrap_or_else(|| choose::default_margin(footprint))
                        .saturating_add(more),
                ),
            },
            n_ubatch: Some(self.context.n_ubatch.min(self.context.n_batch)),
            kv_in_main_memory: !kv.offload,
            swa_full: kv.swa_full,
            allow_cpu_attention: kv.allow_cpu_attention,
            no_guard: !kv.guard,
        }
    }

    /// Takes what was chosen.
    fn take(&mut self, decision: &Decision) {
        let kv = &decision.kv;
        (self.k, self.v, self.map) = (CacheType::Fixed(kv.k), CacheType::Fixed(kv.v), None);
        self.context.kv.layers = kv.layers.clone();
        self.context.kv.unified = decision.n_slots > 1;
        self.context.n_ctx = decision.n_ctx;
        self.context.n_seq_max = decision.n_slots;
        self.engine.gpu_layers = decision.gpu_layers;
    }
}

/// A choice as it goes to the log: what, why, and what to know about it.
pub fn say(decision: &Decision) {
    tracing::info!(
        "chose {} with {} tokens and {} slots",
        decision.name,
        decision.n_ctx,
        decision.n_slots
    );
    // what people come here for: where it cannot be had, they should not have to ask why
    let cannot = |rejected: &&Rejected| {
        (rejected.k, rejected.v) == (KvType::Turbo4, KvType::Turbo4)
            && ["model", "guard", "device"].contains(&rejected.reason.code)
    };
    if let Some(turbo4) = decision.rejected.iter().find(cannot) {
        tracing::warn!("turbo4 is not possible here: {}", turbo4.reason.text);
    }
    for reason in &decision.reasons {
        tracing::info!("{}", reason.text);
    }
    for warning in &decision.warnings {
        tracing::warn!("{}", warning.text);
    }
}

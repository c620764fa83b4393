//! Which level fits: one plan per level, compared with what the pool has.

use super::{GB, Hardware, Level, LevelPlan, PartsGb, Request, Selection, gb, round};
use crate::choose::candidate;
use crate::choose::{NoFit, Reason, Rejected, Support, Wishes, measured, verdict};
use crate::kv::{KvCacheConfig, KvSpec, needs_key_guard};
use crate::machine::{Fact, Machine, Pool};
use crate::plan::{Footprint, MemoryPlan, Setup};
use crate::{GpuLayers, KvType, LayerPolicy, Result};
use std::collections::BTreeMap;

/// The engine rounds contexts to multiples of this.
const STEP: u32 = 256;

/// The levels of one model on one machine.
pub(super) struct Judge<'a> {
    pub(super) footprint: &'a Footprint,
    pub(super) machine: &'a Machine,
    pub(super) support: &'a Support,
    pub(super) request: &'a Request,
}

/// A level that this model and its device can have.
pub(super) struct Judged {
    pub(super) level: Level,
    pub(super) kv: KvCacheConfig,
    pub(super) plan: MemoryPlan,
    pub(super) required: u64,
    /// `None`: what there is is not known.
    pub(super) headroom: Option<f64>,
}

/// Selects by the contract of the selector: the first level whose headroom fits; the preferred one whether it fits or not;
/// where none fits the strongest compression, with a warning.
///
/// # Errors
/// [`NoFit::Invalid`] for a context of 0 or beyond the engine's limit; [`NoFit::Unsupported`] where the model or its device can
/// have no level, or not the preferred one.
pub fn select(
    footprint: &Footprint,
    machine: &Machine,
    support: &Support,
    request: &Request,
) -> Result<Selection, NoFit> {
    if request.n_ctx == 0 || request.n_ctx > i32::MAX as u32 {
        return Err(NoFit::Invalid(format!(
            "a context of {} tokens cannot be; 1 to {} can",
            request.n_ctx,
            i32::MAX
        )));
    }
    let judge = Judge {
        footprint,
        machine,
        support,
        request,
    };
    judge.select()
}

impl Judge<'_> {
    fn select(&self) -> Result<Selection, NoFit> {
        let mut possible = Vec::new();
        let mut unsupported = Vec::new();
        for level in Level::ALL {
            match self.judge(level, self.request.n_ctx) {
                Ok(judged) => possible.push(judged),
                Err(rejected) => unsupported.push((level, rejected)),
            }
        }
        let preferred = |judged: &&Judged| Some(judged.level) == self.request.prefer;
        let fits = |judged: &&Judged| self.fits(judged) != Some(false);
        let strongest = || {
            possible
                .iter()
                .rfind(|judged| judged.level != Level::Q4_0)
                .or(possible.first())
        };
        let chosen = match self.request.prefer {
            Some(_) => possible.iter().find(preferred),
            None => possible.iter().find(fits).or_else(strongest),
        };
        let Some(chosen) = chosen else {
            let wanted = |level: &Level| self.request.prefer.is_none_or(|prefer| prefer == *level);
            let rejected = unsupported.into_iter().filter(|(level, _)| wanted(level));
            return Err(NoFit::Unsupported(rejected.map(|(_, rejected)| rejected).collect()));
        };
        let levels = Level::ALL.map(|level| {
            let judged = possible.iter().find(|judged| judged.level == level);
            LevelPlan {
                level,
                fits: judged.and_then(|judged| self.fits(judged)),
                total_required_gb: judged.map(|judged| gb(judged.required)),
                headroom_gb: judged.and_then(|judged| judged.headroom).map(round),
                kv_gb: judged.map(|judged| gb(judged.plan.cache.total())),
                bits_per_channel: judged.map(|judged| self.bits(judged)),
                unsupported: unsupported
                    .iter()
                    .find(|(other, _)| *other == level)
                    .map(|(_, rejected)| rejected.reason.text.clone()),
            }
        });
        Ok(self.selection(chosen, levels.to_vec()))
    }

    // ---- one level ----

    /// The types a level stands for in this model: K stays at q8_0 in families that a low-bit K breaks.
    fn config(&self, level: Level) -> KvCacheConfig {
        let v = level.ty();
        let k = if needs_key_guard(&self.footprint.meta) {
            KvType::Q8_0
        } else {
            v
        };
        let kv = KvCacheConfig::asymmetric(k, v);
        if level != Level::Turbo2 {
            return kv.with_layers(LayerPolicy::Uniform);
        }
        // the default mode of turbo2 keeps the V of four layers at q8_0; in a model of few layers that is more than turbo3 takes
        let bits = |kv: &KvCacheConfig| verdict::bits(kv, &self.footprint.meta);
        let turbo3 = KvCacheConfig::asymmetric(k.max_precision(KvType::Turbo3), KvType::Turbo3);
        if bits(&kv) < bits(&turbo3) {
            kv
        } else {
            kv.with_layers(LayerPolicy::Uniform)
        }
    }

    fn judge(&self, level: Level, n_ctx: u32) -> Result<Judged, Rejected> {
        let kv = self.config(level);
        let wishes = Wishes {
            gpu_layers: Some(self.gpu_layers()),
            ..Wishes::default()
        };
        candidate::check(level.name(), &kv, self.footprint, self.machine, self.support, &wishes)?;
        let plan = self.plan(&kv, n_ctx, self.gpu_layers());
        let plan = plan.map_err(|error| Rejected {
            name: level.name().to_owned(),
            k: kv.k,
            v: kv.v,
            quality: None,
            reason: Reason {
                code: "model",
                text: error.to_string(),
            },
        })?;
        let (required, available) = self.judged_memory(&plan);
        Ok(Judged {
            level,
            required,
            headroom: available
                .get()
                .map(|available| (available as f64 - required as f64) / GB),
            kv,
            plan,
        })
    }

    fn plan(&self, kv: &KvCacheConfig, n_ctx: u32, gpu_layers: GpuLayers) -> Result<MemoryPlan> {
        let setup = Setup {
            n_ctx,
            kv: kv.clone(),
            gpu_layers,
            margin: 0,
            ..Setup::default()
        };
        MemoryPlan::new(self.footprint, &setup, self.machine)
    }

    pub(super) fn fits(&self, judged: &Judged) -> Option<bool> {
        judged
            .headroom
            .map(|headroom| headroom >= judged.level.minimum_headroom_gb())
    }

    pub(super) fn bits(&self, judged: &Judged) -> f64 {
        round(verdict::bits(&judged.kv, &self.footprint.meta))
    }

    // ---- the pool ----

    pub(super) fn on_devices(&self) -> bool {
        !self.request.force_cpu && self.machine.devices().next().is_some()
    }

    fn gpu_layers(&self) -> GpuLayers {
        if self.on_devices() {
            GpuLayers::All
        } else {
            GpuLayers::Count(0)
        }
    }

    /// What a plan takes of the memory that levels are judged by, and what that has: the cards' own; with unified memory
    /// everything, against what the driver lets a process use; else main memory.
    fn judged_memory(&self, plan: &MemoryPlan) -> (u64, Fact<u64>) {
        let pools = self.machine.pools();
        let main = pools.iter().find(|pool| pool.pool == Pool::Main);
        let main_has = main.map_or_else(|| Fact::unknown("no main memory"), |pool| pool.capacity.clone());
        if !self.on_devices() {
            return (plan.taken(Pool::Main), main_has);
        }
        let mut required = 0;
        let mut available = Fact::Known(0_u64);
        for pool in pools.iter().filter(|pool| pool.pool != Pool::Main) {
            let unified = pool.within == Some(Pool::Main);
            required += plan.taken(if unified { Pool::Main } else { pool.pool });
            let has = match (&pool.capacity, &main_has) {
                (Fact::Known(limit), Fact::Known(free)) if unified => Fact::Known(*limit.min(free)),
                (has, _) => has.clone(),
            };
            available = match (available, has) {
                (Fact::Known(sum), Fact::Known(more)) => Fact::Known(sum + more),
                (Fact::Unknown(reason), _) | (_, Fact::Unknown(reason)) => Fact::Unknown(reason),
            };
        }
        (required, available)
    }

    /// The memory by name: the chip with unified memory, the cards, or main memory.
    pub(super) fn place(&self) -> String {
        let chip = self.machine.chip.known();
        if !self.on_devices() {
            return chip.map_or_else(|| "main memory".to_owned(), |chip| format!("{chip} (main memory)"));
        }
        let names: Vec<&str> = self.machine.devices().map(|(_, gpu)| gpu.name.as_str()).collect();
        names.join(" and ")
    }

    // ---- in words ----

    fn selection(&self, chosen: &Judged, levels: Vec<LevelPlan>) -> Selection {
        let (required, available) = self.judged_memory(&chosen.plan);
        let bits = self.bits(chosen);
        let f16 = self.plan(
            &KvCacheConfig::uniform(KvType::F16),
            self.request.n_ctx,
            self.gpu_layers(),
        );
        let weights: u64 = chosen.plan.pools.iter().map(|pool| pool.share.weights).sum();
        let kv = chosen.plan.cache.cache() + chosen.plan.cache.rotation;
        let parts_gb = PartsGb {
            weights: gb(weights),
            kv: gb(kv),
            kv_as_f16: f16.map_or(0.0, |plan: MemoryPlan| gb(plan.cache.cache())),
            other: gb(chosen.plan.total().saturating_sub(weights + kv)),
        };
        let mode = chosen.kv.layers.effective_mode(chosen.kv.v).unwrap_or(0);
        let longest_context = self.longest(chosen.level);
        let mut flags = BTreeMap::from([
            ("-ctk", chosen.kv.k.to_string()),
            ("-ctv", chosen.kv.v.to_string()),
            ("-c", self.request.n_ctx.to_string()),
        ]);
        let split = self.split(chosen);
        if let Some(n) = split {
            flags.insert("-ngl", n.to_string());
        }
        let spec = KvSpec {
            k: chosen.kv.k,
            v: chosen.kv.v,
            mode: (chosen.kv.v == KvType::Turbo2 && mode == 0).then_some(0),
        };
        Selection {
            level: chosen.level,
            bits_per_channel: bits,
            compression_ratio: round(16.0 / bits),
            quality: chosen.level.label(),
            measured_quality: measured(spec),
            reasoning: self.reasoning(chosen, &parts_gb, &available),
            context: self.request.n_ctx,
            parts_gb,
            total_required_gb: gb(required),
            available_gb: available.get().map(gb),
            headroom_gb: chosen.headroom.map(round),
            longest_context,
            env_vars: BTreeMap::from([("TURBO_LAYER_ADAPTIVE", mode.to_string())]),
            server_flags: flags,
            warnings: self.warnings(chosen, &available, longest_context, split),
            levels,
            hardware: Hardware::of(self.machine),
        }
    }

    /// Layers on devices where the flags have to say it: none with `force_cpu`, as many as fit where not all do.
    fn split(&self, chosen: &Judged) -> Option<u32> {
        if !self.on_devices() {
            return self.machine.devices().next().map(|_| 0);
        }
        if chosen.plan.fits() {
            return None;
        }
        let fits = |n: &u32| {
            let plan = self.plan(&chosen.kv, self.request.n_ctx, GpuLayers::Count(*n));
            plan.is_ok_and(|plan| plan.fits())
        };
        (0..=self.footprint.meta.n_layer).rev().find(fits)
    }

    /// The longest context with the level's headroom.
    fn longest(&self, level: Level) -> Option<u32> {
        let fits = |steps: u32| {
            let judged = self.judge(level, steps * STEP).ok()?;
            self.fits(&judged).filter(|fits| *fits)
        };
        let (mut low, mut high) = (0, i32::MAX as u32 / STEP);
        fits(1)?;
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if fits(middle).is_some() {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        let trained = self.footprint.meta.n_ctx_train;
        let longest = low * STEP;
        Some(if trained > 0 {
            longest.min(trained.max(self.request.n_ctx))
        } else {
            longest
        })
    }
}

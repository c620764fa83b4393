//! Which level fits: one plan per level, compared with what the pool has.

use super::{GB, Hardware, Level, LevelPlan, PartsGb, Request, Selection, gb, round};
use crate::choose::candidate;
use crate::choose::{NoFit, Reason, Rejected, Support, Wishes, measured, verdict};
use crate::kv::{KvCacheConfig, KvNotice, KvSpec, needs_key_guard};
use crate::machine::{Fact, Machine, Pool};
use crate::plan::{Footprint, MemoryPlan, Setup};
use crate::{GpuLayers, KvType, LayerPolicy, Result};
use std::collections::BTreeMap;

/// Below this headroom there is a warning, GB.
const TIGHT_GB: f64 = 2.0;
/// The engine rounds contexts to multiples of this.
const STEP: u32 = 256;

/// The levels of one model on one machine.
struct Judge<'a> {
    footprint: &'a Footprint,
    machine: &'a Machine,
    support: &'a Support,
    request: &'a Request,
}

/// A level that this model and its device can have.
struct Judged {
    level: Level,
    kv: KvCacheConfig,
    plan: MemoryPlan,
    required: u64,
    /// `None`: what there is is not known.
    headroom: Option<f64>,
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

    fn fits(&self, judged: &Judged) -> Option<bool> {
        judged
            .headroom
            .map(|headroom| headroom >= judged.level.minimum_headroom_gb())
    }

    fn bits(&self, judged: &Judged) -> f64 {
        round(verdict::bits(&judged.kv, &self.footprint.meta))
    }

    // ---- the pool ----

    fn on_devices(&self) -> bool {
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
    fn place(&self) -> String {
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

    fn reasoning(&self, chosen: &Judged, parts: &PartsGb, available: &Fact<u64>) -> String {
        let needs = format!(
            "{} on {}: {:.1} GB of weights, {:.2} GB of KV cache for {} tokens (f16 would take {:.2} GB) and {:.2} GB for everything else",
            chosen.level,
            self.place(),
            parts.weights,
            parts.kv,
            self.request.n_ctx,
            parts.kv_as_f16,
            parts.other
        );
        let level = chosen.level;
        match (available.get(), chosen.headroom) {
            (Some(available), Some(headroom)) if headroom >= level.minimum_headroom_gb() => format!(
                "{needs} leave {headroom:.1} of {:.1} GB free; {level} is to leave {:.1}.",
                gb(available),
                level.minimum_headroom_gb()
            ),
            (Some(available), Some(headroom)) => format!(
                "{needs} leave {headroom:.1} of {:.1} GB free, and {level} is to leave {:.1}.{}",
                gb(available),
                level.minimum_headroom_gb(),
                if self.request.prefer.is_some() {
                    " It was asked for."
                } else {
                    " No level fits; this one takes the least of what can be had."
                }
            ),
            _ => format!("{needs}; how much memory there is is not known."),
        }
    }

    fn warnings(
        &self,
        chosen: &Judged,
        available: &Fact<u64>,
        longest: Option<u32>,
        split: Option<u32>,
    ) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Fact::Unknown(reason) = available {
            warnings.push(format!(
                "available memory could not be detected ({reason}): {} is the best level, not one that is known to fit",
                chosen.level
            ));
        }
        if let Some(headroom) = chosen.headroom {
            if headroom < 0.0 {
                warnings.push(format!(
                    "OVERCOMMITTED: {:.1} GB more are needed than there are; {}",
                    -headroom,
                    self.way_out(longest)
                ));
            } else if headroom < TIGHT_GB {
                warnings.push(format!(
                    "only {headroom:.1} GB of headroom: close other programs, or {}",
                    self.way_out(longest)
                ));
            } else if self.fits(chosen) == Some(false) {
                warnings.push(format!(
                    "{headroom:.1} GB of headroom are less than the {:.1} that {} should have",
                    chosen.level.minimum_headroom_gb(),
                    chosen.level
                ));
            }
        }
        if let (Some(n), true) = (split, self.on_devices()) {
            warnings.push(format!(
                "not all layers fit the devices: -ngl {n} puts {n} of {} there and the rest on the processor, which is slower",
                self.footprint.meta.n_layer
            ));
        }
        let main = chosen.plan.pools.iter().find(|pool| pool.pool == Pool::Main);
        if let Some(missing) = main
            .and_then(|pool| chosen.plan.left(pool))
            .filter(|left| *left < 0 && self.on_devices())
        {
            warnings.push(format!("main memory lacks {:.1} GB", -(missing as f64) / GB));
        }
        if needs_key_guard(&self.footprint.meta) {
            warnings.push(format!(
                "{} breaks with a low-bit K: K stays at q8_0, so the cache takes {:.2} bits per value",
                self.footprint.meta.architecture,
                self.bits(chosen)
            ));
        }
        if let Ok(resolved) = chosen.kv.resolve(&self.footprint.meta) {
            let notices = resolved.notices.iter();
            warnings.extend(
                notices
                    .filter(|notice| matches!(notice, KvNotice::SensitiveKeys { .. }))
                    .map(KvNotice::to_string),
            );
        }
        let trained = self.footprint.meta.n_ctx_train;
        if trained > 0 && self.request.n_ctx > trained && self.footprint.meta.architecture != "unknown" {
            warnings.push(format!(
                "{} tokens are more than the {trained} that the model was trained with: answers degrade unless positions are rescaled (rope scaling)",
                self.request.n_ctx
            ));
        }
        let unchecked = self.support.unchecked(self.machine);
        if self.on_devices() && !unchecked.is_empty() {
            warnings.push(format!(
                "whether {} runs attention over this cache was not checked: it is no device of this machine",
                unchecked.join(" and ")
            ));
        }
        warnings
    }

    fn way_out(&self, longest: Option<u32>) -> String {
        match longest {
            Some(longest) if longest < self.request.n_ctx => {
                format!("take a context of at most {longest} tokens, or a smaller model")
            }
            _ => "take a smaller model or a shorter context".to_owned(),
        }
    }
}

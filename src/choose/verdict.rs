//! A choice in words: why this one, what to know about it, and why none of the others.

use super::search::{Place, Search};
use super::{Decision, LONGEST_DEFAULT_CONTEXT, Reason, gib};
use crate::kv::{KvCacheConfig, KvNotice, KvSpec};
use crate::machine::Fact;
use crate::plan::{MemoryPlan, PoolPlan};
use crate::{GpuLayers, KvType, LayerPolicy, ModelMeta};

/// What the rule came to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Outcome {
    pub(super) place: Place,
    /// The context aimed at.
    pub(super) target: u32,
    /// The longest that is chosen unasked.
    pub(super) full: u32,
    /// It was more than fits.
    pub(super) shortened: bool,
}

/// Memory that is left below this share of a pool is called tight.
const TIGHT: u64 = 20;

impl Search<'_> {
    pub(super) fn explain(&self, outcome: &Outcome) -> Decision {
        let place = &outcome.place;
        let candidate = &self.considered.possible[place.candidate];
        let kv = candidate.config(self.wishes, place.n_slots);
        Decision {
            name: candidate.name.clone(),
            n_ctx: place.n_ctx,
            n_slots: place.n_slots,
            gpu_layers: place.gpu_layers,
            quality: candidate.quality,
            bits: bits(&kv, &self.footprint.meta),
            reasons: self.reasons(outcome),
            warnings: self.warnings(&kv, outcome),
            rejected: self.rejections(place),
            plan: place.plan.clone(),
            kv,
        }
    }

    fn reasons(&self, outcome: &Outcome) -> Vec<Reason> {
        let place = &outcome.place;
        vec![
            self.why_types(place),
            self.why_context(outcome),
            self.why_layers(place),
            self.why_slots(place),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn why_types(&self, place: &Place) -> Option<Reason> {
        let candidate = &self.considered.possible[place.candidate];
        let measured = candidate.quality.map_or_else(
            || "its quality was not measured here".to_owned(),
            |quality| {
                format!(
                    "measured divergence {:.4}, same most probable token {:.1} %",
                    quality.mean_kl, quality.same_top
                )
            },
        );
        let cache = gib(place.plan.cache.total());
        let name = &candidate.name;
        let asked = self.wishes.k.is_some() && self.wishes.v.is_some()
            || matches!(self.wishes.layers, Some(LayerPolicy::PerLayer(_)));
        Some(if asked {
            Reason::new(
                "asked",
                format!("{name}, as asked: the cache takes {cache} ({measured})."),
            )
        } else if place.candidate < self.considered.standard {
            let standard = &self.considered.possible[self.considered.standard].name;
            Reason::new(
                "ample",
                format!(
                    "{name}: there is memory to spare. Its cache takes {cache}; {standard} would give back next to nothing ({measured})."
                ),
            )
        } else if place.candidate == self.considered.standard {
            Reason::new("fits", format!("{name}: {measured}, and its cache takes only {cache}."))
        } else {
            Reason::new(
                "fits",
                format!(
                    "{name}: the best quality at which {} tokens fit; the cache takes {cache} ({measured}).",
                    place.n_ctx
                ),
            )
        })
    }

    fn why_context(&self, outcome: &Outcome) -> Option<Reason> {
        let n_ctx = outcome.place.n_ctx;
        let trained = self.trained();
        Some(if outcome.shortened && self.wishes.n_ctx.is_some() {
            Reason::new(
                "context_shortened",
                format!(
                    "{n_ctx} tokens instead of the {} asked for: more do not fit, even with this cache, which takes the least of those allowed.",
                    outcome.target
                ),
            )
        } else if self.wishes.n_ctx.is_some() {
            Reason::new("asked", format!("{n_ctx} tokens, as asked."))
        } else if outcome.shortened || n_ctx < outcome.full {
            Reason::new(
                "context",
                format!(
                    "{n_ctx} tokens: more do not fit without giving up more quality than a context is worth that nobody asked for."
                ),
            )
        } else if trained == Some(n_ctx) {
            Reason::new(
                "context",
                format!("{n_ctx} tokens: all that the model was trained with."),
            )
        } else if n_ctx == LONGEST_DEFAULT_CONTEXT {
            let trained = trained.unwrap_or_default();
            Reason::new(
                "context",
                format!("{n_ctx} tokens; the model was trained with {trained}: ask for more with -c N."),
            )
        } else {
            Reason::new(
                "context",
                format!("{n_ctx} tokens; the file does not say what the model was trained with."),
            )
        })
    }

    fn why_layers(&self, place: &Place) -> Option<Reason> {
        let n_layer = self.footprint.meta.n_layer;
        let devices: Vec<&str> = self
            .machine
            .devices()
            .filter_map(|(_, gpu)| gpu.device.as_deref())
            .collect();
        let devices = devices.join(" and ");
        match (place.gpu_layers, self.wishes.gpu_layers) {
            _ if devices.is_empty() => None,
            (_, Some(GpuLayers::Count(0))) => Some(Reason::new("asked", "all layers on the processor, as asked.")),
            (_, Some(_)) => Some(Reason::new("asked", format!("layers on {devices} as asked."))),
            (GpuLayers::All, None) => Some(Reason::new(
                "fits",
                format!("all {n_layer} layers with their cache on {devices}."),
            )),
            (GpuLayers::Count(n), None) => Some(Reason::new(
                "split",
                format!(
                    "{n} of {n_layer} layers on {devices}, as many as fit with their cache; the other {} run on the processor, which is slower.",
                    n_layer - n.min(n_layer)
                ),
            )),
        }
    }

    fn why_slots(&self, place: &Place) -> Option<Reason> {
        let n = place.n_slots;
        (n > 1).then(|| {
            let asked = if self.wishes.n_slots.is_some() {
                ", as asked"
            } else {
                ""
            };
            Reason::new(
                "slots",
                format!("{n} slots{asked}: they share all {} tokens.", place.n_ctx),
            )
        })
    }

    fn warnings(&self, kv: &KvCacheConfig, outcome: &Outcome) -> Vec<Reason> {
        let place = &outcome.place;
        let mut warnings = Vec::new();
        if let Some(trained) = self.trained().filter(|trained| place.n_ctx > *trained) {
            warnings.push(Reason::new(
                "rope",
                format!(
                    "{} tokens are more than the {trained} that the model was trained with: answers degrade beyond that unless positions are \
                     rescaled (rope scaling, for instance YaRN, if the model's makers give a factor for it).",
                    place.n_ctx
                ),
            ));
        }
        let resolved = kv.resolve(&self.footprint.meta).ok();
        for notice in resolved.into_iter().flat_map(|resolved| resolved.notices) {
            let code = match notice {
                KvNotice::SensitiveKeys { .. } => "sensitive_keys",
                KvNotice::DefaultMode { .. } => "default_mode",
                _ => "guard",
            };
            warnings.push(Reason::new(code, notice.to_string()));
        }
        let unchecked = self.support.unchecked(self.machine);
        if !unchecked.is_empty() && place.gpu_layers != GpuLayers::Count(0) {
            warnings.push(Reason::new(
                "unchecked_device",
                format!(
                    "whether {} runs attention over this cache was not checked: it is no device of this machine.",
                    unchecked.join(" and ")
                ),
            ));
        }
        warnings.extend(self.wired_limit(place));
        for pool in &place.plan.pools {
            match &pool.capacity {
                Fact::Unknown(reason) => warnings.push(Reason::new(
                    "unknown_memory",
                    format!(
                        "how much memory {} has is not known ({reason}); nothing here is checked against it.",
                        pool.name
                    ),
                )),
                Fact::Known(capacity) => warnings.extend(tight(&place.plan, pool, *capacity)),
            }
        }
        warnings
    }

    /// On a Mac the driver's limit, not memory, may be what splits a model, and it can be raised.
    fn wired_limit(&self, place: &Place) -> Option<Reason> {
        let split = matches!(place.gpu_layers, GpuLayers::Count(1..)) && self.wishes.gpu_layers.is_none();
        if !split || self.machine.os != "macos" {
            return None;
        }
        let whole = self
            .plan(place.candidate, place.n_ctx, place.n_slots, GpuLayers::All)?
            .plan;
        let short = whole
            .pools
            .iter()
            .find(|pool| whole.left(pool).is_some_and(|left| left < 0))?;
        let main_has_room = short.within.is_some()
            && whole
                .pools
                .iter()
                .all(|pool| pool.pool == short.pool || whole.left(pool).is_none_or(|left| left >= 0));
        let mib = whole.taken(short.pool).saturating_add(self.margin).div_ceil(1 << 20);
        main_has_room.then(|| {
            Reason::new(
                "wired_limit",
                format!(
                    "macOS keeps the graphics processor to {} of memory; `sudo sysctl iogpu.wired_limit_mb={mib}` lets it hold all layers until the \
                     next start.",
                    gib(short.capacity.get().unwrap_or(0))
                ),
            )
        })
    }
}

fn tight(plan: &MemoryPlan, pool: &PoolPlan, capacity: u64) -> Option<Reason> {
    let left = capacity.saturating_sub(plan.taken(pool.pool));
    (left < capacity / TIGHT).then(|| {
        Reason::new(
            "tight",
            format!(
                "only {} of {} stay free; close other programs before a long conversation.",
                gib(left),
                pool.name
            ),
        )
    })
}

/// Bits per cached value over all layers; the types' own where no layer has a cache.
pub(super) fn bits(kv: &KvCacheConfig, meta: &ModelMeta) -> f64 {
    let Ok(resolved) = kv.resolve(meta) else {
        return f64::NAN;
    };
    let (mut bytes, mut values) = (0_u64, 0_u64);
    for types in &resolved.layers {
        let layer = &meta.layers[types.layer];
        let mut side = |ty: KvType, head_dim: u32| {
            let n = u64::from(layer.n_head_kv) * u64::from(head_dim);
            bytes += ty.layout(head_dim).map_or(0, |layout| layout.row_bytes(n));
            values += n;
        };
        side(types.k, layer.head_dim_k);
        if !meta.mla {
            side(types.v, layer.head_dim_v);
        }
    }
    if values == 0 {
        let spec = KvSpec {
            k: kv.k,
            v: kv.v,
            mode: None,
        };
        return (spec.k.bits_per_value() + spec.v.bits_per_value()) / 2.0;
    }
    bytes as f64 * 8.0 / values as f64
}

impl Decision {
    /// The choice in one line.
    pub fn summary(&self) -> String {
        let layers = match self.gpu_layers {
            GpuLayers::Count(0) => "on the processor".to_owned(),
            GpuLayers::All => "all layers on the devices".to_owned(),
            GpuLayers::Count(n) => format!("{n} layers on the devices"),
        };
        let slots = if self.n_slots == 1 {
            String::new()
        } else {
            format!(", {} slots", self.n_slots)
        };
        format!(
            "{} ({:.3} bits), {} tokens{slots}, {layers}: {}",
            self.name,
            self.bits,
            self.n_ctx,
            gib(self.plan.total())
        )
    }
}

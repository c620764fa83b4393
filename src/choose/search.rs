//! The rule: context first, then whether the whole model stays on the devices, then quality, then what is ample.

use super::candidate::Considered;
use super::verdict::Outcome;
use super::wishes::Wished;
use super::{
    AMPLE, Advice, BASE_CONTEXT, DEFAULT_SLOTS, Decision, LONGEST_DEFAULT_CONTEXT, NoFit, Support, Wishes,
    default_margin, margin_for,
};
use crate::GpuLayers;
use crate::machine::{Fact, Machine, Pool};
use crate::plan::{Footprint, MemoryPlan, PoolPlan, Setup};

/// A context that nobody asked for is not this much longer where memory is unknown.
const CAUTIOUS_CONTEXT: u32 = 8192;
/// The engine rounds contexts to multiples of this.
const STEP: u32 = 256;
/// Nothing below turbo3 is taken only to keep all layers on the devices.
const LEAST_WHOLE: &str = "turbo3";

/// One decision being made.
pub(super) struct Search<'a> {
    pub(super) footprint: &'a Footprint,
    pub(super) machine: &'a Machine,
    pub(super) support: &'a Support,
    pub(super) wishes: &'a Wishes,
    pub(super) wished: Wished,
    pub(super) considered: Considered,
    pub(super) margin: u64,
}

/// A configuration that fits.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Place {
    pub(super) candidate: usize,
    pub(super) n_ctx: u32,
    pub(super) n_slots: u32,
    pub(super) gpu_layers: GpuLayers,
    pub(super) plan: MemoryPlan,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        footprint: &'a Footprint,
        machine: &'a Machine,
        support: &'a Support,
        wishes: &'a Wishes,
        wished: Wished,
        considered: Considered,
    ) -> Self {
        Self {
            footprint,
            machine,
            support,
            wishes,
            wished,
            considered,
            margin: wishes.margin.unwrap_or_else(|| default_margin(footprint)),
        }
    }

    /// Applies the rule.
    pub(super) fn decide(self) -> Result<Decision, NoFit> {
        let (target, shortened, place) = self.place()?;
        let full = self.full_context();
        let mut place = place;
        if self.wishes.n_ctx.is_none() && !shortened && place.candidate == self.considered.standard {
            place = self.lengthen(place, full);
        }
        let ample = place.n_ctx >= target.max(if self.wishes.n_ctx.is_none() { full } else { 0 });
        if ample && place.candidate == self.considered.standard {
            place = self.upgrade(place);
        }
        let place = self.more_slots(place);
        Ok(self.explain(&Outcome {
            place,
            target,
            full,
            shortened,
        }))
    }

    /// The context aimed at, whether it had to be shortened, and the best quality for it.
    fn place(&self) -> Result<(u32, bool, Place), NoFit> {
        let target = self.wishes.n_ctx.unwrap_or_else(|| self.base_context());
        if let Some(place) = self.best_at(target) {
            return Ok((target, false, place));
        }
        match self.longest(target) {
            Some(place) if place.n_ctx >= self.wished.min_ctx => Ok((target, true, place)),
            shorter => Err(NoFit::Memory(Box::new(self.advice(shorter)))),
        }
    }

    /// The best quality at which `n_ctx` fits: on the devices as a whole if some good one does, else split.
    fn best_at(&self, n_ctx: u32) -> Option<Place> {
        let from = self.considered.standard;
        let candidates = from..self.considered.possible.len();
        if self.splits() {
            let whole = candidates.clone().filter(|&c| self.good_enough(c));
            if let Some(place) = whole.into_iter().find_map(|c| self.fits(c, n_ctx, GpuLayers::All)) {
                return Some(place);
            }
        }
        candidates.into_iter().find_map(|c| self.most_layers(c, n_ctx))
    }

    /// The longest context below `target` with what takes least, of equals the best.
    fn longest(&self, target: u32) -> Option<Place> {
        let n_slots = self.wishes.n_slots.unwrap_or(1);
        let bytes = |c: &usize| {
            self.plan(*c, target, n_slots, self.only_or_all())
                .map_or(u64::MAX, |place| place.plan.cache.total())
        };
        let smallest = (self.considered.standard..self.considered.possible.len()).min_by_key(bytes)?;
        self.longest_with(target, |n_ctx| self.most_layers(smallest, n_ctx))
    }

    /// The same quality with as much context as fits up to `full`, on the same devices.
    fn lengthen(&self, place: Place, full: u32) -> Place {
        if place.n_ctx >= full || self.unknown_memory(&place.plan) {
            return place;
        }
        let fits = |n_ctx| self.fits(place.candidate, n_ctx, place.gpu_layers);
        if let Some(longer) = fits(full) {
            return longer;
        }
        let longest = self.longest_with(full, fits);
        longest.filter(|longer| longer.n_ctx > place.n_ctx).unwrap_or(place)
    }

    /// Better quality where it is next to free: where it takes no more, or memory is ample and attention is no slower.
    fn upgrade(&self, place: Place) -> Place {
        if self.unknown_memory(&place.plan) {
            return place;
        }
        (0..self.considered.standard)
            .filter_map(|c| self.fits(c, place.n_ctx, place.gpu_layers))
            .find(|better| self.is_justified(better, &place))
            .unwrap_or(place)
    }

    /// Whether a better cache is worth what it takes.
    pub(super) fn is_justified(&self, better: &Place, standard: &Place) -> bool {
        // what grows with the context: rotations, which do not, decide nothing about a cache of a few tokens
        better.plan.cache.cache() <= standard.plan.cache.cache()
            || (is_ample(&better.plan) && !self.is_slower(better.candidate, &better.plan))
    }

    /// Whether attention over this cache is slower than over the standard one, where it would run. On the CPU by measurement. On
    /// devices f16, q8_0 and the pairs with turbo4 count as no slower, because there upstream's own kernels, or ours with less to
    /// decode, do the work; what was measured nowhere counts as slower everywhere.
    pub(super) fn is_slower(&self, candidate: usize, plan: &MemoryPlan) -> bool {
        let main = plan.pools.iter().find(|pool| pool.pool == Pool::Main);
        let on_cpu = main.is_some_and(|pool| pool.share.kv > 0);
        let possible = &self.considered.possible;
        match (
            possible[candidate].cpu_speed,
            possible[self.considered.standard].cpu_speed,
        ) {
            (Some(speed), Some(standard)) => on_cpu && speed < standard,
            (Some(_), None) => on_cpu,
            (None, _) => true,
        }
    }

    /// More sequences over the same cells, where nothing is said and they fit.
    fn more_slots(&self, place: Place) -> Place {
        if self.wishes.n_slots.is_some() || self.unknown_memory(&place.plan) {
            return place;
        }
        self.plan(place.candidate, place.n_ctx, DEFAULT_SLOTS, place.gpu_layers)
            .filter(|wider| wider.plan.fits())
            .unwrap_or(place)
    }

    // ---- what fits ----

    /// What a configuration takes; `None` where the model cannot have it.
    pub(super) fn plan(&self, candidate: usize, n_ctx: u32, n_slots: u32, gpu_layers: GpuLayers) -> Option<Place> {
        let setup = Setup {
            n_ctx,
            n_slots,
            n_ubatch: self.wished.n_ubatch,
            kv: self.considered.possible[candidate].config(self.wishes, n_slots),
            gpu_layers,
            margin: self.margin,
            n_outputs: n_slots,
            ..Setup::default()
        };
        let plan = MemoryPlan::new(self.footprint, &setup, self.machine).ok()?;
        Some(Place {
            candidate,
            n_ctx,
            n_slots,
            gpu_layers,
            plan,
        })
    }

    fn unknown_memory(&self, plan: &MemoryPlan) -> bool {
        plan.pools.iter().any(|pool| matches!(pool.capacity, Fact::Unknown(_)))
    }

    pub(super) fn fits(&self, candidate: usize, n_ctx: u32, gpu_layers: GpuLayers) -> Option<Place> {
        let n_slots = self.wishes.n_slots.unwrap_or(1);
        self.plan(candidate, n_ctx, n_slots, gpu_layers)
            .filter(|place| place.plan.fits())
    }

    /// With as many layers on devices as fit, or as many as were asked for.
    pub(super) fn most_layers(&self, candidate: usize, n_ctx: u32) -> Option<Place> {
        if !self.splits() {
            return self.fits(candidate, n_ctx, self.only_layers());
        }
        if let Some(whole) = self.fits(candidate, n_ctx, GpuLayers::All) {
            return Some(whole);
        }
        // with more layers there the devices only get fuller, and main memory emptier
        let n_slots = self.wishes.n_slots.unwrap_or(1);
        let fits_devices = |n: u32| {
            let place = self.plan(candidate, n_ctx, n_slots, GpuLayers::Count(n));
            place.is_some_and(|place| {
                let devices = place.plan.pools.iter().filter(|pool| pool.pool != Pool::Main);
                devices
                    .into_iter()
                    .all(|pool| place.plan.left(pool).is_none_or(|left| left >= 0))
            })
        };
        let (mut low, mut high) = (0, self.footprint.meta.n_layer);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if fits_devices(middle) {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        self.fits(candidate, n_ctx, GpuLayers::Count(low))
    }

    /// The longest context up to `most` that `fits`, in the engine's steps.
    fn longest_with(&self, most: u32, fits: impl Fn(u32) -> Option<Place>) -> Option<Place> {
        let (mut low, mut high) = (0, most / STEP); // `low` steps fit, what is above `high` is not wanted or does not
        let mut found = None;
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            match fits(middle * STEP) {
                Some(place) => {
                    found = Some(place);
                    low = middle;
                }
                None => high = middle - 1,
            }
        }
        found
    }

    /// Whether layers may be spread: there is a device, and nobody said how many.
    pub(super) fn splits(&self) -> bool {
        self.wishes.gpu_layers.is_none() && self.machine.devices().next().is_some()
    }

    fn only_layers(&self) -> GpuLayers {
        match self.wishes.gpu_layers {
            Some(layers) => layers,
            None => GpuLayers::Count(0),
        }
    }

    fn good_enough(&self, candidate: usize) -> bool {
        let least = LEAST_WHOLE.parse().ok().and_then(super::measured);
        self.wishes.floor.is_some()
            || candidate == self.considered.standard
            || least.is_none_or(|least| self.considered.possible[candidate].rank <= least.mean_kl)
    }

    // ---- contexts ----

    /// What the model was trained with, if the file says so.
    pub(super) fn trained(&self) -> Option<u32> {
        Some(self.footprint.meta.n_ctx_train).filter(|n| *n > 0)
    }

    /// The longest context that is chosen unasked.
    pub(super) fn full_context(&self) -> u32 {
        self.trained()
            .unwrap_or(BASE_CONTEXT)
            .min(LONGEST_DEFAULT_CONTEXT)
            .max(self.wished.min_ctx)
    }

    /// The context that comes before quality, where none is asked for.
    fn base_context(&self) -> u32 {
        let probe = self.plan(self.considered.standard, STEP, 1, self.only_or_all());
        let cautious = probe.is_some_and(|place| self.unknown_memory(&place.plan));
        let base = if cautious { CAUTIOUS_CONTEXT } else { BASE_CONTEXT };
        self.full_context().min(base.max(self.wished.min_ctx))
    }

    fn only_or_all(&self) -> GpuLayers {
        if self.splits() {
            GpuLayers::All
        } else {
            self.only_layers()
        }
    }

    // ---- what would fit ----

    fn advice(&self, longest: Option<Place>) -> Advice {
        let context = self.wished.min_ctx;
        let n_slots = self.wishes.n_slots.unwrap_or(1);
        let gpu_layers = self.smallest_layers();
        let plans = (self.considered.standard..self.considered.possible.len())
            .filter_map(|c| self.plan(c, context, n_slots, gpu_layers));
        let smallest = plans.min_by_key(|place| place.plan.cache.total());
        let short = smallest
            .as_ref()
            .map(|place| self.short_pool(&place.plan))
            .unwrap_or_default();
        Advice {
            tried: smallest.map_or_else(String::new, |place| {
                format!(
                    "{} with {context} tokens",
                    self.considered.possible[place.candidate].name
                )
            }),
            need: short.need,
            capacity: short.capacity,
            weights_that_fit: self.weights_that_fit(&short),
            pool: short.name,
            context,
            longest: longest.map(|place| place.n_ctx),
            rejected: self.all_too_large(context, n_slots, gpu_layers),
        }
    }

    /// What weights may take, with what is kept free for weights of that size.
    fn weights_that_fit(&self, short: &Short) -> u64 {
        let rest = short.need - short.weights - self.margin * short.pools;
        let room = short.capacity.saturating_sub(rest);
        let margin = |weights: u64| self.wishes.margin.unwrap_or_else(|| margin_for(weights)) * short.pools;
        // what is kept free shrinks more slowly than the weights, so this converges from above
        (0..16).fold(room, |weights, _| room.saturating_sub(margin(weights)))
    }

    /// The memory that does not suffice: of all pools together where layers may be spread, else the tightest.
    fn short_pool(&self, plan: &MemoryPlan) -> Short {
        let of = |pool: &PoolPlan| Short {
            name: pool.name.clone(),
            need: plan.taken(pool.pool).saturating_add(self.margin),
            weights: pool.share.weights,
            capacity: pool.capacity.get().unwrap_or(0),
            pools: 1,
        };
        if !self.splits() {
            return plan.tightest().map(of).unwrap_or_default();
        }
        // memory of a device that lies within main memory is there once
        let pools = self.machine.pools();
        let own: Vec<_> = pools.iter().filter(|pool| pool.within.is_none()).collect();
        Short {
            name: own
                .iter()
                .map(|pool| pool.name.as_str())
                .collect::<Vec<_>>()
                .join(" and "),
            need: plan.total().saturating_add(self.margin * own.len() as u64),
            weights: plan.pools.iter().map(|pool| pool.share.weights).sum(),
            capacity: own.iter().filter_map(|pool| pool.capacity.get()).sum(),
            pools: own.len() as u64,
        }
    }

    /// The split that the smallest configuration is judged by: all in main memory, where that is allowed.
    fn smallest_layers(&self) -> GpuLayers {
        if self.splits() {
            GpuLayers::Count(0)
        } else {
            self.only_layers()
        }
    }
}

/// Memory that does not suffice.
#[derive(Debug, Default)]
struct Short {
    name: String,
    need: u64,
    weights: u64,
    capacity: u64,
    /// How many pools that is: each keeps something free.
    pools: u64,
}

/// A cache that takes so little that a smaller one would free next to nothing.
pub(super) fn is_ample(plan: &MemoryPlan) -> bool {
    plan.pools
        .iter()
        .all(|pool| pool.capacity.get().is_some_and(|bytes| pool.share.kv <= bytes / AMPLE))
}

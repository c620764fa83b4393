//! Why none of the others.

use super::search::{Place, Search, is_ample};
use super::{AMPLE, Reason, Rejected, gib};
use crate::GpuLayers;
use crate::plan::MemoryPlan;

impl Search<'_> {
    pub(super) fn rejections(&self, chosen: &Place) -> Vec<Rejected> {
        let possible = self.considered.possible.iter().enumerate();
        let mut all: Vec<(bool, f64, Rejected)> = possible
            .filter(|(number, _)| *number != chosen.candidate)
            .map(|(number, candidate)| {
                (
                    candidate.sensitive,
                    candidate.rank,
                    candidate.rejected(self.why_not(number, chosen)),
                )
            })
            .collect();
        let ruled_out = self.considered.rejected.iter();
        all.extend(
            ruled_out
                .map(|(candidate, reason)| (candidate.sensitive, candidate.rank, candidate.rejected(reason.clone()))),
        );
        all.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        all.into_iter().map(|(.., rejected)| rejected).collect()
    }

    /// Why there is no choice.
    pub(super) fn all_too_large(&self, n_ctx: u32, n_slots: u32, gpu_layers: GpuLayers) -> Vec<Rejected> {
        let mut all: Vec<(f64, Rejected)> = Vec::new();
        for (number, candidate) in self.considered.possible.iter().enumerate() {
            let plan = self.plan(number, n_ctx, n_slots, gpu_layers).map(|place| place.plan);
            let short = plan.and_then(|plan| self.shortage(&plan));
            let text = format!(
                "does not fit with {n_ctx} tokens: {}",
                short
                    .as_deref()
                    .unwrap_or("the devices and main memory are too small together")
            );
            all.push((candidate.rank, candidate.rejected(Reason::new("memory", text))));
        }
        let ruled_out = self.considered.rejected.iter();
        all.extend(ruled_out.map(|(candidate, reason)| (candidate.rank, candidate.rejected(reason.clone()))));
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        all.into_iter().map(|(_, rejected)| rejected).collect()
    }

    /// Why a possible cache was not chosen, at the context that was.
    pub(super) fn why_not(&self, number: usize, chosen: &Place) -> Reason {
        let cache = chosen.plan.cache.total();
        let Some(other) = self.plan(number, chosen.n_ctx, chosen.n_slots, chosen.gpu_layers) else {
            return Reason::new("model", "this model cannot have it");
        };
        let bytes = other.plan.cache.total();
        if number > chosen.candidate {
            return if bytes >= cache {
                Reason::new(
                    "larger",
                    format!(
                        "takes {}, no less than the {} of the choice, and is worse",
                        gib(bytes),
                        gib(cache)
                    ),
                )
            } else {
                Reason::new(
                    "worse",
                    format!(
                        "would take {} less, which is not needed, at a lower quality",
                        gib(cache - bytes)
                    ),
                )
            };
        }
        if let Some(short) = self.shortage(&other.plan) {
            return self.memory(number, chosen, &short);
        }
        if number < self.considered.standard && !is_ample(&other.plan) {
            return Reason::new(
                "ample",
                format!(
                    "would fit, but its cache of {} is more than a {AMPLE}th of the memory, {} more than the choice, for a difference in quality \
                     that is hard to see",
                    gib(bytes),
                    gib(bytes.saturating_sub(cache))
                ),
            );
        }
        if self.is_slower(number, &other.plan) {
            return Reason::new(
                "slower",
                "would fit, but attention over it was measured to be slower, or was not measured where it would run",
            );
        }
        self.memory(number, chosen, "the cache and the model together")
    }

    fn memory(&self, number: usize, chosen: &Place, short: &str) -> Reason {
        match self.most_layers(number, chosen.n_ctx) {
            Some(Place {
                gpu_layers: GpuLayers::Count(n),
                ..
            }) if self.splits() => Reason::new(
                "split",
                format!(
                    "would leave room for only {n} of {} layers on the devices: {short}",
                    self.footprint.meta.n_layer
                ),
            ),
            _ => Reason::new("memory", format!("does not fit with {} tokens: {short}", chosen.n_ctx)),
        }
    }

    /// The pool that is too small, in words.
    fn shortage(&self, plan: &MemoryPlan) -> Option<String> {
        let pool = plan.tightest().filter(|_| !plan.fits())?;
        let need = plan.taken(pool.pool).saturating_add(plan.margin);
        Some(format!(
            "{} has {}, and {} are needed with what is kept free",
            pool.name,
            gib(pool.capacity.get().unwrap_or(0)),
            gib(need)
        ))
    }
}

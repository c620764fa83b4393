//! A selection in words.

use super::judge::{Judge, Judged};
use super::{GB, PartsGb, gb};
use crate::kv::{KvNotice, needs_key_guard};
use crate::machine::{Fact, Pool};

/// Below this headroom there is a warning, GB.
const TIGHT_GB: f64 = 2.0;

impl Judge<'_> {
    pub(super) fn reasoning(&self, chosen: &Judged, parts: &PartsGb, available: &Fact<u64>) -> String {
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
            (Some(available), Some(headroom)) => {
                let why = if self.request.prefer.is_some() {
                    "It was asked for."
                } else {
                    "No level fits; this one takes the least of what can be had."
                };
                let available = gb(available);
                if headroom < 0.0 {
                    format!(
                        "{needs} are {:.1} GB more than the {available:.1} GB there are. {why}",
                        -headroom
                    )
                } else {
                    let wants = level.minimum_headroom_gb();
                    format!(
                        "{needs} leave {headroom:.1} of {available:.1} GB free, and {level} is to leave {wants:.1}. {why}"
                    )
                }
            }
            _ => format!("{needs}; how much memory there is is not known."),
        }
    }

    pub(super) fn warnings(
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

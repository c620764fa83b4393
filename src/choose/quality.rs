//! What each KV cache was measured to cost in quality and to gain in speed: the one table that decisions rest on.

use crate::KvType;
use crate::kv::KvSpec;
use serde::Serialize;

/// How far answers with a cache are from answers with f16, by measurement.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quality {
    /// Mean KL divergence from the f16 cache, nats per token.
    pub mean_kl: f64,
    /// Tokens for which both caches have the same most probable one, percent.
    pub same_top: f64,
    /// Where the figures are from, a file of this repository.
    pub source: &'static str,
}

/// A cache of the table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Row {
    pub(super) spec: KvSpec,
    pub(super) quality: Quality,
    /// Generation at 4096 tokens against f16 on a CPU with our kernels, where it was measured.
    pub(super) cpu_speed: Option<f64>,
}

const MEASURED: &str = "docs/results/2026-11-21-measuring.md";
const CHOOSING: &str = "docs/results/2026-11-21-choosing.md";

const fn row(
    (k, v, mode): (KvType, KvType, Option<u8>),
    mean_kl: f64,
    same_top: f64,
    source: &'static str,
    cpu_speed: Option<f64>,
) -> Row {
    Row {
        spec: KvSpec { k, v, mode },
        quality: Quality {
            mean_kl,
            same_top,
            source,
        },
        cpu_speed,
    }
}

/// Best quality first. Divergence and same-top: the embedded model, 160 chunks of 512 tokens, computed in batches. Speed:
/// docs/results/2026-11-21-attention.md, column "tg64 @ 4096" of the first table. Figures that differ by less than a tenth are equal
/// within the error of the measurement; the order between them is then of no consequence.
///
/// Not in it, although measured: turbo4 with mode 7 (5.22 bits, .0022), which q5_0 and q8_0/turbo4 frame, and every other
/// mode, because what a mode costs depends on how many layers a model has.
pub(super) const TABLE: [Row; 15] = {
    use KvType::{F16, Q4_0, Q5_0, Q8_0, Turbo2, Turbo3, Turbo4};
    [
        row((F16, F16, None), 0.0, 100.0, MEASURED, Some(1.0)),
        row((Q8_0, Q8_0, None), 0.000_140_1, 98.88, MEASURED, Some(3.64)),
        row((Q5_0, Q5_0, None), 0.001_097_3, 97.77, MEASURED, None),
        row((Q8_0, Turbo4, None), 0.001_809_5, 97.27, MEASURED, Some(4.52)),
        row((F16, Turbo4, None), 0.001_815_4, 97.34, CHOOSING, None),
        row((Turbo4, Turbo4, None), 0.003_387_1, 96.42, MEASURED, Some(5.74)),
        row((Q4_0, Q4_0, None), 0.004_066_6, 96.27, MEASURED, None),
        row((Q8_0, Turbo3, None), 0.007_148, 95.14, MEASURED, None),
        row((F16, Turbo3, None), 0.007_232_1, 95.22, CHOOSING, None),
        row((Turbo4, Turbo3, None), 0.008_707_8, 94.64, MEASURED, None),
        row((Turbo3, Turbo3, None), 0.013_669, 93.32, MEASURED, Some(5.53)),
        row((Q8_0, Turbo2, Some(0)), 0.028_131_2, 90.82, CHOOSING, None),
        row((F16, Turbo2, Some(0)), 0.028_165_1, 90.82, CHOOSING, None),
        row((Turbo2, Turbo2, None), 0.033_980_2, 90.2, MEASURED, None),
        row((Turbo2, Turbo2, Some(0)), 0.055_813, 87.41, MEASURED, Some(6.18)),
    ]
};

/// What was measured of this cache, if it was.
pub fn measured(spec: KvSpec) -> Option<Quality> {
    TABLE.iter().find(|row| row.spec == spec).map(|row| row.quality)
}

/// What was measured of the same type for K and V; `None` for types that were not.
pub(super) fn of_type(ty: KvType) -> Option<Quality> {
    measured(KvSpec {
        k: ty,
        v: ty,
        mode: None,
    })
}

/// The types a floor can name, best first.
pub(super) fn floors() -> impl Iterator<Item = KvType> {
    TABLE
        .iter()
        .filter(|row| row.spec.k == row.spec.v && row.spec.mode.is_none())
        .map(|row| row.spec.k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_the_measured_divergence() {
        for pair in TABLE.windows(2) {
            assert!(
                pair[0].quality.mean_kl < pair[1].quality.mean_kl,
                "{} before {}",
                pair[0].spec,
                pair[1].spec
            );
        }
    }

    #[test]
    fn a_cache_without_a_measurement_has_no_figure() {
        assert!(measured("q5_1".parse().unwrap()).is_none());
        assert_eq!(measured("turbo4".parse().unwrap()).unwrap().same_top, 96.42);
    }

    #[test]
    fn a_floor_is_a_type_that_was_measured_for_both_sides() {
        let names: Vec<&str> = floors().map(KvType::name).collect();
        assert_eq!(names, ["f16", "q8_0", "q5_0", "turbo4", "q4_0", "turbo3", "turbo2"]);
    }
}

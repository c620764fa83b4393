//! What the caches of a trained model of 8 layers must hold at 512 tokens, against f16: the acceptance of the codec.

use super::results::Results;
use llama_turboquant::measure::Mode;
use llama_turboquant::measure::gate::QualityBar;
use serde::Serialize;

/// What turbo4 is to beat at fewer bits: the engine's own rotated type.
pub const RIVALS: (&str, &str) = ("turbo4", "q4_0");

/// A bar, and whether a cache met it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    pub cache: String,
    pub mode: Mode,
    /// Most mean divergence.
    pub kl_at_most: Option<f64>,
    pub kl: f64,
    /// Least share of the same most probable token.
    pub same_top_at_least: Option<f64>,
    pub same_top: f64,
    pub met: bool,
    /// What to know about it.
    pub remark: Option<String>,
}

/// Judges what was measured.
pub fn judge(results: &Results) -> Vec<Verdict> {
    let floor = results.floor.as_ref().map(super::results::ArmResult::mean_kl);
    let mut verdicts = Vec::new();
    for arm in &results.arms {
        let Some(bar) = arm.cache.parse().ok().and_then(QualityBar::of) else {
            continue;
        };
        let (kl, same_top) = (arm.mean_kl(), arm.top());
        verdicts.push(Verdict {
            cache: arm.cache.clone(),
            mode: arm.mode,
            kl_at_most: bar.kl,
            kl,
            same_top_at_least: bar.same_top,
            same_top,
            met: bar.kl.is_none_or(|most| kl <= most) && bar.same_top.is_none_or(|least| same_top >= least),
            remark: below_floor(bar.kl, floor),
        });
    }
    let (cache, rival) = RIVALS;
    for mode in [Mode::Batched, Mode::Decode] {
        if let (Some(arm), Some(rival_arm)) = (results.arm(cache, mode), results.arm(rival, mode)) {
            verdicts.push(Verdict {
                cache: cache.into(),
                mode,
                kl_at_most: Some(rival_arm.mean_kl()),
                kl: arm.mean_kl(),
                same_top_at_least: None,
                same_top: arm.top(),
                met: arm.mean_kl() <= rival_arm.mean_kl(),
                remark: Some(format!("the bar is {rival}'s divergence in this run")),
            });
        }
    }
    verdicts
}

fn below_floor(bar: Option<f64>, floor: Option<f64>) -> Option<String> {
    match (bar, floor) {
        (Some(bar), Some(floor)) if bar < floor => Some(format!(
            "the bar is below the noise floor ({:.4}e-3): two ways to compute f16 differ by more",
            1000.0 * floor
        )),
        (Some(_), None) => Some("the noise floor was not measured".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_below_the_noise_is_said() {
        assert!(below_floor(Some(5e-5), Some(9e-5)).unwrap().contains("0.0900e-3"));
        assert_eq!(below_floor(Some(0.0037), Some(9e-5)), None);
        assert!(below_floor(Some(0.0037), None).unwrap().contains("not measured"));
        assert_eq!(below_floor(None, Some(9e-5)), None);
    }
}

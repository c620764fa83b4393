//! Which bits go where: types for each side of each layer under a mean number of bits per value. Pure arithmetic.
//!
//! The divergence that a noise in one place causes grows with the variance of the noise (its first derivative vanishes where
//! there is none), so a place measured with one type is extrapolated to others by the ratio of their errors. Divergences of
//! several places are added, which is a model too; `turboquant sensitivity` measures the map it makes and says how far off
//! the sum was. The choice is that of Shoham and Gersho, "Efficient bit allocation for an arbitrary set of quantizers"
//! (1988): along each place's convex hull of divergence over bits, the step that gains most per bit goes first.

use crate::KvType;

/// A place that can have any of the types.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// Values that a token adds there: the weight of its bits.
    pub values: u64,
    /// Divergence that a relative error of 1 would cause, by extrapolation: measured divergence over the probe's error.
    pub sensitivity: f64,
}

/// A type and the error it makes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    /// The type.
    pub ty: KvType,
    /// Bits per value, scales included.
    pub bits: f64,
    /// Mean square error over mean square of the values.
    pub error: f64,
}

/// What was chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Allocation {
    /// A type for each place, in order.
    pub types: Vec<KvType>,
    /// Bits per value over all places.
    pub bits_per_value: f64,
    /// The sum of the extrapolated divergences.
    pub divergence: f64,
}

/// Distributes at most `budget` bits per value; `None` if even the smallest choice takes more.
pub fn allocate(places: &[Place], choices: &[Choice], budget: f64) -> Option<Allocation> {
    let hull = convex_hull(choices);
    let first = hull.first()?;
    let all: f64 = places.iter().map(|place| place.values as f64).sum();
    let bits_allowed = budget * all;
    let mut bits = first.bits * all;
    if places.is_empty() || bits > bits_allowed * (1.0 + 1e-12) {
        return None;
    }
    let mut level = vec![0; places.len()];
    // (place, gain per bit, cost) of each place's next step; those that do not fit any more drop out
    loop {
        let step = |(i, place): (usize, &Place)| {
            let (now, next) = (hull[level[i]], hull.get(level[i] + 1)?);
            let cost = (next.bits - now.bits) * place.values as f64;
            let gain = place.sensitivity * (now.error - next.error);
            (bits + cost <= bits_allowed * (1.0 + 1e-12)).then_some((i, gain / cost, cost))
        };
        let best = places.iter().enumerate().filter_map(step).max_by(|a, b| a.1.total_cmp(&b.1));
        let Some((i, gain, cost)) = best else { break };
        // a place that seems to gain nothing (its divergence is noise) does not need the bits
        if gain <= 0.0 {
            break;
        }
        level[i] += 1;
        bits += cost;
    }
    let chosen = || level.iter().map(|&level| hull[level]);
    Some(Allocation {
        types: chosen().map(|choice| choice.ty).collect(),
        bits_per_value: bits / all,
        divergence: chosen().zip(places).map(|(choice, place)| choice.error * place.sensitivity).sum(),
    })
}

/// The choices that are worth their bits for some budget, by rising bits: the lower left hull of (bits, error).
fn convex_hull(choices: &[Choice]) -> Vec<Choice> {
    let mut sorted = choices.to_vec();
    sorted.sort_by(|a, b| a.bits.total_cmp(&b.bits).then(a.error.total_cmp(&b.error)));
    let mut hull: Vec<Choice> = Vec::new();
    for choice in sorted {
        if hull.last().is_some_and(|last| choice.error >= last.error) {
            continue;
        }
        while let [.., a, b] = hull[..] {
            let slope = |from: Choice, to: Choice| (to.error - from.error) / (to.bits - from.bits);
            if slope(a, b) <= slope(b, choice) {
                break;
            }
            hull.pop();
        }
        hull.push(choice);
    }
    hull
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHOICES: [Choice; 4] = [
        Choice { ty: KvType::Q8_0, bits: 8.5, error: 0.00004 },
        Choice { ty: KvType::Turbo4, bits: 4.125, error: 0.0079 },
        Choice { ty: KvType::Turbo3, bits: 3.125, error: 0.0328 },
        Choice { ty: KvType::Turbo2, bits: 2.125, error: 0.1294 },
    ];

    fn places(sensitivities: &[f64]) -> Vec<Place> {
        sensitivities.iter().map(|&sensitivity| Place { values: 256, sensitivity }).collect()
    }

    #[test]
    fn equal_places_get_equal_types_when_the_budget_is_one_types() {
        let allocation = allocate(&places(&[1.0; 6]), &CHOICES, 3.125).unwrap();
        assert_eq!(allocation.types, [KvType::Turbo3; 6]);
        assert!((allocation.bits_per_value - 3.125).abs() < 1e-12 && (allocation.divergence - 6.0 * 0.0328).abs() < 1e-12);
    }

    #[test]
    fn sensitive_places_get_the_bits() {
        let allocation = allocate(&places(&[0.01, 10.0, 0.01, 0.01]), &CHOICES, 3.2).unwrap();
        assert_eq!(allocation.types[1], KvType::Turbo4);
        assert!(allocation.types[1].bits_per_value() > allocation.types[0].bits_per_value());
        assert!(allocation.bits_per_value <= 3.2);
    }

    #[test]
    fn no_other_assignment_of_the_same_bits_is_better() {
        // all 4^5 assignments, for budgets at which the greedy one uses all its bits
        let places = places(&[3.0, 0.2, 1.0, 0.05, 0.6]);
        for budget in [2.125, 2.725, 3.125, 3.525, 4.125, 8.5] {
            let allocation = allocate(&places, &CHOICES, budget).unwrap();
            let best = (0..4_usize.pow(5))
                .map(|code| (0..5).map(|i| CHOICES[code / 4_usize.pow(i) % 4]).collect::<Vec<_>>())
                .filter(|choice| choice.iter().map(|c| c.bits).sum::<f64>() <= 5.0 * allocation.bits_per_value + 1e-9)
                .map(|choice| choice.iter().zip(&places).map(|(c, p)| c.error * p.sensitivity).sum::<f64>())
                .fold(f64::INFINITY, f64::min);
            assert!(allocation.divergence <= best * 1.000_001, "{budget}: {allocation:?}, best {best}");
            assert!(allocation.bits_per_value <= budget + 1e-9);
        }
    }

    #[test]
    fn a_choice_above_the_hull_is_never_taken() {
        // q4_0 costs more than turbo4 and is worse in this table
        let with = [&CHOICES[..], &[Choice { ty: KvType::Q4_0, bits: 4.5, error: 0.009 }]].concat();
        for budget in [3.0, 4.5, 6.0] {
            let allocation = allocate(&places(&[1.0, 2.0, 4.0]), &with, budget).unwrap();
            assert!(!allocation.types.contains(&KvType::Q4_0));
        }
    }

    #[test]
    fn what_cannot_be_had_is_not_had() {
        assert_eq!(allocate(&places(&[1.0; 3]), &CHOICES, 2.0), None);
        assert_eq!(allocate(&[], &CHOICES, 4.0), None);
        assert_eq!(allocate(&places(&[1.0; 3]), &[], 4.0), None);
        // divergence that is no more than noise asks for nothing
        let allocation = allocate(&places(&[0.0, -1e-9]), &CHOICES, 8.5).unwrap();
        assert_eq!(allocation.types, [KvType::Turbo2; 2]);
    }
}

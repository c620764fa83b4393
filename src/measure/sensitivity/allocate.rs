//! Which bits go where: types for each side of each layer under a mean number of bits per value. Pure arithmetic.
//!
//! The divergence that a noise in one place causes grows with the variance of the noise (its first derivative vanishes where
//! there is none), so a place measured with one type is extrapolated to others by the ratio of their errors. Divergences of
//! several places are added, which is a model too; `turboquant sensitivity` measures the map it makes and says how far off
//! the sum was. The choice itself is exact: a multiple-choice knapsack by dynamic programming (Kellerer, Pferschy and Pisinger,
//! "Knapsack Problems", 2004, 11.5). Taking the steps that gain most per bit first, as for continuous rates, left the best
//! step out whenever it was too big for what remained of the budget.

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

/// Distributes at most `budget` bits per value so that the sum of divergences is least; of equal sums, one with fewer bits.
/// `None` if even the smallest choice takes more.
pub fn allocate(places: &[Place], choices: &[Choice], budget: f64) -> Option<Allocation> {
    let values: u64 = places.iter().map(|place| place.values).sum();
    if values == 0 || choices.is_empty() || !budget.is_finite() {
        return None;
    }
    // eighths of a bit are whole for every type; the common divisor keeps the table small
    let cost = |place: &Place, choice: &Choice| place.values * (8.0 * choice.bits).round() as u64;
    let unit = places
        .iter()
        .flat_map(|place| choices.iter().map(|choice| cost(place, choice)))
        .fold(0, gcd)
        .max(1);
    let room = usize::try_from((8.0 * budget * values as f64 * (1.0 + 1e-12)) as u64 / unit).ok()?;
    // least[c]: the least divergence of the places so far at a cost of exactly c; taken[place][c]: the choice that gives it
    let mut least = vec![f64::INFINITY; room + 1];
    least[0] = 0.0;
    let mut taken = Vec::with_capacity(places.len());
    for place in places {
        let mut next = vec![f64::INFINITY; room + 1];
        let mut with = vec![u8::MAX; room + 1];
        for (number, choice) in choices.iter().enumerate().take(usize::from(u8::MAX)) {
            let step = usize::try_from(cost(place, choice) / unit).ok()?;
            // a divergence below zero is noise
            let divergence = place.sensitivity.max(0.0) * choice.error;
            for at in step..=room {
                let sum = least[at - step] + divergence;
                if sum < next[at] {
                    next[at] = sum;
                    with[at] = number as u8;
                }
            }
        }
        least = next;
        taken.push(with);
    }
    let mut at = (0..=room).reduce(|best, at| if least[at] < least[best] { at } else { best })?;
    if !least[at].is_finite() {
        return None;
    }
    let (divergence, spent) = (least[at], at as u64 * unit);
    let mut types = Vec::with_capacity(places.len());
    for (place, with) in places.iter().zip(&taken).rev() {
        let choice = choices.get(usize::from(with[at]))?;
        types.push(choice.ty);
        at -= usize::try_from(cost(place, choice) / unit).ok()?;
    }
    types.reverse();
    Some(Allocation {
        types,
        bits_per_value: spent as f64 / 8.0 / values as f64,
        divergence,
    })
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHOICES: [Choice; 4] = [
        Choice {
            ty: KvType::Q8_0,
            bits: 8.5,
            error: 0.00004,
        },
        Choice {
            ty: KvType::Turbo4,
            bits: 4.125,
            error: 0.0079,
        },
        Choice {
            ty: KvType::Turbo3,
            bits: 3.125,
            error: 0.0328,
        },
        Choice {
            ty: KvType::Turbo2,
            bits: 2.125,
            error: 0.1294,
        },
    ];

    fn places(sensitivities: &[f64]) -> Vec<Place> {
        sensitivities
            .iter()
            .map(|&sensitivity| Place {
                values: 256,
                sensitivity,
            })
            .collect()
    }

    #[test]
    fn equal_places_get_equal_types_when_the_budget_is_one_types() {
        let allocation = allocate(&places(&[1.0; 6]), &CHOICES, 3.125).unwrap();
        assert_eq!(allocation.types, [KvType::Turbo3; 6]);
        assert!(
            (allocation.bits_per_value - 3.125).abs() < 1e-12 && (allocation.divergence - 6.0 * 0.0328).abs() < 1e-12
        );
    }

    #[test]
    fn sensitive_places_get_the_bits() {
        let allocation = allocate(&places(&[0.01, 10.0, 0.01, 0.01]), &CHOICES, 3.2).unwrap();
        assert_eq!(allocation.types[1], KvType::Turbo4);
        assert!(allocation.types[1].bits_per_value() > allocation.types[0].bits_per_value());
        assert!(allocation.bits_per_value <= 3.2);
    }

    #[test]
    fn no_other_assignment_within_the_budget_is_better() {
        let mut places = places(&[3.0, 0.2, 1.0, 0.05, 0.6]);
        places[3].values = 512; // layers need not be of one size
        let values: u64 = places.iter().map(|place| place.values).sum();
        for budget in [2.125, 2.7, 3.125, 3.6, 4.125, 5.0, 8.5] {
            let allocation = allocate(&places, &CHOICES, budget).unwrap();
            let bits =
                |choice: &[Choice]| -> f64 { choice.iter().zip(&places).map(|(c, p)| c.bits * p.values as f64).sum() };
            let best = (0..4_usize.pow(5))
                .map(|code| (0..5).map(|i| CHOICES[code / 4_usize.pow(i) % 4]).collect::<Vec<_>>())
                .filter(|choice| bits(choice) <= budget * values as f64 + 1e-6)
                .map(|choice| {
                    choice
                        .iter()
                        .zip(&places)
                        .map(|(c, p)| c.error * p.sensitivity)
                        .sum::<f64>()
                })
                .fold(f64::INFINITY, f64::min);
            assert!(
                (allocation.divergence / best - 1.0).abs() < 1e-9,
                "{budget}: {allocation:?}, best {best}"
            );
            assert!(allocation.bits_per_value <= budget + 1e-9);
        }
    }

    #[test]
    fn a_choice_that_costs_more_and_errs_more_is_never_taken() {
        // q4_0 costs more than turbo4 and is worse in this table
        let with = [
            &CHOICES[..],
            &[Choice {
                ty: KvType::Q4_0,
                bits: 4.5,
                error: 0.009,
            }],
        ]
        .concat();
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

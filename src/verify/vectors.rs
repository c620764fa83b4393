//! Blocks that a codec can get wrong: zeros, spikes, values that are no numbers, norms at both ends of the float range.

use super::rng::Rng;

/// The vectors of the specification's "Edge cases", one block of `n` values each, with names for messages.
pub fn edge_vectors(n: usize, rng: &mut Rng) -> Vec<(String, Vec<f32>)> {
    let mut list: Vec<(String, Vec<f32>)> = vec![
        ("zero".into(), vec![0.0; n]),
        ("negative zero".into(), vec![-0.0; n]),
        ("constant".into(), vec![0.3; n]),
        ("negative constant".into(), vec![-7.0; n]),
        (
            "alternating".into(),
            (0..n).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect(),
        ),
        ("not a number everywhere".into(), vec![f32::NAN; n]),
        ("infinite everywhere".into(), vec![f32::INFINITY; n]),
        ("largest floats".into(), vec![f32::MAX; n]),
        ("smallest denormal".into(), vec![f32::from_bits(1); n]),
    ];
    for magnitude in [
        1e-45, 1e-40, 1e-20, 1e-8, 6e-8, 6e-5, 1.0, 6.0e4, 65504.0, 6.6e4, 1e6, 1e20, 3e38,
    ] {
        let base = rng.unit_vectors(1, n);
        list.push((
            format!("norm {magnitude:e}"),
            base.iter().map(|v| v * magnitude).collect(),
        ));
    }
    for position in [0, 1, n / 2, n - 1] {
        let mut one_hot = vec![0.0; n];
        one_hot[position] = -2.5;
        list.push((format!("one hot at {position}"), one_hot));
        let mut poisoned = rng.normals(n);
        poisoned[position] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][position % 3];
        list.push((format!("{} at {position}", poisoned[position]), poisoned));
    }
    let cubed: Vec<f32> = rng.normals(n).iter().map(|v| v * v * v).collect();
    list.push(("heavy tails".into(), cubed));
    let shifted = rng.normals(n).iter().map(|v| v + 10.0).collect();
    list.push(("mean 10x the spread".into(), shifted));
    // values on and beside every decision threshold of a unit-norm block
    let steps = (0..n).map(|i| (i as f32 - n as f32 / 2.0) / 64.0).collect();
    list.push(("a fine ramp".into(), steps));
    list
}

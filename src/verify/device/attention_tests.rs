//! What the bounds leave room for.

use super::super::cells::Registry;
use super::*;

/// The instance as a graphics processor's half kernels see it.
fn rounded(x: &Instance<'_>) -> (Vec<f32>, Vec<Vec<f32>>, Vec<Vec<f32>>) {
    let f16 = GgmlType::named("f16").unwrap();
    let half = |x: &[f32]| probe::dequantize(f16, &probe::quantize(f16, x).unwrap()).unwrap();
    let sides = |sides: &[(&str, Side)]| sides.iter().map(|(_, side)| half(&side.values)).collect();
    (half(&x.q), sides(&x.k), sides(&x.v))
}

/// Largest error of attention over rounded queries, K and V, of all pairs.
fn cost_of_halves(problem: Problem, head: (u32, u32), registry: &Registry) -> f64 {
    let operands = registry.operands();
    let exact = Instance::new(problem, head, &operands, &registry.types).unwrap();
    let (q, k, v) = rounded(&exact);
    let halves = Instance {
        q,
        ..Instance::new(problem, head, &operands, &registry.types).unwrap()
    };
    let mut worst = 0.0_f64;
    for (i, k) in k.iter().enumerate() {
        let (expected, got) = (weights(&exact, &exact.k[i].1.values), weights(&halves, k));
        for (j, v) in v.iter().enumerate() {
            let got: Vec<f32> = mixed(&halves, &got, v).iter().map(|value| *value as f32).collect();
            worst = worst.max(relative_error(&mixed(&exact, &expected, &exact.v[j].1.values), &got));
        }
    }
    worst
}

#[test]
fn rounding_to_half_alone_stays_within_the_bound_for_many_queries() {
    let registry = Registry::of_engine().unwrap();
    let bound = Bounds::of(false).unwrap().bound(true);
    let mut worst = 0.0_f64;
    for problem in problems(false).into_iter().filter(Problem::is_many) {
        for &head in &registry.kernels.heads {
            worst = worst.max(cost_of_halves(problem, head, &registry));
        }
    }
    println!("rounding costs {worst:.2e} at most; {bound:.0e} is allowed");
    // the rest is for the kernel's own sums, a hundredth of that
    assert!((1e-5..0.9 * bound).contains(&worst), "{worst:.2e}");
}

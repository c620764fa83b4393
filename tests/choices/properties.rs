//! What holds for every machine, model and wish.

use super::*;
use llama_turboquant::verify::rng::Rng;

const ORDER: [&str; 11] = [
    "f16",
    "q8_0",
    "q5_0",
    "q8_0/turbo4",
    "turbo4",
    "q4_0",
    "turbo4/turbo3",
    "turbo3",
    "turbo2",
    "turbo2@0",
    "",
];

fn rank(decision: &Decision) -> usize {
    ORDER
        .iter()
        .position(|name| *name == decision.name)
        .expect("a listed cache")
}

struct Invented {
    rng: Rng,
}

impl Invented {
    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn below(&mut self, n: usize) -> usize {
        self.rng.below(n)
    }

    fn model(&mut self) -> Footprint {
        let gib = 0.2 + self.below(400) as f64 / 10.0;
        let layers = 1 + self.below(96) as u32;
        let (heads, dim) = (self.pick(&[1, 2, 4, 8, 16]), self.pick(&[64, 96, 128, 192, 256]));
        let mut footprint = model(gib, layers, heads, dim);
        footprint.meta.n_ctx_train = self.pick(&[2048, 8192, 32_768, 131_072, 1 << 20]);
        footprint
    }

    fn wishes(&mut self) -> Wishes {
        Wishes {
            n_ctx: self.pick(&[None, None, Some(4096), Some(40_000), Some(131_072), Some(1 << 20)]),
            n_slots: self.pick(&[None, Some(1), Some(8)]),
            floor: self.pick(&[None, None, None, Some(KvType::Turbo4), Some(KvType::Turbo3)]),
            ..Wishes::default()
        }
    }
}

fn many(cases: u32, mut check: impl FnMut(&mut Invented)) {
    for seed in 0..cases {
        check(&mut Invented {
            rng: Rng::new(u64::from(seed)),
        });
    }
}

#[test]
fn what_is_chosen_fits() {
    many(300, |invented| {
        let (model, wishes) = (invented.model(), invented.wishes());
        let name = invented.pick(&[
            "mac-16gb",
            "mac-48gb",
            "pc-gpu-12gb",
            "pc-two-gpus",
            "container-8gb",
            "pc-no-gpu-32gb",
        ]);
        if let Ok(decision) = decide(&model, &machine(name), &wishes) {
            assert!(decision.plan.fits(), "{name}: {}", decision.summary());
            assert!(wishes.n_ctx.is_none_or(|asked| decision.n_ctx <= asked));
        }
    });
}

/// In one pool, whether that is main memory or a card that holds the whole model.
#[test]
fn more_memory_never_gives_worse_quality_or_a_shorter_context() {
    for on_card in [false, true] {
        many(30, |invented| {
            let (model, mut wishes) = (invented.model(), invented.wishes());
            if on_card {
                wishes.gpu_layers = Some(GpuLayers::All);
            }
            let machine_of = |bytes| if on_card { with_card(bytes) } else { with_memory(bytes) };
            let mut last: Option<Decision> = None;
            for step in (8..200_u64).step_by(3) {
                let found = decide(&model, &machine_of(step * step * GIB / 128), &wishes).ok();
                if let (Some(less), Some(more)) = (&last, &found) {
                    assert!(
                        rank(more) <= rank(less) && more.n_ctx >= less.n_ctx,
                        "{wishes:?}: {} after {}",
                        more.summary(),
                        less.summary()
                    );
                }
                assert!(last.is_none() || found.is_some(), "less memory was enough");
                last = found;
            }
        });
    }
}

/// Where layers may be spread the order is: the context, then the whole model on the card, then quality.
#[test]
fn a_larger_card_never_gives_a_worse_outcome() {
    let turbo3 = ORDER.iter().position(|name| *name == "turbo3");
    many(30, |invented| {
        let (model, wishes) = (invented.model(), invented.wishes());
        let mut last: Option<(Decision, _)> = None;
        for quarters in (2..200_u64).step_by(3) {
            let Ok(decision) = decide(&model, &with_card(quarters * GIB / 4), &wishes) else {
                continue;
            };
            let whole = decision.gpu_layers == GpuLayers::All && Some(rank(&decision)) <= turbo3;
            let outcome = (
                if wishes.n_ctx.is_some() {
                    decision.n_ctx
                } else {
                    decision.n_ctx.min(32_768)
                },
                whole,
                std::cmp::Reverse(rank(&decision)),
            );
            if let Some((less, before)) = &last {
                assert!(
                    outcome >= *before,
                    "{wishes:?}: {} after {}",
                    decision.summary(),
                    less.summary()
                );
            }
            last = Some((decision, outcome));
        }
    });
}

#[test]
fn a_longer_context_never_costs_less_and_more_bits_cost_more() {
    many(60, |invented| {
        let model = invented.model();
        let machine = with_memory(4000 * GIB);
        let total = |n_ctx, ty| {
            let wishes = Wishes {
                k: Some(ty),
                v: Some(ty),
                n_slots: Some(1),
                ..context(n_ctx)
            };
            decide(&model, &machine, &wishes)
                .ok()
                .map(|decision| decision.plan.total())
        };
        let types = [KvType::Turbo3, KvType::Turbo4, KvType::Q4_0, KvType::Q8_0, KvType::F16];
        let mut cheaper = 0;
        for ty in types {
            let costs: Vec<u64> = [1000, 8192, 9000, 65_536]
                .into_iter()
                .filter_map(|n_ctx| total(n_ctx, ty))
                .collect();
            assert!(costs.is_sorted(), "{ty}: {costs:?}");
            if let Some(cost) = total(65_536, ty) {
                assert!(cost > cheaper, "{ty}");
                cheaper = cost;
            }
        }
    });
}

#[test]
fn every_cache_that_was_considered_is_named_once() {
    many(200, |invented| {
        let (model, wishes) = (invented.model(), invented.wishes());
        let architecture = invented.pick(&["llama", "qwen2", "gpt-oss"]);
        let model = of_architecture(model, architecture);
        let Ok(decision) = decide(&model, &machine("mac-48gb"), &wishes) else {
            return;
        };
        let mut names: Vec<&str> = decision
            .rejected
            .iter()
            .map(|rejected| rejected.name.as_str())
            .collect();
        names.push(&decision.name);
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
        for name in [
            "f16",
            "q8_0",
            "q8_0/turbo4",
            "turbo4",
            "turbo4/turbo3",
            "turbo3",
            "turbo2",
            "turbo2@0",
        ] {
            assert!(names.contains(&name), "{name} is missing: {names:?}");
        }
        for rejected in &decision.rejected {
            assert!(!rejected.reason.text.is_empty());
        }
    });
}

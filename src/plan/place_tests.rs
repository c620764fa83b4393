use super::*;
use crate::kv::KvType;
use crate::machine::test_machines::{gpu, machine};
use crate::machine::{Fact, GpuMemory};
use crate::plan::Estimate;
use crate::{GpuLayers, LayerPolicy};

const GIB: u64 = 1 << 30;

fn footprint() -> Footprint {
    let numbers = Estimate {
        model_bytes: 10 * GIB,
        layers: 40,
        kv_heads: 8,
        head_dim: 128,
        n_vocab: 32_000,
        n_embd: 4096,
    };
    Footprint::estimated(&numbers).expect("a footprint")
}

fn setup(ty: KvType, n_ctx: u32) -> Setup {
    Setup {
        n_ctx,
        kv: KvCacheConfig::uniform(ty).with_layers(LayerPolicy::Uniform),
        ..Setup::default()
    }
}

fn with_gpus(gpus: &[(&str, GpuMemory, u64)]) -> Machine {
    let mut facts = machine(32, 24);
    facts.gpus = gpus.iter().map(|(name, kind, size)| gpu(name, *kind, *size)).collect();
    facts
}

fn share(plan: &MemoryPlan, pool: Pool) -> Share {
    let found = plan.pools.iter().find(|part| part.pool == pool);
    found.map(|part| part.share).unwrap_or_default()
}

#[test]
fn without_a_device_all_is_in_main_memory() {
    let plan = MemoryPlan::new(&footprint(), &setup(KvType::F16, 32_768), &machine(32, 24)).expect("a plan");
    assert_eq!(plan.pools.len(), 1);
    let main = share(&plan, Pool::Main);
    assert_eq!((main.weights, main.kv), (10 * GIB, 5 * GIB));
    assert!(main.program > 0 && main.compute > 0 && plan.fits());
}

#[test]
fn a_card_holds_layers_and_their_cache() {
    let facts = with_gpus(&[("CUDA0", GpuMemory::Discrete, 24)]);
    let plan = MemoryPlan::new(&footprint(), &setup(KvType::F16, 32_768), &facts).expect("a plan");
    let card = share(&plan, Pool::Gpu(0));
    assert_eq!((card.weights, card.kv), (10 * GIB, 5 * GIB));
    assert_eq!(share(&plan, Pool::Main).weights, 0);
}

#[test]
fn half_the_layers_take_half_of_weights_and_cache() {
    let facts = with_gpus(&[("CUDA0", GpuMemory::Discrete, 24)]);
    let half = Setup {
        gpu_layers: GpuLayers::Count(21),
        ..setup(KvType::F16, 32_768)
    };
    let plan = MemoryPlan::new(&footprint(), &half, &facts).expect("a plan");
    assert_eq!(share(&plan, Pool::Gpu(0)).kv * 2, 5 * GIB);
    assert_eq!(share(&plan, Pool::Main).weights, 5 * GIB);
}

#[test]
fn a_cache_that_is_not_offloaded_stays_in_main_memory() {
    let facts = with_gpus(&[("CUDA0", GpuMemory::Discrete, 24)]);
    let mut setup = setup(KvType::F16, 32_768);
    setup.kv.offload = false;
    let plan = MemoryPlan::new(&footprint(), &setup, &facts).expect("a plan");
    assert_eq!(
        (share(&plan, Pool::Gpu(0)).kv, share(&plan, Pool::Main).kv),
        (0, 5 * GIB)
    );
}

#[test]
fn two_cards_share_by_their_free_memory() {
    let facts = with_gpus(&[("CUDA0", GpuMemory::Discrete, 8), ("CUDA1", GpuMemory::Discrete, 24)]);
    let plan = MemoryPlan::new(&footprint(), &setup(KvType::F16, 4096), &facts).expect("a plan");
    let (first, second) = (share(&plan, Pool::Gpu(0)), share(&plan, Pool::Gpu(1)));
    assert!(
        first.weights * 2 < second.weights && first.kv > 0,
        "{first:?} {second:?}"
    );
}

#[test]
fn unified_memory_is_taken_from_main_memory_too() {
    let facts = with_gpus(&[("MTL0", GpuMemory::Unified, 21)]);
    let plan = MemoryPlan::new(&footprint(), &setup(KvType::F16, 32_768), &facts).expect("a plan");
    assert_eq!(plan.taken(Pool::Main), plan.total());
    assert!(plan.taken(Pool::Gpu(0)) < plan.total());
    let mut full = facts;
    full.memory.available = Fact::Known(10 * GIB);
    let plan = MemoryPlan::new(&footprint(), &setup(KvType::F16, 32_768), &full).expect("a plan");
    assert!(!plan.fits(), "the working set has room, main memory has not");
}

#[test]
fn tied_embeddings_are_copied_to_a_card_but_not_to_unified_memory() {
    let mut tied = footprint();
    tied.weights.input = GIB;
    tied.weights.tied = GIB;
    let on = |kind| {
        let facts = with_gpus(&[("GPU", kind, 24)]);
        let plan = MemoryPlan::new(&tied, &setup(KvType::F16, 4096), &facts).expect("a plan");
        (share(&plan, Pool::Main).weights, share(&plan, Pool::Gpu(0)).weights)
    };
    assert_eq!(on(GpuMemory::Discrete), (GIB, 11 * GIB));
    assert_eq!(on(GpuMemory::Unified), (GIB, 10 * GIB));
}

#[test]
fn a_draft_a_projector_and_a_margin_count() {
    let plain = MemoryPlan::new(&footprint(), &setup(KvType::F16, 4096), &machine(64, 60)).expect("a plan");
    let mut more = footprint().with_draft(footprint());
    more.projector = GIB;
    let with_margin = Setup {
        margin: 2 * GIB,
        ..setup(KvType::F16, 4096)
    };
    let plan = MemoryPlan::new(&more, &with_margin, &machine(64, 60)).expect("a plan");
    let main = share(&plan, Pool::Main);
    assert_eq!(main.projector, GIB);
    assert_eq!(main.draft, plain.model_bytes(), "the same model again");
    let lost = plain.headroom().expect("known") - plan.headroom().expect("known");
    assert_eq!(u64::try_from(lost).expect("less"), main.draft + 3 * GIB);
}

#[test]
fn headroom_is_negative_by_what_is_missing() {
    let plan = MemoryPlan::new(&footprint(), &setup(KvType::F16, 131_072), &machine(32, 24)).expect("a plan");
    let missing = plan.headroom().expect("known");
    assert_eq!(missing, (24 * GIB) as i64 - plan.total() as i64);
    assert!(missing < 0 && !plan.fits());
    assert_eq!(plan.tightest().map(|pool| pool.pool), Some(Pool::Main));
}

#[test]
fn an_unknown_capacity_counts_as_enough() {
    let mut facts = machine(32, 24);
    facts.memory.available = Fact::unknown("not told");
    let plan = MemoryPlan::new(&footprint(), &setup(KvType::F16, 131_072), &facts).expect("a plan");
    assert!(plan.fits() && plan.headroom().is_none());
}

#[test]
fn setups_that_no_engine_takes_are_refused() {
    let refused = |setup: Setup| {
        MemoryPlan::new(&footprint(), &setup, &machine(32, 24))
            .expect_err("refused")
            .to_string()
    };
    assert!(refused(setup(KvType::F16, 0)).contains("context of 0"));
    assert!(refused(setup(KvType::F16, u32::MAX)).contains("context of"));
    let base = || setup(KvType::F16, 4096);
    assert!(refused(Setup { n_slots: 0, ..base() }).contains("0 slots"));
    assert!(
        refused(Setup {
            n_slots: 1000,
            ..base()
        })
        .contains("1000 slots")
    );
    assert!(refused(Setup { n_ubatch: 0, ..base() }).contains("ubatch"));
}

#[test]
fn the_largest_numbers_there_are_do_not_wrap_around() {
    let numbers = Estimate {
        model_bytes: 1 << 50,
        layers: 512,
        kv_heads: 1024,
        head_dim: 8192,
        n_vocab: 1 << 24,
        n_embd: 1 << 20,
    };
    let huge = Setup {
        n_slots: 256,
        n_ubatch: u32::MAX,
        n_outputs: u32::MAX,
        margin: u64::MAX,
        ..setup(KvType::F32, i32::MAX as u32)
    };
    let footprint = Footprint::estimated(&numbers).expect("a footprint");
    let footprint = footprint.clone().with_draft(footprint);
    let plan = MemoryPlan::new(&footprint, &huge, &machine(32, 24)).expect("a plan");
    assert!(!plan.fits() && plan.total() == u64::MAX, "{}", plan.total());
}

#[test]
fn a_plan_describes_itself_in_a_line() {
    let plan = MemoryPlan::new(&footprint(), &setup(KvType::F16, 32_768), &machine(32, 24)).expect("a plan");
    let text = plan.describe();
    assert!(
        text.contains("10.00 GiB weights, 5.00 GiB KV cache of 32768 tokens"),
        "{text}"
    );
    assert!(!text.contains("draft"), "{text}");
}

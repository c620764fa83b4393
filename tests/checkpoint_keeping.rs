//! Where checkpoints are kept: in a slot, in the memory for prompts, in files; how many; and what happens to false ones.

mod support;

use llama_turboquant::{KvType, Model};
use support::scheduling::{Setup, answer, branch, idle, prompt};
use support::uncuttable::{models, same_as_alone, setup};
use support::{scratch, slot_file};

#[test]
fn without_memory_or_when_none_are_wanted_the_prompt_is_computed_from_the_beginning() {
    for model in models() {
        for (checkpoints, prompt_cache) in [(0, None), (32, Some(0))] {
            let scheduler = Setup {
                checkpoints,
                prompt_cache,
                ..setup(&model, KvType::F16)
            }
            .start();
            answer(&scheduler, &branch(1, 250, 2, 50), 300);
            assert_eq!(idle(&scheduler)[0].n_checkpoints, 0);
            assert_eq!(answer(&scheduler, &branch(1, 250, 3, 50), 2).stats.n_cached, 0);
        }
    }
}

#[test]
fn a_slot_keeps_as_many_as_it_may_spread_over_its_prompt() {
    for model in models() {
        let setup = || Setup {
            checkpoints: 5,
            checkpoint_min_step: 0,
            ..setup(&model, KvType::F16)
        };
        let scheduler = setup().start();
        answer(&scheduler, &branch(1, 900, 2, 100), 100);
        assert_eq!(idle(&scheduler)[0].n_checkpoints, 5);
        // none of the five is near the other: wherever one goes back to, a part is kept
        let cached = same_as_alone(&scheduler, setup(), &branch(1, 500, 3, 50));
        assert!((128..=500).contains(&cached), "{cached}");
    }
}

#[test]
fn checkpoints_and_kept_prompts_stay_within_the_memory_for_prompts() {
    for model in models() {
        let limited = |limit| Setup {
            prompt_cache: Some(limit),
            checkpoint_min_step: 0,
            ..setup(&model, KvType::F16)
        };
        let scheduler = limited(256 << 20).start();
        answer(&scheduler, &prompt(1, 500), 2);
        idle(&scheduler);
        let all = scheduler.status().prompt_cache;
        let each = all.checkpoint_bytes / all.checkpoints as u64;
        assert!(all.checkpoints >= 8, "{all:?}");

        // room for three in half of it
        let limit = 2 * (3 * each + each / 2);
        let scheduler = limited(limit).start();
        for seed in 1..5 {
            answer(&scheduler, &prompt(seed, 500), 2);
            idle(&scheduler);
            let cache = scheduler.status().prompt_cache;
            assert!(cache.bytes + cache.checkpoint_bytes <= limit, "{cache:?}");
            assert!((1..=3).contains(&cache.checkpoints), "{cache:?}");
        }
    }
}

#[test]
fn a_prompt_that_a_slot_gave_up_comes_back_with_its_checkpoints() {
    for model in models() {
        let setup = || setup(&model, KvType::Turbo4);
        let scheduler = setup().start();
        answer(&scheduler, &branch(1, 450, 2, 50), 300);
        answer(&scheduler, &prompt(4, 300), 2);
        assert_eq!(scheduler.status().prompt_cache.entries, 1);
        let cached = same_as_alone(&scheduler, setup(), &branch(1, 450, 3, 50));
        assert_eq!(cached, 500 - 4 - 64, "{}", model.meta().architecture);
        assert_eq!(scheduler.status().prompt_cache.hits, 1);
    }
}

/// A slot with checkpoints at 64, 128, 192, 232 and 296 of 300 tokens, in a file.
fn saved(model: &Model) -> Vec<u8> {
    let scheduler = Setup {
        checkpoint_min_step: 64,
        ..setup(model, KvType::Turbo4)
    }
    .start();
    answer(&scheduler, &branch(1, 250, 2, 50), 300);
    assert_eq!(idle(&scheduler)[0].n_checkpoints, 5);
    let path = scratch("slot");
    scheduler.save_slot(0, &path).expect("a saved slot");
    std::fs::read(path).expect("a file")
}

#[test]
fn a_restored_slot_has_the_checkpoints_of_the_saved_one() {
    for model in models() {
        let path = scratch("restored");
        std::fs::write(&path, saved(&model)).expect("a file");
        for (most, cached) in [(32, 232), (1, 0), (0, 0)] {
            let setup = || Setup {
                checkpoints: most,
                ..setup(&model, KvType::Turbo4)
            };
            let scheduler = setup().start();
            scheduler.restore_slot(0, &path).expect("a restored slot");
            assert_eq!(scheduler.slots()[0].n_checkpoints, most.min(5));
            assert_eq!(same_as_alone(&scheduler, setup(), &branch(1, 250, 3, 50)), cached);
        }
    }
}

#[test]
fn windows_from_a_file_are_no_beginning_where_the_whole_is_kept() {
    let [model, _] = models();
    let path = scratch("windows");
    std::fs::write(&path, saved(&model)).expect("a file");
    let whole = || {
        let mut setup = setup(&model, KvType::Turbo4);
        setup.kv.swa_full = true;
        setup
    };
    let scheduler = whole().start();
    scheduler.restore_slot(0, &path).expect("a restored slot");
    assert_eq!(scheduler.slots()[0].n_checkpoints, 0);
    assert_eq!(same_as_alone(&scheduler, whole(), &branch(1, 250, 3, 50)), 0);
}

#[test]
fn a_checkpoint_that_the_engine_refuses_means_computing_from_the_beginning() {
    for model in models() {
        let mut bytes = saved(&model);
        // every checkpoint says that it is of another codec
        let marker = b"TQKVCHK1";
        let at: Vec<usize> = (0..bytes.len() - 8).filter(|&i| &bytes[i..i + 8] == marker).collect();
        assert_eq!(at.len(), 5);
        for at in at {
            let version = b"\"codec_version\":";
            let field = bytes[at..].windows(version.len()).position(|window| window == version);
            bytes[at + field.expect("a version") + version.len()] ^= 1;
        }
        let path = scratch("forged");
        std::fs::write(&path, slot_file::sealed(bytes)).expect("a file");
        let setup = || setup(&model, KvType::Turbo4);
        let scheduler = setup().start();
        scheduler.restore_slot(0, &path).expect("a restored slot");
        assert_eq!(same_as_alone(&scheduler, setup(), &branch(1, 250, 3, 50)), 0);
        assert_eq!(scheduler.status().prompt_cache.went_back, 0);
    }
}

#[test]
fn a_file_with_false_checkpoints_is_refused() {
    let [model, _] = models();
    let bytes = saved(&model);
    let n_tokens = u32::from_le_bytes(bytes[12..16].try_into().expect("four bytes")) as usize;
    let table = 24 + 4 * n_tokens;
    assert_eq!(bytes[table..table + 4], 5_u32.to_le_bytes());
    let scheduler = setup(&model, KvType::Turbo4).start();
    for (at, value, part) in [
        (table, u32::MAX, "cut short inside its checkpoints"),
        (table + 4, 0, "token 0"),
        (table + 4, 100_000, "token 100000"),
        (table + 16, 64, "behind one at 64"),
        (table + 8, u32::MAX, "cut short inside its checkpoints"),
        (table + 12, u32::MAX, "cut short inside its checkpoints"),
    ] {
        let mut bytes = bytes.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        let path = scratch("false");
        std::fs::write(&path, slot_file::sealed(bytes)).expect("a file");
        let error = scheduler.restore_slot(0, &path).expect_err(part).to_string();
        assert!(error.contains(part), "{error}");
    }
}

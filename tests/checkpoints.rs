//! Checkpoints: a prompt that goes back, over windows and recurrent states that cannot be cut, is not computed from the
//! beginning, and the answer is that of a scheduler that knows nothing.

mod support;

use llama_turboquant::generate::FinishReason;
use llama_turboquant::scheduler::{JobEvent, Scheduler};
use llama_turboquant::{KvCacheConfig, KvType, Model, Token};
use support::scheduling::{Setup, alone, answer, branch, idle, prompt, submit};
use support::{scratch, shape, synth};

/// Windows of 64 tokens, for which the engine has 256 cells, in five of six layers; every other layer recurrent.
fn models() -> [Model; 2] {
    let windows = llama_turboquant::engine::synth::SynthParams {
        layers: 6,
        window: 64,
        ..shape("gemma3", 4, 1, 128)
    };
    [synth(&windows), synth(&shape("lfm2", 4, 2, 128))]
}

/// Steps of 64 tokens, and memory for what is to be kept.
fn setup(model: &Model, kv: KvType) -> Setup {
    Setup {
        model: model.clone(),
        n_ubatch: 64,
        kv: KvCacheConfig::uniform(kv),
        prompt_cache: Some(256 << 20),
        ..Setup::of(1)
    }
}

/// The answer, and the tokens that were not computed for it; it must be that of a scheduler without checkpoints.
#[track_caller]
fn same_as_alone(scheduler: &Scheduler, setup: Setup, prompt: &[Token]) -> usize {
    let architecture = setup.model.meta().architecture.clone();
    let ended = answer(scheduler, prompt, 12);
    let fresh = Setup {
        checkpoints: 0,
        ..setup
    };
    assert_eq!(ended.tokens, alone(fresh, prompt, 12), "{architecture}");
    ended.stats.n_cached
}

#[test]
fn a_prompt_that_goes_back_is_computed_from_a_checkpoint() {
    for model in models() {
        for kv in [KvType::F16, KvType::Turbo4] {
            let setup = || Setup {
                checkpoint_min_step: 128,
                ..setup(&model, kv)
            };
            let scheduler = setup().start();
            answer(&scheduler, &branch(1, 500, 2, 200), 300);
            // steps of 64 tokens, a checkpoint every 128
            let cached = same_as_alone(&scheduler, setup(), &branch(1, 500, 3, 60));
            assert_eq!(cached, 384, "{kv}");
            // what was computed for the second prompt has checkpoints as well
            let cached = same_as_alone(&scheduler, setup(), &branch(1, 500, 3, 80));
            assert!((556..=560).contains(&cached), "{kv}: {cached}");
            assert!(scheduler.status().prompt_cache.went_back >= 1);
        }
    }
}

#[test]
fn an_answer_is_written_anew_from_just_before_the_end_of_its_prompt() {
    for model in models() {
        let scheduler = setup(&model, KvType::Turbo4).start();
        let prompt = prompt(1, 300);
        answer(&scheduler, &prompt, 300);
        let cached = same_as_alone(&scheduler, setup(&model, KvType::Turbo4), &prompt);
        assert_eq!(cached, 296, "{}", model.meta().architecture);
    }
}

#[test]
fn text_without_turns_can_be_left_a_step_before_its_end() {
    for model in models() {
        let scheduler = setup(&model, KvType::F16).start();
        answer(&scheduler, &branch(1, 250, 2, 50), 300);
        let cached = same_as_alone(&scheduler, setup(&model, KvType::F16), &branch(1, 250, 3, 50));
        assert_eq!(cached, 300 - 4 - 64, "{}", model.meta().architecture);
    }
}

#[test]
fn an_edited_turn_goes_on_from_its_start() {
    for model in models() {
        let control = (0..model.meta().n_vocab as Token)
            .find(|&token| model.is_control(token))
            .expect("a control token");
        let turn = |seed, n| [vec![control], prompt(seed, n), vec![control, 301, control, 302]].concat();
        let setup = || setup(&model, KvType::F16);
        let scheduler = setup().start();
        answer(&scheduler, &[turn(1, 400), turn(2, 150)].concat(), 300);
        let cached = same_as_alone(&scheduler, setup(), &[turn(1, 400), turn(3, 150)].concat());
        assert_eq!(cached, 401, "where the turns are parted: {}", model.meta().architecture);
    }
}

#[test]
fn a_second_slot_is_not_disturbed() {
    for model in models() {
        let setup = || Setup {
            slots: 2,
            ..setup(&model, KvType::F16)
        };
        let scheduler = setup().start();
        let (one, other) = (branch(1, 250, 2, 50), prompt(9, 200));
        let expected = alone(setup(), &other, 300);
        answer(&scheduler, &one, 300);
        let running = submit(&scheduler, &other, 300);
        running.first_piece();
        let cached = same_as_alone(&scheduler, setup(), &branch(1, 250, 3, 50));
        assert_eq!(cached, 232);
        assert_eq!(running.end().tokens, expected[1..], "{}", model.meta().architecture);
    }
}

#[test]
fn a_cache_that_can_be_cut_anywhere_needs_none() {
    let scheduler = Setup {
        prompt_cache: None,
        checkpoint_min_step: 0,
        n_ubatch: 64,
        ..Setup::of(1)
    }
    .start();
    answer(&scheduler, &branch(1, 250, 2, 50), 300);
    assert_eq!(idle(&scheduler)[0].n_checkpoints, 0);
    let back = answer(&scheduler, &branch(1, 250, 3, 50), 2);
    assert_eq!(
        (back.stats.n_cached, scheduler.status().prompt_cache.went_back),
        (250, 0)
    );
    // steps are those without checkpoints
    assert_eq!(back.progress, [(250, 300)]);
}

#[test]
fn a_full_window_can_be_cut_and_needs_none() {
    let [model, _] = models();
    let mut setup = setup(&model, KvType::F16);
    setup.kv.swa_full = true;
    let scheduler = setup.start();
    answer(&scheduler, &branch(1, 250, 2, 50), 300);
    assert_eq!(idle(&scheduler)[0].n_checkpoints, 0);
    assert_eq!(answer(&scheduler, &branch(1, 250, 3, 50), 2).stats.n_cached, 250);
}

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
fn a_prompt_cancelled_half_way_goes_on_from_a_checkpoint() {
    for model in models() {
        let setup = || Setup {
            checkpoint_min_step: 64,
            ..setup(&model, KvType::Turbo4)
        };
        let scheduler = setup().start();
        let long = prompt(1, 3000);
        let job = submit(&scheduler, &long, 4);
        while !matches!(job.next(), JobEvent::Progress { n_done, .. } if n_done >= 512) {}
        job.cancel.cancel();
        assert_eq!(job.outcome().expect("an end").stats.reason, FinishReason::Cancelled);
        let slot = idle(&scheduler)[0];
        assert!(slot.n_checkpoints >= 7 && slot.n_cached >= 448, "{slot:?}");
        let cached = same_as_alone(&scheduler, setup(), &branch(1, 200, 2, 30));
        assert_eq!(cached, 192, "{}", model.meta().architecture);
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
        std::fs::write(&path, support::slot_file::sealed(bytes)).expect("a file");
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
        std::fs::write(&path, support::slot_file::sealed(bytes)).expect("a file");
        let error = scheduler.restore_slot(0, &path).expect_err(part).to_string();
        assert!(error.contains(part), "{error}");
    }
}

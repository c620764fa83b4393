//! Checkpoints: a prompt that goes back, over windows and recurrent states that cannot be cut, is not computed from the
//! beginning, and the answer is that of a scheduler that knows nothing.

mod support;

use llama_turboquant::generate::FinishReason;
use llama_turboquant::scheduler::JobEvent;
use llama_turboquant::{KvType, Token};
use support::scheduling::{Setup, alone, answer, branch, idle, prompt, submit};
use support::uncuttable::{models, same_as_alone, setup};

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
fn what_another_slot_is_using_is_shared_up_to_its_checkpoint() {
    for model in models() {
        for kv in [KvType::F16, KvType::Turbo4] {
            let setup = || Setup {
                slots: 3,
                checkpoint_min_step: 64,
                ..setup(&model, kv)
            };
            let (one, two) = (branch(1, 300, 2, 40), branch(1, 300, 3, 50));
            let expected = alone(setup(), &one, 400);
            let scheduler = setup().start();
            let leader = submit(&scheduler, &one, 400);
            leader.first_piece();
            assert_eq!(same_as_alone(&scheduler, setup(), &two), 272);
            let slots = scheduler.slots();
            let (cells, tokens) = (scheduler.status().cells_used, slots[0].n_cached + slots[1].n_cached);
            assert!(cells + 200 < tokens, "{cells} cells hold {tokens} tokens");
            // and the one that was copied from is not disturbed
            assert_eq!(leader.end().tokens, expected[1..], "{}", model.meta().architecture);
        }
    }
}

#[test]
fn jobs_with_one_prompt_compute_it_once() {
    for model in models() {
        let setup = || Setup {
            slots: 3,
            ..setup(&model, KvType::F16)
        };
        let scheduler = setup().start();
        let long = prompt(1, 500);
        let expected = alone(setup(), &long, 10);
        let jobs: Vec<_> = (0..3).map(|_| submit(&scheduler, &long, 10)).collect();
        let ended: Vec<_> = jobs.into_iter().map(support::scheduling::Running::end).collect();
        let mut cached: Vec<usize> = ended.iter().map(|ended| ended.stats.n_cached).collect();
        cached.sort_unstable();
        assert_eq!(cached, [0, 496, 496], "{}", model.meta().architecture);
        assert!(ended.iter().all(|ended| ended.tokens == expected));
    }
}

#[test]
fn two_conversations_with_one_beginning_both_stay() {
    for model in models() {
        let setup = || Setup {
            slots: 2,
            checkpoint_min_step: 64,
            ..setup(&model, KvType::Turbo4)
        };
        let scheduler = setup().start();
        let (one, two) = (branch(1, 100, 2, 300), branch(1, 100, 3, 300));
        answer(&scheduler, &one, 2);
        assert_eq!(same_as_alone(&scheduler, setup(), &two), 64);
        let longer = [&one[..], &prompt(5, 30)].concat();
        assert_eq!(same_as_alone(&scheduler, setup(), &longer), 396);
        assert_eq!(scheduler.status().prompt_cache.stored, 0);
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

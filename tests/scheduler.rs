//! The scheduler: what slots hold, what they share, what they give up and get back, and how soon they let go.

mod support;

use llama_turboquant::generate::FinishReason;
use llama_turboquant::scheduler::JobEvent;
use llama_turboquant::{Error, KvCacheConfig, KvType};
use std::time::{Duration, Instant};
use support::scheduling::{Setup, alone, answer, branch, idle, prompt, slots_become, submit, submit_with};
use support::{noise_tokens, shape, synth, tiny};

#[test]
fn a_slot_says_what_it_is_doing() {
    let scheduler = Setup::of(2).start();
    assert_eq!(scheduler.slots().len(), 2);
    let job = submit(&scheduler, &prompt(1, 40), 400);
    job.first_piece();
    let slots = slots_become(&scheduler, |slots| slots[0].n_decoded > 3);
    let slot = slots[0];
    assert!(slot.busy && !slots[1].busy);
    assert_eq!((slot.n_prompt, slot.n_prompt_done), (40, 40));
    assert_eq!(
        slot.n_cached,
        40 + slot.n_decoded - 1,
        "all but the last token are in the cache"
    );
    job.cancel.cancel();
    let slot = idle(&scheduler)[0];
    assert!(
        slot.n_cached > 40 && slot.n_prompt == 0 && slot.n_decoded == 0,
        "{slot:?}"
    );
    assert_eq!(scheduler.status().cells_used, slot.n_cached);
}

#[test]
fn progress_is_told_after_every_step_of_a_prompt() {
    let scheduler = Setup {
        n_ubatch: 64,
        ..Setup::of(1)
    }
    .start();
    let first = answer(&scheduler, &prompt(1, 200), 2);
    assert_eq!(first.progress, [(0, 64), (0, 128), (0, 192), (0, 200)]);
    let second = answer(&scheduler, &branch(1, 200, 2, 30), 2);
    assert_eq!(second.progress, [(200, 230)]);
    assert_eq!(second.stats.n_cached, 200);
}

#[test]
fn what_another_slot_is_using_is_shared_and_the_answer_is_the_same() {
    let (one, two) = (branch(1, 300, 2, 40), branch(1, 300, 3, 50));
    let expected = alone(Setup::of(1), &two, 20);
    let scheduler = Setup::of(3).start();
    let leader = submit(&scheduler, &one, 300);
    leader.first_piece();
    let shared = answer(&scheduler, &two, 20);
    assert_eq!(shared.stats.n_cached, 300);
    assert_eq!(shared.tokens, expected);
    let cells = scheduler.status().cells_used;
    let tokens: usize = scheduler.slots().iter().map(|slot| slot.n_cached).sum();
    assert!(cells + 290 < tokens, "{cells} cells hold {tokens} tokens");
    // and the one that was copied from is not disturbed
    assert_eq!(leader.end().tokens[..50], alone(Setup::of(1), &one, 60)[1..51]);
}

#[test]
fn two_conversations_with_one_beginning_both_stay_in_the_cache() {
    let scheduler = Setup::of(2).start();
    let (one, two) = (branch(1, 100, 2, 200), branch(1, 100, 3, 200));
    answer(&scheduler, &one, 2);
    assert_eq!(answer(&scheduler, &two, 2).stats.n_cached, 100);
    for prompt in [&one, &two] {
        assert_eq!(answer(&scheduler, prompt, 2).stats.n_cached, 299);
    }
}

#[test]
fn over_a_compressed_cache_what_is_shared_gives_the_same_answer() {
    let setup = || Setup {
        kv: KvCacheConfig::uniform(KvType::Turbo4),
        ..Setup::of(2)
    };
    let story = support::story(6);
    let question = |text: &str| {
        tiny()
            .tokenize(&format!("{story}{text}"), false, false)
            .expect("tokens")
    };
    let second = question("Question: What is the favorite color for Louis?\nAnswer:");
    let expected = alone(setup(), &second, 8);
    let scheduler = setup().start();
    let leader = submit(
        &scheduler,
        &question("Question: What is the favorite color for Stella?\nAnswer:"),
        200,
    );
    leader.first_piece();
    let shared = answer(&scheduler, &second, 8);
    assert!(shared.stats.n_cached + 20 > second.len(), "{:?}", shared.stats);
    assert_eq!(shared.tokens, expected);
    leader.cancel.cancel();
}

#[test]
fn jobs_with_one_prompt_compute_it_once() {
    let scheduler = Setup::of(4).start();
    let long = prompt(1, 1000);
    let expected = alone(Setup::of(1), &long, 10);
    let jobs: Vec<_> = (0..4).map(|_| submit(&scheduler, &long, 10)).collect();
    let ended: Vec<_> = jobs.into_iter().map(support::scheduling::Running::end).collect();
    let mut cached: Vec<usize> = ended.iter().map(|ended| ended.stats.n_cached).collect();
    cached.sort_unstable();
    assert_eq!(cached, [0, 999, 999, 999]);
    assert!(ended.iter().all(|ended| ended.tokens == expected));
}

#[test]
fn a_job_that_waits_for_another_ones_prompt_is_passed_by_others_and_starts_when_that_ends() {
    let scheduler = Setup {
        n_ubatch: 32,
        ..Setup::of(3)
    }
    .start();
    let leader = submit(&scheduler, &prompt(1, 1500), 4);
    leader.started();
    let follower = submit(&scheduler, &branch(1, 1400, 2, 10), 2);
    let other = submit(&scheduler, &prompt(3, 20), 2);
    let passed = other.end();
    assert_eq!(scheduler.status().queued, 1, "the follower waits: {:?}", passed.stats);
    leader.cancel.cancel();
    let followed = follower.end();
    assert!(followed.stats.n_cached < 1400, "the leader did not come so far");
    assert!(matches!(
        leader.outcome().expect("an end").stats.reason,
        FinishReason::Cancelled
    ));
}

#[test]
fn a_job_that_wants_nothing_from_the_cache_gets_nothing() {
    let scheduler = Setup {
        prompt_cache: None,
        ..Setup::of(2)
    }
    .start();
    let prompt = prompt(1, 300);
    answer(&scheduler, &prompt, 2);
    assert_eq!(submit_with(&scheduler, &prompt, 2, false).end().stats.n_cached, 0);
}

#[test]
fn without_checkpoints_a_recurrent_state_is_never_shared_or_cut_but_goes_on() {
    let model = synth(&shape("lfm2", 4, 2, 128));
    let setup = |slots| Setup {
        model: model.clone(),
        prompt_cache: None,
        checkpoints: 0,
        ..Setup::of(slots)
    };
    let tokens = noise_tokens(&model, 260);
    let longer = [&tokens[..], &noise_tokens(&model, 300)[260..]].concat();
    let scheduler = setup(2).start();
    let leader = submit(&scheduler, &tokens, 400);
    leader.first_piece();
    let second = answer(&scheduler, &tokens[..200], 8);
    assert_eq!(second.stats.n_cached, 0);
    assert_eq!(second.tokens, alone(setup(1), &tokens[..200], 8));
    leader.cancel.cancel();
    leader.outcome().expect("an end");

    // what ends where the next prompt goes on is used
    let scheduler = setup(1).start();
    let first = answer(&scheduler, &tokens, 1);
    assert_eq!(first.stats.n_cached, 0);
    let second = answer(&scheduler, &longer, 8);
    assert_eq!(second.stats.n_cached, tokens.len());
    assert_eq!(second.tokens, alone(setup(1), &longer, 8));
}

#[test]
fn a_prompt_that_a_slot_gave_up_comes_back_from_memory() {
    let setup = || Setup {
        prompt_cache: Some(64 << 20),
        kv: KvCacheConfig::uniform(KvType::Turbo4),
        ..Setup::of(1)
    };
    let scheduler = setup().start();
    let (one, two) = (prompt(1, 400), prompt(2, 400));
    let first = answer(&scheduler, &one, 10);
    answer(&scheduler, &two, 2);
    let cache = scheduler.status().prompt_cache;
    assert_eq!((cache.entries, cache.stored, cache.hits), (1, 1, 0));
    assert_eq!(cache.tokens, 409);
    // 8 layers of 2 KV heads of 128 values, K and V: 2 x 2 x 8 rows of 66 bytes, and the position of the cell
    let per_token = cache.bytes_per_token().expect("a prompt");
    assert!((2112.0..2200.0).contains(&per_token), "{per_token} bytes per token");

    let again = answer(&scheduler, &one, 10);
    assert_eq!(again.stats.n_cached, 399);
    assert_eq!(again.tokens, first.tokens);
    let cache = scheduler.status().prompt_cache;
    assert_eq!((cache.hits, cache.tokens_saved), (1, 399));
}

#[test]
fn without_memory_for_prompts_nothing_is_kept() {
    let scheduler = Setup::of(1).start();
    for seed in [1, 2, 1] {
        assert_eq!(answer(&scheduler, &prompt(seed, 300), 2).stats.n_cached, 0);
    }
    assert_eq!(scheduler.status().prompt_cache.stored, 0);
}

#[test]
fn idle_slots_give_their_cells_to_a_job_that_needs_them() {
    let scheduler = Setup {
        n_ctx: 1024,
        prompt_cache: None,
        ..Setup::of(2)
    }
    .start();
    answer(&scheduler, &prompt(1, 500), 2);
    let second = answer(&scheduler, &prompt(2, 800), 4);
    assert_eq!(second.stats.n_generated, 4);
    assert!(scheduler.status().cells_used <= 1024);
    assert_eq!(
        answer(&scheduler, &prompt(1, 500), 2).stats.n_cached,
        499,
        "from memory"
    );
}

#[test]
fn a_cancelled_job_ends_within_a_second_also_in_company() {
    // no more than a few tokens a step on a model of this size and one thread
    let scheduler = Setup {
        n_ctx: 16384,
        n_ubatch: 2048,
        ..Setup::of(3)
    }
    .start();
    let jobs: Vec<_> = (1..=4)
        .map(|seed| submit(&scheduler, &prompt(seed, 4000), 10))
        .collect();
    jobs[0].started();
    std::thread::sleep(Duration::from_millis(300));
    let start = Instant::now();
    for job in &jobs {
        job.cancel.cancel();
    }
    for (i, job) in jobs.into_iter().enumerate() {
        match job.outcome() {
            Ok(ended) => assert!(matches!(ended.stats.reason, FinishReason::Cancelled)),
            Err(error) => assert!(matches!(error, Error::Cancelled), "job {i}: {error}"),
        }
    }
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    idle(&scheduler);
}

#[test]
fn stopping_ends_a_job_that_runs_alone_in_the_middle_of_its_prompt() {
    let scheduler = Setup {
        n_ctx: 16384,
        ..Setup::of(1)
    }
    .start();
    let job = submit(&scheduler, &prompt(1, 12000), 10);
    job.started();
    let start = Instant::now();
    scheduler.stop();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    loop {
        match job.next() {
            JobEvent::Done(stats) => break assert_eq!(stats.reason, FinishReason::Cancelled),
            JobEvent::Failed(error) => break assert!(matches!(error, Error::Cancelled)),
            _ => {}
        }
    }
}

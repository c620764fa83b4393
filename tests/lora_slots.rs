//! The scheduler and LoRA adapters: what slots share, and what they must not.

mod support;

use llama_turboquant::scheduler::{Scheduler, SlotError};
use llama_turboquant::{Error, LoraAdapter, LoraSet, Model, Token};
use support::adapter::{AdapterFile, for_tiny};
use support::scheduling::{Ended, Running, Setup, branch, idle, prompt, submit_under};
use support::{scratch, tiny, tiny_path};

fn load(model: &Model, file: &AdapterFile) -> LoraAdapter {
    let path = scratch("adapter.gguf");
    std::fs::write(&path, file.bytes()).expect("a file");
    let adapter = model.load_lora(&path).expect("an adapter");
    std::fs::remove_file(path).expect("the file");
    adapter
}

/// One adapter of the embedded model at this scale.
fn only(seed: u32, scale: f32) -> LoraSet {
    LoraSet::new(&[(load(&tiny(), &for_tiny(seed)), scale)]).expect("a set")
}

fn start(scheduler: &Scheduler, prompt: &[Token], n: usize, loras: &LoraSet) -> Running {
    submit_under(scheduler, prompt, n, loras.clone(), true)
}

fn answer(scheduler: &Scheduler, prompt: &[Token], n: usize, loras: &LoraSet) -> Ended {
    start(scheduler, prompt, n, loras).end()
}

#[test]
fn side_by_side_each_answer_is_what_it_is_alone() {
    const N: usize = 6;
    // small batches, whose size changes logits least, and a text where the best token of each step is ahead by .2 or more: the last
    // digits, which depend on the batch, decide nothing
    let setup = |slots| Setup {
        n_ubatch: 16,
        ..Setup::of(slots)
    };
    let tokens = prompt(5, 120);
    let sets = [LoraSet::default(), only(1, 1.0), only(1, 0.5), only(2, 1.0)];
    let alone = sets
        .each_ref()
        .map(|set| answer(&setup(1).start(), &tokens, N, set).tokens);
    for (i, one) in alone.iter().enumerate() {
        assert!(
            alone[..i].iter().all(|other| other != one),
            "the adapters change answers"
        );
    }
    let scheduler = setup(4).start();
    let jobs = sets.each_ref().map(|set| start(&scheduler, &tokens, N, set));
    let together = jobs.map(|job| job.end().tokens);
    assert_eq!(together, alone);
}

#[test]
fn slots_under_equal_adapters_are_computed_together() {
    let set = only(1, 1.0);
    let scheduler = Setup::of(2).start();
    let (one, two) = (prompt(1, 20), prompt(2, 20));
    let jobs = [start(&scheduler, &one, 200, &set), start(&scheduler, &two, 200, &set)];
    jobs.into_iter().for_each(|job| drop(job.end()));
    let status = scheduler.status();
    assert!(status.decoded_slots > status.decodes + 100, "{status:?}");
}

#[test]
fn an_answer_that_never_ends_does_not_hold_up_those_under_other_adapters() {
    let scheduler = Setup::of(3).start();
    let endless = start(&scheduler, &prompt(1, 20), 4000, &LoraSet::default());
    endless.first_piece();
    let others = [only(1, 1.0), only(2, 1.0)].map(|set| start(&scheduler, &prompt(2, 100), 20, &set));
    for other in others {
        assert_eq!(other.end().stats.n_generated, 20);
    }
    let slots = scheduler.slots();
    assert!(slots.iter().any(|slot| slot.busy && slot.n_decoded < 3900), "{slots:?}");
    endless.cancel.cancel();
}

#[test]
fn what_was_computed_under_other_adapters_is_no_beginning() {
    let set = only(1, 1.0);
    let scheduler = Setup::of(2).start();
    let text = prompt(1, 300);
    assert_eq!(answer(&scheduler, &text, 2, &LoraSet::default()).stats.n_cached, 0);
    let expected = answer(&Setup::of(1).start(), &text, 4, &set).tokens;
    let under = answer(&scheduler, &text, 4, &set);
    assert_eq!((under.stats.n_cached, under.tokens), (0, expected));
    assert_eq!(answer(&scheduler, &text, 2, &set).stats.n_cached, 299);
    assert_eq!(answer(&scheduler, &text, 2, &LoraSet::default()).stats.n_cached, 299);
    assert_eq!(answer(&scheduler, &text, 2, &only(1, 0.5)).stats.n_cached, 0);
}

#[test]
fn a_running_slot_under_other_adapters_is_neither_shared_nor_waited_for() {
    let scheduler = Setup {
        n_ubatch: 32,
        ..Setup::of(2)
    }
    .start();
    let leader = start(&scheduler, &prompt(1, 1500), 300, &LoraSet::default());
    leader.started();
    let other = answer(&scheduler, &branch(1, 200, 2, 10), 2, &only(1, 1.0));
    assert_eq!(other.stats.n_cached, 0);
    leader.cancel.cancel();
}

#[test]
fn a_prompt_comes_back_from_memory_only_under_its_adapters() {
    let set = only(1, 1.0);
    let scheduler = Setup {
        prompt_cache: None,
        ..Setup::of(1)
    }
    .start();
    let (one, two) = (prompt(1, 400), prompt(2, 400));
    let first = answer(&scheduler, &one, 4, &set);
    answer(&scheduler, &two, 2, &LoraSet::default());
    assert_eq!(answer(&scheduler, &one, 2, &LoraSet::default()).stats.n_cached, 0);
    let again = answer(&scheduler, &one, 4, &set);
    assert_eq!((again.stats.n_cached, again.tokens), (399, first.tokens));
}

#[test]
fn a_saved_slot_goes_on_under_its_adapters_where_they_are_loaded() {
    let model = Model::load(tiny_path()).expect("a model that no other test uses");
    let setup = |model: &Model| Setup {
        model: model.clone(),
        ..Setup::of(1)
    };
    let set = LoraSet::new(&[(load(&model, &for_tiny(1)), 0.5)]).expect("a set");
    let text = prompt(1, 200);
    let scheduler = setup(&model).start();
    let first = answer(&scheduler, &text, 4, &set);
    idle(&scheduler);
    let file = scratch("slot.bin");
    scheduler.save_slot(0, &file).expect("a saved slot");

    scheduler.erase_slot(0).expect("an idle slot");
    scheduler.restore_slot(0, &file).expect("the slot");
    assert_eq!(answer(&scheduler, &text, 2, &LoraSet::default()).stats.n_cached, 0);
    idle(&scheduler);
    scheduler.restore_slot(0, &file).expect("the slot");
    let again = answer(&scheduler, &text, 4, &set);
    assert_eq!((again.stats.n_cached, again.tokens), (199, first.tokens));

    let other = Model::load(tiny_path()).expect("the model, without its adapter");
    let scheduler = setup(&other).start();
    match scheduler.restore_slot(0, &file) {
        Err(SlotError::Failed(Error::Invalid(text))) => {
            assert!(text.contains("LoRA") && text.contains("not loaded"), "{text}");
        }
        other => panic!("expected a refusal, got {other:?}"),
    }
    std::fs::remove_file(file).expect("the file");
}

#[test]
fn an_adapter_of_another_model_is_refused_before_the_queue() {
    let other = Model::load(tiny_path()).expect("the model, loaded again");
    let set = LoraSet::new(&[(load(&other, &for_tiny(1)), 1.0)]).expect("a set");
    let scheduler = Setup::of(1).start();
    let submitted = std::panic::catch_unwind(|| start(&scheduler, &prompt(1, 20), 2, &set));
    let error = submitted.err().expect("a refusal");
    let text = error.downcast_ref::<String>().expect("a message");
    assert!(text.contains("another model"), "{text}");
}

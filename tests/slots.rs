//! Slots in files: they go on as if nothing had happened, and what is no slot of this context is refused with the reason.

mod support;

use llama_turboquant::engine::codec;
use llama_turboquant::scheduler::{Scheduler, SlotError};
use llama_turboquant::{Error, KvCacheConfig, KvType};
use std::path::PathBuf;
use support::scheduling::{Setup, alone, answer, idle, prompt, submit};
use support::slot_file::sealed;
use support::{noise_tokens, scratch, shape, synth};

fn turbo4(slots: u32) -> Setup {
    Setup {
        kv: KvCacheConfig::uniform(KvType::Turbo4),
        ..Setup::of(slots)
    }
}

/// A slot of 100 tokens of prompt 1, saved.
fn saved(setup: Setup) -> (PathBuf, usize) {
    let scheduler = setup.start();
    answer(&scheduler, &prompt(1, 100), 4);
    idle(&scheduler);
    let path = scratch("slot");
    let transfer = scheduler.save_slot(0, &path).expect("a saved slot");
    assert_eq!(transfer.bytes, std::fs::metadata(&path).expect("a file").len());
    (path, transfer.n_tokens)
}

fn refusal(scheduler: &Scheduler, bytes: &[u8]) -> String {
    let path = scratch("refused");
    std::fs::write(&path, bytes).expect("a file");
    match scheduler.restore_slot(0, &path) {
        Err(SlotError::Failed(Error::Invalid(text))) => text,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn a_restored_slot_goes_on_where_the_saved_one_was() {
    for slots in [1, 2] {
        let (path, n_tokens) = saved(turbo4(slots));
        assert_eq!(n_tokens, 103, "the prompt and all but the last token of the answer");
        let scheduler = turbo4(slots).start();
        let transfer = scheduler
            .restore_slot(slots as usize - 1, &path)
            .expect("a restored slot");
        assert_eq!(transfer.n_tokens, 103);
        let state = scheduler.slots()[slots as usize - 1];
        assert_eq!((state.n_cached, scheduler.status().cells_used), (103, 103));
        let again = answer(&scheduler, &prompt(1, 100), 12);
        assert_eq!(again.stats.n_cached, 99);
        assert_eq!(again.tokens, alone(turbo4(1), &prompt(1, 100), 12));
    }
}

#[test]
fn windows_and_recurrent_states_are_restored_and_go_on() {
    for architecture in [shape("gemma3", 4, 1, 128), shape("lfm2", 4, 2, 128)] {
        let model = synth(&architecture);
        let setup = || Setup {
            model: model.clone(),
            ..Setup::of(1)
        };
        let tokens = noise_tokens(&model, 220);
        let scheduler = setup().start();
        answer(&scheduler, &tokens[..200], 1);
        idle(&scheduler);
        let path = scratch("slot");
        scheduler.save_slot(0, &path).expect("a saved slot");
        let scheduler = setup().start();
        scheduler.restore_slot(0, &path).expect("a restored slot");
        let on = answer(&scheduler, &tokens, 8);
        assert_eq!(on.stats.n_cached, 200, "{}", model.meta().architecture);
        assert_eq!(on.tokens, alone(setup(), &tokens, 8));
    }
}

#[test]
fn a_file_of_another_cache_or_model_or_codec_is_refused_and_the_slot_stays_as_it_was() {
    let (path, _) = saved(turbo4(1));
    let bytes = std::fs::read(&path).expect("a file");
    let turbo3 = Setup {
        kv: KvCacheConfig::uniform(KvType::Turbo3),
        ..Setup::of(1)
    };
    // of another model with a vocabulary as large
    let mut params = shape("llama", 4, 2, 128);
    params.vocab = turbo4(1).model.meta().n_vocab;
    let other = Setup {
        model: synth(&params),
        ..turbo4(1)
    };
    for (setup, words) in [
        (turbo3, ["KV types", "turbo4/turbo4", "turbo3/turbo3"]),
        (other, ["model", "qwen3", "llama"]),
    ] {
        let scheduler = setup.start();
        answer(&scheduler, &prompt(2, 50), 2);
        idle(&scheduler);
        let text = refusal(&scheduler, &bytes);
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
        assert_eq!(scheduler.slots()[0].n_cached, 51);
        assert_eq!(answer(&scheduler, &prompt(2, 50), 2).stats.n_cached, 49);
    }

    let find = format!("\"codec_version\":{}", codec::version());
    let at = bytes.windows(find.len()).position(|w| w == find.as_bytes());
    let mut bytes = bytes;
    bytes[at.expect("the version") + find.len() - 1] ^= 1;
    let scheduler = turbo4(1).start();
    answer(&scheduler, &prompt(2, 50), 2);
    assert!(refusal(&scheduler, &bytes).contains("checksum"));
    let text = refusal(&scheduler, &sealed(bytes));
    assert!(text.contains("codec version"), "{text}");
    assert_eq!(scheduler.slots()[0].n_cached, 51);
}

/// Version 1 has no checkpoints, and no number of them behind its tokens.
#[test]
fn a_file_from_before_checkpoints_is_read() {
    let (path, n_tokens) = saved(turbo4(1));
    let mut bytes = std::fs::read(&path).expect("a file");
    let table = 24 + 4 * n_tokens;
    assert_eq!(bytes.drain(table..table + 4).sum::<u8>(), 0);
    bytes[8] = 1;
    std::fs::write(&path, sealed(bytes)).expect("a file");
    let scheduler = turbo4(1).start();
    assert_eq!(
        scheduler.restore_slot(0, &path).expect("a restored slot").n_tokens,
        n_tokens
    );
    assert_eq!(answer(&scheduler, &prompt(1, 100), 2).stats.n_cached, 99);
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let (path, _) = saved(turbo4(1));
    let bytes = std::fs::read(&path).expect("a file");
    let scheduler = turbo4(1).start();
    for len in [0, 7, 8, 23, 24, 100, 24 + 412, 500, bytes.len() / 2, bytes.len() - 1] {
        let text = refusal(&scheduler, &bytes[..len]);
        assert!(text.contains("cut short"), "{len} bytes: {text}");
    }
    // the same with a checksum that hides it: the state itself is checked
    for len in [24 + 412, 24 + 412 + 5, bytes.len() / 2, bytes.len() - 1] {
        refusal(&scheduler, &sealed(bytes[..len].to_vec()));
    }
    assert_eq!(answer(&scheduler, &prompt(1, 100), 2).stats.n_cached, 0);
}

#[test]
fn hostile_numbers_are_refused() {
    let (path, _) = saved(turbo4(1));
    let bytes = std::fs::read(&path).expect("a file");
    let with = |at: usize, value: u32| {
        let mut bytes = bytes.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    let scheduler = turbo4(1).start();
    for (bytes, part) in [
        (with(0, 0), "signature"),
        (with(8, 3), "version 3"),
        (with(12, u32::MAX), "4294967295 tokens"),
        (with(12, 4000), "cut short"),
        (sealed(with(24, u32::MAX)), "token -1"),
        (sealed(with(24, i32::MAX as u32)), "vocabulary"),
        (bytes[..20].to_vec(), "header"),
    ] {
        let text = refusal(&scheduler, &bytes);
        assert!(text.contains(part), "{text}");
    }
    // fewer tokens than the state has positions: whose they are nobody knows
    let mut fewer = with(12, 102);
    fewer.drain(24..28);
    let text = refusal(&scheduler, &sealed(fewer));
    assert!(text.contains("other tokens"), "{text}");
    assert_eq!(scheduler.slots()[0].n_cached, 0);
}

#[test]
fn only_regular_files_are_opened() {
    let scheduler = turbo4(1).start();
    let folder = scratch("folder");
    std::fs::create_dir(&folder).expect("a folder");
    assert!(matches!(
        scheduler.restore_slot(0, &folder),
        Err(SlotError::Failed(Error::Invalid(text))) if text.contains("regular file")
    ));
    assert!(matches!(
        scheduler.restore_slot(0, &scratch("missing")),
        Err(SlotError::Failed(Error::Io(_)))
    ));
}

#[test]
fn a_failed_save_leaves_nothing_behind() {
    let scheduler = turbo4(1).start();
    let folder = scratch("folder");
    std::fs::create_dir_all(folder.join("taken/by")).expect("a folder");
    assert!(scheduler.save_slot(0, &folder.join("taken")).is_err());
    let left = std::fs::read_dir(&folder).expect("a folder").count();
    assert_eq!(left, 1);
}

#[test]
fn a_busy_slot_is_left_alone_and_one_that_does_not_exist_is_named() {
    let scheduler = turbo4(1).start();
    let job = submit(&scheduler, &prompt(1, 100), 500);
    job.first_piece();
    assert!(matches!(
        scheduler.save_slot(0, &scratch("slot")),
        Err(SlotError::Busy(0))
    ));
    assert!(matches!(scheduler.erase_slot(0), Err(SlotError::Busy(0))));
    assert!(matches!(
        scheduler.erase_slot(1),
        Err(SlotError::Unknown { slot: 1, slots: 1 })
    ));
    job.cancel.cancel();
    job.outcome().expect("an end");
    idle(&scheduler);
    assert!(scheduler.erase_slot(0).expect("an idle slot") > 100);
    assert_eq!(scheduler.slots()[0].n_cached, 0);
    scheduler.stop();
    assert!(matches!(scheduler.erase_slot(0), Err(SlotError::Stopped(_))));
}

#[test]
fn an_empty_slot_is_saved_as_one() {
    let scheduler = turbo4(1).start();
    let path = scratch("slot");
    assert_eq!(scheduler.save_slot(0, &path).expect("a saved slot").n_tokens, 0);
    answer(&scheduler, &prompt(1, 100), 2);
    idle(&scheduler);
    scheduler.restore_slot(0, &path).expect("a restored slot");
    assert_eq!(scheduler.slots()[0].n_cached, 0);
}

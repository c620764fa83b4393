//! Several models behind one server: loaded on demand, kept, replaced and given back.

use crate::zoo::*;
use llama_turboquant::engine::synth::SynthParams;
use llama_turboquant_cli::commands::serve::backend::{
    Backend, BackendError, CancelToken, Health, KeepAlive, Opened, Wanted,
};
use llama_turboquant_cli::commands::serve::engine::{Engine, Limits};
use llama_turboquant_cli::store::Store;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant, SystemTime};

#[test]
fn a_model_is_loaded_when_a_request_names_it_and_once() {
    let zoo = Zoo::new();
    assert_eq!(zoo.engine.health(), Health::Ready, "nothing to wait for");
    assert!(zoo.loaded().is_empty());
    let first = zoo.open("b").unwrap();
    assert!(first.load > Duration::ZERO);
    assert_eq!((first.card.id.as_str(), first.card.n_ctx), ("b", 512));
    assert_eq!(zoo.loaded(), ["b"]);
    assert_eq!(zoo.open("b:latest").unwrap().load, Duration::ZERO);
}

#[test]
fn what_runs_says_what_it_occupies() {
    let zoo = Zoo::new();
    zoo.touch("a");
    let memory = zoo.running("a").memory;
    let size = std::fs::metadata(zoo.dir.path().join("a.gguf")).unwrap().len();
    assert!(memory.weights > size / 2 && memory.weights <= size, "{memory:?}");
    // two layers of two heads of 64 values of 2 bytes, K and V
    assert_eq!(memory.kv, 512 * 2 * 2 * 64 * 2 * 2);
}

#[test]
fn the_least_recently_used_model_makes_room() {
    let zoo = Zoo::with(|limits| limits.models = 2);
    for name in ["a", "b", "a", "c"] {
        zoo.touch(name);
    }
    assert_eq!(zoo.loaded(), ["a", "c"]);
    zoo.touch("d");
    assert_eq!(zoo.loaded(), ["c", "d"]);
}

#[test]
fn a_model_that_is_used_longer_counts_from_its_end() {
    let zoo = Zoo::with(|limits| limits.models = 2);
    let long = zoo.open("a").unwrap();
    zoo.touch("b");
    drop(long);
    zoo.touch("c");
    assert_eq!(zoo.loaded(), ["a", "c"]);
}

#[test]
fn a_model_in_use_stays_and_the_newcomer_is_told_to_come_back() {
    let zoo = Zoo::with(|limits| {
        limits.models = 1;
        limits.patience = Duration::from_millis(50);
    });
    let held = zoo.open("a").unwrap();
    let refused = zoo.open("b").unwrap_err();
    let BackendError::Busy { message, .. } = &refused else {
        panic!("{refused:?}")
    };
    assert!(message.contains("'b'") && message.contains("in use"), "{message}");
    assert_eq!(zoo.loaded(), ["a"]);
    drop(held);
    zoo.touch("b");
    assert_eq!(zoo.loaded(), ["b"]);
}

#[test]
fn a_newcomer_waits_for_the_model_in_use_to_be_free() {
    let zoo = Zoo::with(|limits| limits.models = 1);
    let held = zoo.open("a").unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| zoo.touch("b").card.id);
        eventually("the load waits", || zoo.engine.loading() == ["b"]);
        assert_eq!(zoo.loaded(), ["a"]);
        drop(held);
        assert_eq!(waiting.join().unwrap(), "b");
    });
    assert_eq!(zoo.loaded(), ["b"]);
}

/// A zoo where the system has `budget(bytes of one model)` bytes.
fn with_memory(budget: impl Fn(u64) -> u64) -> Zoo {
    let one = {
        let zoo = Zoo::new();
        zoo.touch("a");
        zoo.running("a").memory.total()
    };
    let total = budget(one);
    let engine: Arc<OnceLock<Weak<Engine>>> = Arc::default();
    let seen = Arc::clone(&engine);
    let zoo = Zoo::with(|limits| {
        limits.available = Arc::new(move || {
            let engine = seen.get().and_then(Weak::upgrade);
            let running = engine.map(|engine| engine.running()).unwrap_or_default();
            let taken: u64 = running.iter().map(|running| running.memory.total()).sum();
            Some(total.saturating_sub(taken))
        });
    });
    engine.set(Arc::downgrade(&zoo.engine)).unwrap();
    zoo
}

#[test]
fn models_leave_until_the_next_one_fits_the_memory() {
    // the plan is no smaller than what is taken, and no more than a few megabytes larger
    let zoo = with_memory(|one| one + (8 << 20));
    for name in ["a", "b", "c"] {
        zoo.touch(name);
    }
    assert!(!zoo.loaded().contains(&"a".to_owned()), "{:?}", zoo.loaded());
    assert!(zoo.loaded().contains(&"c".to_owned()));
}

#[test]
fn a_model_that_cannot_fit_is_refused_with_numbers_and_costs_no_other() {
    let zoo = with_memory(|one| one + (64 << 20));
    zoo.touch("a");
    let huge = Wanted {
        n_ctx: Some(4096),
        ..Wanted::named(Some("b"))
    };
    assert!(zoo.open_as(huge.clone()).is_ok(), "that one fits");
    let zoo = Zoo::with(|limits| limits.available = Arc::new(|| Some(1 << 20)));
    let default = zoo.open("a").unwrap_err();
    let BackendError::Unavailable(message) = &default else {
        panic!("{default:?}")
    };
    for part in ["'a'", "MiB", "512 tokens", "1.00 MiB is free", "--ctx-size"] {
        assert!(message.contains(part), "{part} in {message}");
    }
    // whoever asked for the size has to change the request
    let asked = zoo.open_as(huge).unwrap_err();
    assert!(
        matches!(&asked, BackendError::InvalidRequest { message, .. } if message.contains("num_ctx")),
        "{asked:?}"
    );
}

#[test]
fn a_reload_that_cannot_fit_leaves_the_model_as_it_is() {
    let available = Arc::new(AtomicUsize::new(1 << 30));
    let free = Arc::clone(&available);
    let zoo = Zoo::with(|limits| limits.available = Arc::new(move || Some(free.load(Ordering::SeqCst) as u64)));
    zoo.touch("a");
    available.store(0, Ordering::SeqCst);
    let wanted = Wanted {
        n_ctx: Some(4096),
        kv: Some("f32".parse().unwrap()),
        ..Wanted::named(Some("a"))
    };
    let refused = zoo.open_as(wanted).unwrap_err();
    assert!(matches!(refused, BackendError::InvalidRequest { .. }), "{refused:?}");
    assert_eq!(zoo.touch("a").load, Duration::ZERO);
}

// L7
#[test]
fn an_idle_model_goes_when_its_time_is_over() {
    let zoo = Zoo::with(|limits| limits.keep_alive = KeepAlive::For(Duration::from_millis(100)));
    let held = zoo.open("a").unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(zoo.loaded(), ["a"], "not while it is used");
    drop(held);
    assert!(zoo.running("a").expires.unwrap() > SystemTime::now() - Duration::from_secs(1));
    eventually("unloaded", || zoo.loaded().is_empty());
}

// L7
#[test]
fn a_request_says_how_long_its_model_stays() {
    let zoo = Zoo::new();
    let open = |keep_alive| {
        zoo.open_as(Wanted {
            keep_alive,
            ..Wanted::named(Some("a"))
        })
        .unwrap()
    };
    drop(open(None));
    let left = zoo
        .running("a")
        .expires
        .unwrap()
        .duration_since(SystemTime::now())
        .unwrap();
    assert!(
        left > Duration::from_secs(290) && left <= Duration::from_secs(300),
        "{left:?}"
    );
    drop(open(Some(KeepAlive::Forever)));
    assert_eq!(zoo.running("a").expires, None);
    drop(open(None));
    assert_eq!(zoo.running("a").expires, None, "what was said before holds");
    let last = open(lasting(Duration::ZERO));
    assert_eq!(zoo.loaded(), ["a"]);
    drop(last);
    eventually("unloaded at once", || zoo.loaded().is_empty());
}

#[test]
fn a_time_beyond_all_clocks_is_for_ever() {
    let zoo = Zoo::new();
    drop(zoo.open_as(Wanted {
        keep_alive: lasting(Duration::MAX),
        ..Wanted::named(Some("a"))
    }));
    assert_eq!(zoo.running("a").expires, None);
}

#[test]
fn the_model_of_the_start_stays_and_others_go() {
    let zoo = Zoo::new();
    let catalog = Store::open(zoo.dir.path().to_owned()).unwrap();
    let settings = settings(&["-c", "512"]);
    let engine = Engine::new(Arc::new(catalog), settings, Limits::default(), Some("b".into())).unwrap();
    assert_eq!(engine.health(), Health::Loading);
    engine.load_start_up().unwrap();
    assert_eq!(engine.health(), Health::Ready);
    drop(engine.open(&Wanted::named(Some("a")), &CancelToken::new()).unwrap());
    let expires: Vec<bool> = engine
        .running()
        .iter()
        .map(|running| running.expires.is_some())
        .collect();
    assert_eq!(expires, [true, false]);
}

#[test]
fn a_start_that_fails_is_the_servers_health() {
    let zoo = Zoo::new();
    std::fs::write(zoo.dir.path().join("b.gguf"), b"no model").unwrap();
    let catalog = Store::open(zoo.dir.path().to_owned()).unwrap();
    let engine = Engine::new(Arc::new(catalog), settings(&[]), Limits::default(), Some("b".into())).unwrap();
    let error = engine.load_start_up().unwrap_err().to_string();
    assert!(error.contains("'b'") && error.contains("not a GGUF file"), "{error}");
    assert!(matches!(engine.health(), Health::Failed(why) if why == error));
}

#[test]
fn requests_for_a_model_that_is_being_loaded_join_the_load() {
    let (zoo, gate) = gated();
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..5).map(|_| scope.spawn(|| zoo.open("a").unwrap())).collect();
        eventually("loading", || zoo.engine.loading() == ["a"] && gate.asked() > 0);
        std::thread::sleep(Duration::from_millis(100)); // so that they have joined; who comes later finds the model loaded
        gate.open();
        let opened: Vec<Opened> = waiting.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(opened.iter().any(|opened| opened.load > Duration::ZERO));
        assert!(opened.iter().all(|other| other.card == opened[0].card));
    });
    let joined = gate.asked();
    zoo.touch("b");
    assert_eq!(gate.asked() - joined, joined, "as often as one load alone");
}

// O17
#[test]
fn the_last_client_to_go_away_cancels_the_load() {
    let (zoo, gate) = gated();
    let (first, second) = (CancelToken::new(), CancelToken::new());
    std::thread::scope(|scope| {
        let open = |cancel| {
            let zoo = &zoo;
            scope.spawn(move || zoo.engine.open(&Wanted::named(Some("a")), cancel).map(|_| ()))
        };
        let waiting = [open(&first), open(&second)];
        eventually("loading", || gate.asked() > 0);
        let start = Instant::now();
        for (thread, cancel) in waiting.into_iter().zip([&first, &second]) {
            cancel.cancel();
            assert!(thread.join().unwrap().is_err());
        }
        assert!(start.elapsed() < Duration::from_secs(1));
    });
    assert!(zoo.engine.loading().is_empty());
    gate.open();
    let again = zoo.open("a").unwrap();
    assert!(again.load > Duration::ZERO, "what was given up was not loaded");
}

#[test]
fn a_client_that_stays_gets_the_model_that_another_gave_up() {
    let (zoo, gate) = gated();
    let gone = CancelToken::new();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| zoo.engine.open(&Wanted::named(Some("a")), &gone).is_ok());
        eventually("loading", || gate.asked() > 0);
        let second = scope.spawn(|| zoo.open("a").is_ok());
        std::thread::sleep(Duration::from_millis(100)); // so that it has joined; otherwise it loads anew, which is fine too
        gone.cancel();
        assert!(!first.join().unwrap());
        gate.open();
        assert!(second.join().unwrap());
    });
}

// L11
#[test]
fn a_longer_context_means_loading_again_and_a_shorter_one_does_not() {
    let zoo = Zoo::new();
    let open = |n_ctx| {
        let wanted = Wanted {
            n_ctx,
            ..Wanted::named(Some("a"))
        };
        drop(zoo.open_as(wanted.clone()).unwrap());
        let again = zoo.open_as(wanted).unwrap();
        assert_eq!(again.load, Duration::ZERO, "{n_ctx:?} is served as loaded");
        assert_eq!(
            again.card.n_ctx,
            n_ctx.unwrap_or(u32::MAX).min(zoo.running("a").card.n_ctx),
            "what the request may use"
        );
        zoo.running("a").card.n_ctx
    };
    assert_eq!(open(None), 512);
    assert_eq!(open(Some(300)), 512);
    assert_eq!(open(Some(1000)), 1024, "the engine rounds to 256");
    assert_eq!(open(None), 1024);
    assert_eq!(open(Some(1_000_000)), 4096, "what it was trained for");
}

// L11
#[test]
fn other_kv_types_mean_loading_again_and_are_visible() {
    let zoo = Zoo::new();
    let kv = |text: &str| {
        let wanted = Wanted {
            kv: Some(text.parse().unwrap()),
            ..Wanted::named(Some("a"))
        };
        let load = zoo.open_as(wanted).unwrap().load;
        let card = zoo.running("a").card;
        (load > Duration::ZERO, card.kv.type_k, card.kv.type_v)
    };
    zoo.touch("a");
    let said = |load, k: &str, v: &str| (load, k.to_owned(), v.to_owned());
    assert_eq!(kv("f16"), said(false, "f16", "f16"));
    assert_eq!(kv("q8_0/f16"), said(true, "q8_0", "f16"));
    assert_eq!(kv("q8_0/f16"), said(false, "q8_0", "f16"));
    zoo.touch("a");
    assert_eq!(
        zoo.running("a").card.kv.type_k,
        "q8_0",
        "who does not care does not change it"
    );
}

#[test]
fn loading_again_waits_for_those_who_use_the_model_and_then_gives_up() {
    let zoo = Zoo::with(|limits| limits.patience = Duration::from_millis(200));
    let held = zoo.open("a").unwrap();
    let longer = Wanted {
        n_ctx: Some(2048),
        ..Wanted::named(Some("a"))
    };
    let refused = zoo.open_as(longer.clone()).unwrap_err();
    assert!(
        matches!(&refused, BackendError::Busy { message, .. } if message.contains("num_ctx")),
        "{refused:?}"
    );
    assert_eq!(zoo.open("a").unwrap().card.n_ctx, 512);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| zoo.open_as(longer).unwrap().card.n_ctx);
        drop(held);
        assert_eq!(waiting.join().unwrap(), 2048);
    });
}

#[test]
fn a_file_that_was_replaced_is_loaded_anew() {
    let zoo = Zoo::new();
    zoo.touch("a");
    let other = SynthParams {
        layers: 3,
        ..SynthParams::default()
    };
    other.write(zoo.dir.path().join("a.gguf")).unwrap();
    let opened = zoo.open("a").unwrap();
    assert!(opened.load > Duration::ZERO);
    assert!(opened.card.n_params > zoo.touch("b").card.n_params);
}

#[test]
fn models_share_the_memory_for_prompts() {
    for (models, share) in [(2, 2000), (3, 1333), (0, 1000), (9, 1000)] {
        let zoo = Zoo::with(|limits| {
            limits.models = models;
            limits.slots.prompt_cache = Some(4000);
        });
        let held = [zoo.open("a").unwrap(), zoo.open("b").unwrap()];
        for opened in &held {
            assert_eq!(zoo.running(&opened.card.id).prompt_cache.limit, Some(share), "{models}");
        }
    }
    let unlimited = Zoo::with(|limits| limits.slots.prompt_cache = None);
    unlimited.touch("a");
    assert_eq!(unlimited.running("a").prompt_cache.limit, None);
}

#[test]
fn memory_for_prompts_that_was_given_away_is_not_given_twice() {
    let zoo = Zoo::with(|limits| limits.slots.prompt_cache = Some(4000));
    for name in ["b", "c", "d"] {
        std::fs::remove_file(zoo.dir.path().join(format!("{name}.gguf"))).unwrap();
    }
    let first = zoo.open("a").unwrap();
    assert_eq!(zoo.running("a").prompt_cache.limit, Some(4000), "the only one");
    std::fs::copy(zoo.dir.path().join("a.gguf"), zoo.dir.path().join("b.gguf")).unwrap();
    zoo.touch("b");
    assert_eq!(zoo.running("b").prompt_cache.limit, Some(0));
    drop(first);
    assert!(zoo.engine.unload("a").unwrap() && zoo.engine.unload("b").unwrap());
    zoo.touch("b");
    assert_eq!(zoo.running("b").prompt_cache.limit, Some(2000));
}

#[test]
fn unloading_waits_for_those_who_use_the_model() {
    let zoo = Zoo::new();
    assert!(!zoo.engine.unload("a").unwrap(), "it was not loaded");
    let held = zoo.open("a").unwrap();
    std::thread::scope(|scope| {
        let unloading = scope.spawn(|| zoo.engine.unload("a:latest").unwrap());
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(zoo.loaded(), ["a"]);
        assert!(!unloading.is_finished());
        drop(held);
        assert!(unloading.join().unwrap());
    });
    assert!(zoo.loaded().is_empty());
    assert_eq!(
        zoo.engine.unload("x").unwrap_err(),
        BackendError::UnknownModel("x".into())
    );
}

#[test]
fn a_stopped_pool_loads_nothing_and_holds_nothing() {
    let (zoo, gate) = gated();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| zoo.open("a"));
        eventually("loading", || gate.asked() > 0);
        let stopping = scope.spawn(|| zoo.engine.stop());
        assert!(waiting.join().unwrap().is_err());
        gate.open();
        stopping.join().unwrap();
    });
    assert!(zoo.loaded().is_empty());
    assert!(matches!(zoo.open("b"), Err(BackendError::Unavailable(_))));
}

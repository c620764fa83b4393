//! Several models behind one server: loaded on demand, kept, replaced and given back. The models are tiny random ones.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use clap::Parser;
use http_body_util::BodyExt;
use llama_turboquant::engine::synth::SynthParams;
use llama_turboquant_cli::args::{Args, Command};
use llama_turboquant_cli::commands::serve::backend::{
    Backend, BackendError, CancelToken, ChatPrompt, Health, KeepAlive, Opened, Running, Wanted,
};
use llama_turboquant_cli::commands::serve::engine::{Engine, FixedCatalog, Limits};
use llama_turboquant_cli::commands::serve::on_offer::{self, OnOffer};
use llama_turboquant_cli::commands::serve::{AppState, Settings, app};
use llama_turboquant_cli::options::ModelOverrides;
use llama_turboquant_cli::settings::ModelSettings;
use llama_turboquant_cli::store::Store;
use llama_turboquant_cli::store::{Catalog, Entry};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant, SystemTime};
use tempfile::TempDir;
use tower::ServiceExt;

const SOON: Duration = Duration::from_secs(10);

/// A folder of models and the engine that serves them.
struct Zoo {
    dir: TempDir,
    engine: Arc<Engine>,
}

fn write_model(path: &Path) {
    SynthParams::default().write(path).unwrap();
}

/// What `serve` makes of these options.
fn settings(options: &[&str]) -> ModelSettings {
    // one thread: the tests run side by side, and waiting threads of ggml spin
    let line = [
        "turboquant",
        "serve",
        "--threads",
        "1",
        "--cache-type-k",
        "f16",
        "--cache-type-v",
        "f16",
    ];
    let line = line.iter().chain(options);
    let Command::Serve(args) = Args::parse_from(line).command else {
        unreachable!()
    };
    ModelSettings::new(&args.model, args.serving.parallel).unwrap()
}

impl Zoo {
    /// Models `a` to `d` with a context of 512 tokens.
    fn with(change: impl FnOnce(&mut Limits)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let first = dir.path().join("a.gguf");
        write_model(&first);
        for name in ["b", "c", "d"] {
            std::fs::copy(&first, dir.path().join(format!("{name}.gguf"))).unwrap();
        }
        let mut limits = Limits::default();
        change(&mut limits);
        let catalog = Store::open(dir.path().to_owned()).unwrap();
        let engine = Engine::new(Arc::new(catalog), settings(&["-c", "512"]), limits, None).unwrap();
        Self {
            dir,
            engine: Arc::new(engine),
        }
    }

    fn new() -> Self {
        Self::with(|_| {})
    }

    fn open(&self, name: &str) -> Result<Opened, BackendError> {
        self.open_as(Wanted::named(Some(name)))
    }

    fn open_as(&self, wanted: Wanted) -> Result<Opened, BackendError> {
        self.engine.open(&wanted, &CancelToken::new())
    }

    /// Opens and lets go.
    fn touch(&self, name: &str) -> Opened {
        let mut opened = self.open(name).unwrap();
        opened.lease = llama_turboquant_cli::commands::serve::backend::Lease::new(());
        opened
    }

    /// Names of the loaded models.
    fn loaded(&self) -> Vec<String> {
        self.engine
            .running()
            .into_iter()
            .map(|running| running.card.id)
            .collect()
    }

    fn running(&self, name: &str) -> Running {
        let running = self.engine.running();
        running.into_iter().find(|running| running.card.id == name).unwrap()
    }

    fn app(&self) -> axum::Router {
        app(AppState::new(self.engine.clone(), Settings::default()))
    }
}

#[track_caller]
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < SOON, "not within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn lasting(time: Duration) -> Option<KeepAlive> {
    Some(KeepAlive::For(time))
}

/// Holds up every load at the point where it asks for memory, until it is opened.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    changed: Condvar,
    asked: AtomicUsize,
}

impl Gate {
    fn pass(&self) {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut open = self.open.lock().unwrap();
        while !*open {
            open = self.changed.wait(open).unwrap();
        }
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.changed.notify_all();
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// A zoo whose loads wait at a gate.
fn gated() -> (Zoo, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let passed = Arc::clone(&gate);
    let zoo = Zoo::with(|limits| {
        limits.available = Arc::new(move || {
            passed.pass();
            None
        });
    });
    (zoo, gate)
}

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
fn names_are_matched_as_there_are_many_or_one() {
    let zoo = Zoo::new();
    let unknown = zoo.open("gpt-4o").unwrap_err();
    assert_eq!(unknown, BackendError::UnknownModel("gpt-4o".into()));
    let nameless = zoo.open_as(Wanted::default()).unwrap_err();
    assert!(
        matches!(&nameless, BackendError::InvalidRequest { param: Some(param), .. } if param == "model"),
        "{nameless:?}"
    );

    for name in ["b", "c", "d"] {
        std::fs::remove_file(zoo.dir.path().join(format!("{name}.gguf"))).unwrap();
    }
    assert_eq!(zoo.open("gpt-4o").unwrap().card.id, "a");
    assert_eq!(zoo.open_as(Wanted::default()).unwrap().card.id, "a");
    let exact = Wanted {
        exact: true,
        ..Wanted::named(Some("gpt-4o"))
    };
    assert_eq!(
        zoo.open_as(exact).unwrap_err(),
        BackendError::UnknownModel("gpt-4o".into())
    );
}

#[test]
fn a_broken_file_is_left_out_of_the_list_and_refused_by_name() {
    let zoo = Zoo::new();
    let broken = zoo.dir.path().join("b.gguf");
    let whole = std::fs::read(&broken).unwrap();
    std::fs::write(&broken, &whole[..whole.len() / 2]).unwrap();
    std::fs::write(zoo.dir.path().join("c.gguf"), b"GGUFgarbage").unwrap();
    let ids: Vec<String> = zoo.engine.offers().unwrap().into_iter().map(|offer| offer.id).collect();
    assert!(
        ids.contains(&"a".to_owned()) && ids.contains(&"d".to_owned()),
        "{ids:?}"
    );
    assert!(!ids.contains(&"c".to_owned()), "{ids:?}");
    for name in ["b", "c"] {
        let refused = zoo.open(name).unwrap_err();
        let BackendError::Unavailable(message) = &refused else {
            panic!("{refused:?}")
        };
        assert!(message.contains(&format!("'{name}'")), "{message}");
        let folder = zoo.dir.path().display().to_string();
        assert!(!message.contains(&folder), "no paths for clients: {message}");
    }
    zoo.touch("d");
}

#[test]
fn offers_describe_models_without_loading_them() {
    let zoo = Zoo::new();
    let offers = zoo.engine.offers().unwrap();
    let ids: Vec<&str> = offers.iter().map(|offer| offer.id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "c", "d"]);
    assert_eq!(
        (offers[0].architecture.as_str(), offers[0].n_ctx_train),
        ("llama", 4096)
    );
    assert_eq!(offers[0].quantization, "F16");
    let details = zoo.engine.details("b").unwrap();
    assert_eq!(details.metadata["llama.context_length"], 4096);
    assert_eq!(details.offer, offers[1]);
    assert_eq!(
        zoo.engine.details("x").unwrap_err(),
        BackendError::UnknownModel("x".into())
    );
    assert!(zoo.loaded().is_empty());
}

#[test]
fn an_alias_brings_its_template_and_its_context() {
    let zoo = Zoo::new();
    let folder = Store::open(zoo.dir.path().to_owned()).unwrap();
    let parameters = json!({ "num_ctx": 768, "kv_cache_type": "q8_0" });
    let alias = Entry {
        name: "pirate".into(),
        template: Some("{% for m in messages %}Arr! {{ m.content }}{% endfor %}".into()),
        system: Some("Talk like a pirate.".into()),
        parameters: parameters.as_object().cloned().unwrap_or_else(Map::new),
        parent: Some("a".into()),
        ..folder.find("a").unwrap().unwrap()
    };
    let catalog = Arc::new(FixedCatalog::new(vec![alias]));
    let engine = Engine::new(catalog, settings(&["-c", "512"]), Limits::default(), None).unwrap();
    let opened = engine
        .open(&Wanted::named(Some("pirate")), &CancelToken::new())
        .unwrap();
    assert_eq!((opened.card.n_ctx, opened.card.kv.type_k.as_str()), (768, "q8_0"));
    let prompt = ChatPrompt {
        messages: json!([{ "role": "user", "content": "hello" }]),
        ..ChatPrompt::default()
    };
    assert_eq!(engine.render("pirate", prompt).unwrap().trim(), "Arr! hello");
    let details = engine.details("pirate").unwrap();
    assert_eq!(details.system.as_deref(), Some("Talk like a pirate."));
    assert_eq!(details.parent.as_deref(), Some("a"));
    assert_eq!(details.parameters["num_ctx"], 768);
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

async fn send(app: &axum::Router, request: Request<Body>) -> (StatusCode, Option<String>, Value) {
    let response = app.clone().oneshot(request).await.unwrap();
    let loaded = response.headers().get("x-turboquant-loaded");
    let loaded = loaded.map(|value| value.to_str().unwrap().to_owned());
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, loaded, serde_json::from_slice(&bytes).unwrap())
}

async fn post(app: &axum::Router, path: &str, body: Value) -> (StatusCode, Option<String>, Value) {
    send(app, Request::post(path).body(Body::from(body.to_string())).unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_says_that_its_model_was_loaded_and_how() {
    let zoo = Zoo::new();
    let app = zoo.app();
    let mut body = json!({ "model": "a", "prompt": "x", "max_tokens": 2, "keep_alive": -1 });
    let (status, loaded, answer) = post(&app, "/v1/completions", body.clone()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert!(loaded.unwrap().ends_with("; n_ctx=512; kv=f16/f16"));
    assert_eq!(zoo.running("a").expires, None);
    assert_eq!(post(&app, "/v1/completions", body.clone()).await.1, None);
    body["options"] = json!({ "kv_cache_type": "q8_0:f16", "num_ctx": 1024 });
    let (_, loaded, _) = post(&app, "/v1/completions", body).await;
    assert!(loaded.unwrap().ends_with("; n_ctx=1024; kv=q8_0/f16"));
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_loaded_and_unloaded_by_hand_as_with_llama_server() {
    let zoo = Zoo::new();
    let app = zoo.app();
    let states = async || {
        let request = Request::get("/models").body(Body::empty()).unwrap();
        let list = send(&app, request).await.2;
        let models = list["data"].as_array().unwrap().clone();
        models
            .iter()
            .map(|model| model["status"]["value"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(states().await, ["unloaded"; 4]);
    let (status, _, answer) = post(&app, "/models/load", json!({ "model": "b" })).await;
    assert_eq!((status, answer), (StatusCode::OK, json!({ "success": true })));
    assert_eq!(states().await, ["unloaded", "loaded", "unloaded", "unloaded"]);
    let (status, _, answer) = post(&app, "/models/unload", json!({ "model": "b" })).await;
    assert_eq!((status, answer), (StatusCode::OK, json!({ "success": true })));
    assert_eq!(states().await, ["unloaded"; 4]);
    let (status, _, answer) = post(&app, "/models/unload", json!({ "model": "b" })).await;
    assert_eq!(
        (status, &answer["error"]["param"]),
        (StatusCode::BAD_REQUEST, &json!("model"))
    );
    let (status, _, answer) = post(&app, "/models/load", json!({ "model": "x" })).await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (StatusCode::NOT_FOUND, &json!("model_not_found"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_runs_to_its_end_before_its_model_is_unloaded() {
    let zoo = Zoo::new();
    let body = json!({ "model": "a", "prompt": "x", "stream": true, "ignore_eos": true, "max_tokens": 200, "seed": 1 });
    let request = Request::post("/v1/completions")
        .body(Body::from(body.to_string()))
        .unwrap();
    let mut stream = zoo.app().oneshot(request).await.unwrap().into_body();
    let first = stream.frame().await.unwrap().unwrap();
    let engine = zoo.engine.clone();
    let unloading = tokio::task::spawn_blocking(move || engine.unload("a").unwrap());
    let mut text = String::from_utf8(first.into_data().unwrap().to_vec()).unwrap();
    let rest = stream.collect().await.unwrap().to_bytes();
    text.push_str(std::str::from_utf8(&rest).unwrap());
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    assert!(text.contains("\"finish_reason\":\"length\""), "{text}");
    assert!(unloading.await.unwrap());
    assert!(zoo.loaded().is_empty());
}

// O17
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_dropped_while_its_model_loads_cancels_the_load() {
    let (zoo, gate) = gated();
    let app = zoo.app();
    let body = json!({ "model": "a", "prompt": "x" });
    let request = tokio::spawn(async move { post(&app, "/v1/completions", body).await });
    while gate.asked() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());
    let given_up = async {
        while !zoo.engine.loading().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, given_up)
        .await
        .expect("the load is given up");
    gate.open();
    let again = tokio::task::spawn_blocking(move || zoo.open("a").unwrap().load);
    assert!(
        again.await.unwrap() > Duration::ZERO,
        "what was given up was not loaded"
    );
}

#[test]
fn a_model_of_the_folder_has_the_name_and_the_options_of_the_configuration_file() {
    let zoo = Zoo::with(|_| {});
    let folder = zoo.dir.path().to_str().unwrap();
    let line = [
        "turboquant",
        "serve",
        "--threads",
        "1",
        "--cache-type-k",
        "f16",
        "--cache-type-v",
        "f16",
        "--models-dir",
        folder,
    ];
    let Command::Serve(args) = Args::parse_from(line).command else {
        unreachable!()
    };
    let said = |name: &str| ModelOverrides {
        alias: Some("other".into()),
        ctx_size: Some(384),
        ..ModelOverrides::new(name)
    };
    let settings = ModelSettings::new(&args.model, 1).unwrap();
    let models = [said("a")];
    let offered = OnOffer::new(&args, &models, &settings).unwrap();
    let limits = on_offer::limits(&args, &models).unwrap();
    let engine = Engine::new(offered.catalog, settings.clone(), limits, offered.start_up).unwrap();
    for name in ["other", "a"] {
        let opened = engine
            .open(
                &Wanted {
                    exact: true,
                    ..Wanted::named(Some(name))
                },
                &CancelToken::new(),
            )
            .unwrap();
        assert_eq!(
            opened.card.n_ctx_total, 512,
            "384 rounded up to what the engine takes, for {name}"
        );
    }
    let gone = OnOffer::new(&args, &[said("nobody")], &settings).err().unwrap();
    assert!(format!("{gone:#}").contains("nobody"), "{gone:#}");
}

//! Ollama's variables: what they come to in the settings that a server starts with, and what is said of nonsense.

use std::path::Path;
use std::time::Duration;

use llama_turboquant_cli::args::Command;
use llama_turboquant_cli::args::serve::ServeArgs;
use llama_turboquant_cli::commands::serve::Settings;
use llama_turboquant_cli::commands::serve::address::{Surface, addresses};
use llama_turboquant_cli::commands::serve::backend::KeepAlive;
use llama_turboquant_cli::commands::serve::engine::Limits;
use llama_turboquant_cli::commands::serve::on_offer::{OnOffer, limits};
use llama_turboquant_cli::commands::serve::start;
use llama_turboquant_cli::settings::ModelSettings;

use crate::{parsed, refused, serve, try_serve};

fn with(variable: &str, value: &str) -> ServeArgs {
    serve("--ollama", &[(variable, value)])
}

fn pool(variable: &str, value: &str) -> Limits {
    limits(&with(variable, value), &[]).unwrap()
}

fn server(variable: &str, value: &str) -> Settings {
    start::settings(&with(variable, value)).unwrap()
}

fn model(variable: &str, value: &str) -> ModelSettings {
    let args = with(variable, value);
    ModelSettings::for_slots(&args.model, args.serving.parallel).unwrap()
}

/// The thirteen of the contract, each with a value that is not its default, and the option that it stands for.
const ALL: [(&str, &str, &str); 13] = [
    ("OLLAMA_HOST", "0.0.0.0:5000", "ollama-host = \"0.0.0.0:5000\""),
    ("OLLAMA_MODELS", "/models", "models-dir = \"/models\""),
    ("OLLAMA_KEEP_ALIVE", "10m", "keep-alive = \"10m\""),
    ("OLLAMA_NUM_PARALLEL", "3", "parallel = 3"),
    ("OLLAMA_MAX_QUEUE", "12", "queue = 12"),
    ("OLLAMA_MAX_LOADED_MODELS", "5", "models-max = 5"),
    ("OLLAMA_CONTEXT_LENGTH", "8192", "ctx-size = 8192"),
    ("OLLAMA_FLASH_ATTENTION", "1", ""),
    ("OLLAMA_KV_CACHE_TYPE", "q8_0:turbo3", "cache-type-v = \"turbo3\""),
    ("OLLAMA_ORIGINS", "app://x", "cors-origins = [\"app://x\"]"),
    ("OLLAMA_LOAD_TIMEOUT", "7m", "load-timeout = \"7m\""),
    ("OLLAMA_GPU_OVERHEAD", "1024", "gpu-overhead = 1024"),
    ("OLLAMA_DEBUG", "1", ""),
];

// L18
#[test]
fn every_variable_is_shown_with_what_it_sets() {
    let variables = ALL.map(|(name, value, _)| (name, value));
    let parsed = parsed("--ollama", &variables);
    let lines = parsed.origin.shown;
    for (name, _, line) in ALL.iter().filter(|(.., line)| !line.is_empty()) {
        let line = format!("{line}  # {name}");
        assert!(lines.contains(&line), "`{line}` is not in\n{}", lines.join("\n"));
    }
    assert!(parsed.origin.unused.is_empty(), "{:?}", parsed.origin.unused);
}

// L18
#[test]
fn without_ollama_they_are_not_read_and_an_option_beats_them() {
    let variables = ALL.map(|(name, value, _)| (name, value));
    let alone = parsed("", &variables);
    assert!(alone.origin.sources.is_empty(), "{:?}", alone.origin.sources);
    assert_eq!(serve("--ollama --queue 9", &variables).serving.queue, 9);
}

// L18
#[test]
fn an_empty_variable_says_nothing_and_quotes_are_left_out() {
    assert_eq!(with("OLLAMA_MAX_QUEUE", " ").serving.queue, 64);
    assert_eq!(with("OLLAMA_MAX_QUEUE", "\"12\"").serving.queue, 12);
}

// L18
#[test]
fn a_variable_of_ollama_that_means_nothing_here_is_told_about() {
    let origin = parsed("--ollama", &[("OLLAMA_SCHED_SPREAD", "1"), ("OLLAMA_MAX_QUEUE", "1")]).origin;
    assert_eq!(origin.unused, ["OLLAMA_SCHED_SPREAD"]);
}

// L18
#[test]
fn host_is_where_the_server_listens_for_ollamas_clients() {
    let planned = addresses(&with("OLLAMA_HOST", "0.0.0.0:5000").listen).unwrap();
    let (surface, address) = &planned[1];
    assert_eq!(
        (*surface, address.to_string().as_str()),
        (Surface::Ollama, "0.0.0.0:5000")
    );
    let error = addresses(&with("OLLAMA_HOST", "ftp://x").listen)
        .unwrap_err()
        .to_string();
    assert!(error.contains("`ftp://x`") && error.contains("HOST:PORT"), "{error}");
}

// L18
#[test]
fn models_is_the_folder_of_the_models_on_offer() {
    let dir = tempfile::tempdir().unwrap();
    let offered = |folder: &Path| {
        let args = with("OLLAMA_MODELS", folder.to_str().unwrap());
        let settings = ModelSettings::for_slots(&args.model, args.serving.parallel).unwrap();
        OnOffer::new(&args, &[], &settings)
    };
    let (store, _) = offered(dir.path()).unwrap().store.expect("a folder of models");
    assert_eq!(store.folder(), dir.path());
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = format!("{:#}", offered(&file).err().expect("no folder"));
    assert!(
        error.contains(file.to_str().unwrap()) && error.contains("not a directory"),
        "{error}"
    );
}

// L18
#[test]
fn keep_alive_is_how_long_models_stay_that_of_the_start_too() {
    for (value, time) in [
        ("10m", KeepAlive::For(Duration::from_secs(600))),
        ("90", KeepAlive::For(Duration::from_secs(90))),
        ("0", KeepAlive::For(Duration::ZERO)),
        ("-1", KeepAlive::Forever),
    ] {
        let limits = pool("OLLAMA_KEEP_ALIVE", value);
        assert_eq!((limits.keep_alive, limits.keep_start_up), (time, time), "{value}");
    }
}

// L18
#[test]
fn num_parallel_is_the_number_of_slots() {
    assert_eq!(model("OLLAMA_NUM_PARALLEL", "3").context.n_seq_max, 3);
    assert_eq!(model("OLLAMA_NUM_PARALLEL", "0").context.n_seq_max, 4, "choose");
}

// L18
#[test]
fn max_queue_is_how_many_requests_wait_for_a_model() {
    assert_eq!(pool("OLLAMA_MAX_QUEUE", "12").queue, 12);
}

// L18
#[test]
fn max_loaded_models_is_how_many_models_are_loaded_at_once() {
    assert_eq!(pool("OLLAMA_MAX_LOADED_MODELS", "5").models, 5);
}

// L18
#[test]
fn context_length_is_the_context_of_models() {
    assert_eq!(model("OLLAMA_CONTEXT_LENGTH", "8192").context.n_ctx, 8192);
}

// L18
#[test]
fn flash_attention_is_on_and_cannot_be_turned_off() {
    for value in ["1", "true", "TRUE", "t"] {
        let parsed = parsed("--ollama", &[("OLLAMA_FLASH_ATTENTION", value)]);
        assert!(
            parsed.origin.sources.is_empty() && parsed.origin.unused.is_empty(),
            "{value}"
        );
    }
    for value in ["0", "false", "F"] {
        let named = format!("OLLAMA_FLASH_ATTENTION={value}");
        let words = [&named, "compressed caches need flash attention", "unset it"];
        refused("--ollama", &[("OLLAMA_FLASH_ATTENTION", value)], &words);
    }
}

// L18
#[test]
fn kv_cache_type_is_the_type_of_the_cache_or_of_each_side() {
    for (value, k, v) in [
        ("turbo3", "turbo3", "turbo3"),
        ("q8_0:turbo4", "q8_0", "turbo4"),
        ("f16", "f16", "f16"),
    ] {
        let cache = model("OLLAMA_KV_CACHE_TYPE", value).caches().remove(0);
        assert_eq!(
            (cache.k.to_string(), cache.v.to_string()),
            (k.into(), v.into()),
            "{value}"
        );
    }
}

// L18
#[test]
fn origins_are_pages_that_may_call() {
    let origins = server("OLLAMA_ORIGINS", "https://a.example,app://*").origins;
    assert!(origins.allow("https://a.example", None) && origins.allow("app://x", None));
    assert!(!origins.allow("https://b.example", None));
    let error = start::settings(&with("OLLAMA_ORIGINS", "http://*.a.*")).unwrap_err();
    assert!(
        format!("{error:#}").contains("http://*.a.*: one * in each at most"),
        "{error:#}"
    );
}

// L18
#[test]
fn load_timeout_is_how_long_a_request_waits_for_its_model() {
    assert_eq!(
        server("OLLAMA_LOAD_TIMEOUT", "10m").load_timeout,
        Duration::from_secs(600)
    );
    for endless in ["0", "-1"] {
        assert_eq!(server("OLLAMA_LOAD_TIMEOUT", endless).load_timeout, Duration::ZERO);
    }
}

// L18
#[test]
fn gpu_overhead_is_memory_that_models_leave() {
    let all = u64::MAX.to_string();
    let left = |variables: &[(&str, &str)]| (limits(&serve("--ollama", variables), &[]).unwrap().available)();
    assert_ne!(left(&[]), Some(0));
    assert_eq!(left(&[("OLLAMA_GPU_OVERHEAD", &all)]).unwrap_or_default(), 0);
}

// L18
#[test]
fn debug_is_how_much_is_logged() {
    for (value, verbose) in [("1", 1), ("true", 1), ("2", 2), ("7", 2), ("0", 0), ("false", 0)] {
        let parsed = parsed("--ollama", &[("OLLAMA_DEBUG", value)]);
        assert_eq!(parsed.args.verbose, verbose, "{value}");
    }
}

// L18
#[test]
fn nonsense_is_refused_with_variable_value_and_what_is_allowed() {
    for (name, value, allowed) in [
        ("OLLAMA_KEEP_ALIVE", "soon", "10m"),
        ("OLLAMA_NUM_PARALLEL", "many", "a whole number"),
        ("OLLAMA_NUM_PARALLEL", "-1", "not in 0.."),
        ("OLLAMA_MAX_QUEUE", "1.5", "a whole number"),
        ("OLLAMA_MAX_LOADED_MODELS", "all", "a whole number"),
        ("OLLAMA_CONTEXT_LENGTH", "8k", "a whole number"),
        ("OLLAMA_CONTEXT_LENGTH", "99999999999", "0..=4294967295"),
        ("OLLAMA_FLASH_ATTENTION", "perhaps", "1 or true"),
        ("OLLAMA_KV_CACHE_TYPE", "turbo9", "turbo4, turbo3, turbo2"),
        ("OLLAMA_KV_CACHE_TYPE", "q8_0:", "as in q8_0:turbo4"),
        ("OLLAMA_LOAD_TIMEOUT", "later", "1h30m"),
        ("OLLAMA_GPU_OVERHEAD", "1GB", "a whole number"),
        ("OLLAMA_DEBUG", "perhaps", "0 or false, 1 or true"),
    ] {
        refused("--ollama", &[(name, value)], &[name, value, allowed]);
    }
    assert!(try_serve("", &[("OLLAMA_DEBUG", "perhaps")]).is_ok(), "not read");
}

// L18
#[test]
fn more_slots_or_context_than_the_engine_has_are_refused_before_any_work() {
    for (name, value, limit) in [
        ("OLLAMA_NUM_PARALLEL", "100000", "between 1 and 256"),
        ("OLLAMA_CONTEXT_LENGTH", "4294967295", "2147483647"),
    ] {
        let parsed = parsed("--ollama", &[(name, value)]);
        let Command::Serve(args) = parsed.args.command else {
            panic!()
        };
        let error = ModelSettings::for_slots(&args.model, args.serving.parallel).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(limit) && text.contains(value), "{text}");
        assert!(parsed.origin.sources_of(&text).contains(&format!("is set by {name}")));
    }
}

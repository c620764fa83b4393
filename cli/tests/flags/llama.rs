//! Flags of llama-server: all have a meaning.

use clap::CommandFactory;
use llama_turboquant_cli::args::{Args, llama};
use llama_turboquant_cli::loras::{LoraFile, LoraFiles};
use llama_turboquant_cli::options::{Environment, ParseError, parse};

use crate::{line, parsed, refused, serve};

/// Names, negations, number of values and variable of each flag of the pinned llama-server.
fn their_flags() -> Vec<(Vec<&'static str>, Vec<&'static str>, usize, &'static str)> {
    include_str!("../data/llama_server_flags.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let mut fields = line.split('\t');
            let mut names = || fields.next().unwrap_or("").split_whitespace().collect::<Vec<_>>();
            let (on, off) = (names(), names());
            (
                on,
                off,
                fields.next().unwrap().parse().unwrap(),
                fields.next().unwrap_or(""),
            )
        })
        .collect()
}

#[test]
fn every_flag_of_llama_server_has_a_meaning() {
    let mut missing = Vec::new();
    for (on, off, values, env) in their_flags() {
        for (names, negated) in [(on, false), (off, true)] {
            for name in names {
                match llama::find(name) {
                    Some((flag, not)) if not == negated && flag.values == values && flag.env == env => {}
                    found => missing.push(format!("{name} ({values} values, {env}): {found:?}")),
                }
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn the_list_is_of_the_pinned_version() {
    let pin = include_str!("../../../vendor/Cargo.toml")
        .split("llama-cpp-sys-4 = { version = \"=")
        .nth(1)
        .unwrap();
    let version = pin.split('"').next().unwrap();
    let list = include_str!("../data/llama_server_flags.txt");
    assert!(
        list.starts_with(&format!("# llama-cpp-sys-4 {version}\n")),
        "run scripts/llama-server-flags.py"
    );
}

#[test]
fn every_honoured_flag_has_its_option() {
    let mut root = Args::command();
    root.build();
    let serve = root.find_subcommand("serve").unwrap();
    for flag in llama::flags() {
        let (llama::Meaning::Ours(name) | llama::Meaning::Switch(name) | llama::Meaning::Inverse(name)) = flag.meaning
        else {
            continue;
        };
        let declared = serve.get_arguments().any(|arg| arg.get_long() == Some(name));
        assert!(declared, "{name}");
    }
}

#[test]
fn no_flag_is_in_two_classes() {
    let mut names: Vec<&str> = llama::flags()
        .iter()
        .flat_map(|flag| flag.on.iter().chain(flag.off))
        .copied()
        .collect();
    names.sort_unstable();
    let twice: Vec<_> = names.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

#[test]
fn flags_that_do_the_same_have_all_their_names() {
    let args = serve(
        "-ctk q8_0 --cache_type_v turbo3 --n-gpu-layers 7 -np 2 -c 4096 -b 64 -ub 32 -tb 3 --threads=2 -n -1",
        &[],
    );
    let model = &args.model;
    assert_eq!(
        (model.cache_type_k.as_str(), model.cache_type_v.as_str()),
        ("q8_0", "turbo3")
    );
    assert_eq!(
        (model.engine.gpu_layers, args.serving.parallel, model.ctx_size),
        (Some(7), Some(2), Some(4096))
    );
    assert_eq!(
        (
            model.batch_size,
            model.ubatch_size,
            model.threads_batch,
            model.engine.threads
        ),
        (64, 32, 3, 2)
    );
    assert_eq!(args.answers.predict, -1);
}

#[test]
fn switches_can_be_negated_and_the_last_one_counts() {
    assert!(!serve("--no-slots", &[]).serving.slots);
    assert!(serve("--no-slots --slots", &[]).serving.slots);
    assert!(serve("", &[]).serving.metrics && !serve("--no-metrics", &[]).serving.metrics);
    assert!(serve("--no-metrics --metrics", &[]).serving.metrics);
    assert!(!serve("", &[("LLAMA_ARG_ENDPOINT_METRICS", "0")]).serving.metrics);
    assert!(
        serve("", &[]).serving.webui && !serve("--no-webui", &[]).serving.webui && !serve("--no-ui", &[]).serving.webui
    );
    assert!(serve("--no-webui --ui", &[]).serving.webui);
    assert!(!serve("", &[("LLAMA_ARG_UI", "0")]).serving.webui);
    assert!(serve("-nkvo", &[]).model.engine.no_kv_offload);
    assert!(!serve("--kv-offload", &[]).model.engine.no_kv_offload);
    assert!(!serve("--no-cache-prompt", &[]).answers.cache_prompt);
    assert_eq!(serve("--ctx-size 1 -c 2", &[]).model.ctx_size, Some(2));
}

#[test]
fn what_the_options_say_of_routes_and_answers_reaches_the_server() {
    use llama_turboquant_cli::commands::serve::start::settings;
    let said = |options: &str| {
        let settings = settings(&serve(options, &[])).unwrap();
        (settings.metrics, settings.slots, settings.reasoning_alias)
    };
    assert_eq!(said(""), (true, true, false));
    assert_eq!(said("--no-metrics --no-slots --reasoning-alias"), (false, false, true));
}

#[test]
fn options_about_models_have_their_names_there_and_variables() {
    let args = serve(
        "--models-dir /models --models-max 2 --sleep-idle-seconds 60 -hfr org/repo -hff x.gguf -hft secret --offline \
         --slot-save-path /slots -cram 100 --gpu-overhead 5 -ctxcp 7 -cms 0",
        &[],
    );
    let pool = &args.pool;
    assert_eq!(pool.models_dir.as_deref(), Some(std::path::Path::new("/models")));
    assert_eq!((pool.models_max, pool.gpu_overhead), (2, 5));
    assert!(
        format!("{:?}", pool.keep_alive).contains("60s"),
        "{:?}",
        pool.keep_alive
    );
    let remote = &args.remote;
    assert_eq!(
        (
            remote.hf_repo.as_deref(),
            remote.hf_file.as_deref(),
            remote.hub.hf_token.as_deref(),
            remote.offline
        ),
        (Some("org/repo"), Some("x.gguf"), Some("secret"), true)
    );
    assert_eq!(
        args.slots.slot_save_path.as_deref(),
        Some(std::path::Path::new("/slots"))
    );
    assert_eq!(args.slots.cache_ram, Some(100));
    assert_eq!(
        (args.slots.ctx_checkpoints, args.slots.checkpoint_min_step),
        (Some(7), Some(0))
    );
    assert_eq!(serve("--swa-checkpoints 9", &[]).slots.ctx_checkpoints, Some(9));

    let variables = [
        ("LLAMA_ARG_MODELS_DIR", "/m"),
        ("LLAMA_ARG_MODELS_MAX", "3"),
        ("LLAMA_ARG_HF_REPO", "a/b"),
        ("LLAMA_ARG_OFFLINE", "1"),
        ("LLAMA_ARG_SLOT_SAVE_PATH", "/s"),
        ("LLAMA_ARG_CACHE_RAM", "-1"),
        ("LLAMA_ARG_CTX_CHECKPOINTS", "5"),
        ("LLAMA_ARG_CHECKPOINT_MIN_SPACING_NT", "256"),
    ];
    let args = serve("", &variables);
    assert_eq!(
        (args.pool.models_max, args.slots.cache_ram, args.remote.offline),
        (3, Some(-1), true)
    );
    assert_eq!(
        (args.slots.ctx_checkpoints, args.slots.checkpoint_min_step),
        (Some(5), Some(256))
    );
    assert_eq!(args.remote.hf_repo.as_deref(), Some("a/b"));
    let ollama = [
        ("OLLAMA_MODELS", "/o"),
        ("OLLAMA_KEEP_ALIVE", "-1"),
        ("OLLAMA_MAX_LOADED_MODELS", "5"),
        ("OLLAMA_GPU_OVERHEAD", "7"),
    ];
    let pool = serve("--ollama", &ollama).pool;
    assert_eq!(pool.models_dir.as_deref(), Some(std::path::Path::new("/o")));
    assert_eq!((pool.models_max, pool.gpu_overhead), (5, 7));
    assert!(
        format!("{:?}", pool.keep_alive).contains("Forever"),
        "{:?}",
        pool.keep_alive
    );
}

#[test]
fn flags_for_what_is_so_anyway_are_accepted_and_said() {
    let origin = parsed(
        "--jinja -fa on --props --cont-batching --no-context-shift --keep 5",
        &[],
    )
    .origin;
    let names: Vec<&str> = origin.settled.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "--jinja",
            "-fa",
            "--props",
            "--cont-batching",
            "--no-context-shift",
            "--keep",
        ]
    );
    assert!(origin.settled.iter().all(|(_, so)| !so.is_empty()));
}

#[test]
fn flags_that_cannot_be_served_say_what_to_do_instead() {
    refused("-fa off", &[], &["-fa off is not possible here", "flash attention"]);
    refused("--pooling cls", &[], &["--pooling cls", "the file says"]);
    refused("--embd-normalize -1", &[], &["length one"]);
    refused("--log-timestamps", &[], &["--log-format json"]);
    refused("--no-jinja", &[], &["--no-jinja", "/completion"]);
    refused(
        "--mmproj-url http://x/y.gguf",
        &[],
        &["--mmproj-url", "name its file with --mmproj"],
    );
    refused("--media-path /pictures", &[], &["data: URLs"]);
    refused("-md draft.gguf", &[], &["speculative"]);
    refused("--grammar root", &[], &["send grammar"]);
}

#[test]
fn unknown_flags_suggest_the_nearest() {
    refused("-ctkk q8_0", &[], &["unknown option -ctkk", "did you mean -ctk?"]);
    refused("--ctx-sise 5", &[], &["--ctx-sise", "did you mean --ctx-size?"]);
    refused("--fancy-thing", &[], &["--fancy-thing", "--help"]);
    refused("-v -c 5 --jinjja", &[], &["did you mean --jinja?"]);
}

#[test]
fn values_may_begin_with_a_dash() {
    assert_eq!(
        serve("--reasoning-budget -1 --seed -1 --repeat-last-n -1", &[])
            .more_sampling
            .repeat_last_n,
        Some(-1)
    );
    assert_eq!(serve("--api-key -secret", &[]).access.api_key, ["-secret"]);
}

#[test]
fn help_names_the_variables() {
    let help = match parse(line("turboquant serve --help"), &Environment::of(&[])) {
        Err(ParseError::Usage(error)) => error.to_string(),
        other => panic!("{:?}", other.map(|parsed| parsed.args)),
    };
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in [
        "[env: LLAMA_ARG_CTX_SIZE, OLLAMA_CONTEXT_LENGTH]",
        "[env: LLAMA_API_KEY]",
        "[env: OLLAMA_HOST]",
    ] {
        assert!(help.contains(words), "{words}");
    }
}

#[test]
fn adapters_have_numbers_in_the_order_of_the_options() {
    let named = |options: &str| LoraFiles::from(&serve(options, &[]).lora);
    let scaled = |path: &str, scale| LoraFile {
        path: path.into(),
        scale,
    };
    let both = "--lora-scaled c:0.5,d:-1 --lora a,b";
    let expected = |factor: f32| {
        let all = vec![
            scaled("a", factor),
            scaled("b", factor),
            scaled("c", factor * 0.5),
            scaled("d", -factor),
        ];
        LoraFiles::new(Vec::new(), all)
    };
    assert_eq!(named(both), expected(1.0));
    assert_eq!(named(&format!("{both} --lora-init-without-apply")), expected(0.0));
    assert_eq!(
        named("--lora a --lora b --lora-scaled c:0.5 --lora-scaled d:-1"),
        expected(1.0)
    );
    refused("--lora-scaled a", &[], &["FNAME:SCALE"]);
    refused("--lora-scaled a:nan", &[], &["finite"]);
}

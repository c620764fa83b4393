//! What `turboquant serve` understands on its command line, in its environment and in its configuration file.

use clap::CommandFactory;
use llama_turboquant_cli::args::serve::ServeArgs;
use llama_turboquant_cli::args::{Args, Command, llama};
use llama_turboquant_cli::loras::{LoraFile, LoraFiles};
use llama_turboquant_cli::options::{Environment, ParseError, Parsed, parse};
use std::ffi::OsString;
use std::io::Write;
use tempfile::NamedTempFile;

fn line(text: &str) -> Vec<OsString> {
    text.split(' ').map(OsString::from).collect()
}

fn try_serve(options: &str, variables: &[(&str, &str)]) -> Result<Parsed, ParseError> {
    parse(
        line(format!("turboquant serve {options}").trim_end()),
        &Environment::of(variables),
    )
}

#[track_caller]
fn parsed(options: &str, variables: &[(&str, &str)]) -> Parsed {
    try_serve(options, variables).unwrap_or_else(|error| panic!("{options}: {error}"))
}

#[track_caller]
fn serve(options: &str, variables: &[(&str, &str)]) -> ServeArgs {
    match parsed(options, variables).args.command {
        Command::Serve(args) => *args,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused(options: &str, variables: &[(&str, &str)], words: &[&str]) {
    let error = match try_serve(options, variables) {
        Ok(_) => panic!("{options} is accepted"),
        Err(error) => error.to_string(),
    };
    for word in words {
        assert!(error.contains(word), "{options}: `{word}` is not in: {error}");
    }
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn with_file(text: &str, options: &str, variables: &[(&str, &str)]) -> Result<Parsed, ParseError> {
    let file = file(text);
    try_serve(
        format!("--config {} {options}", file.path().display()).trim_end(),
        variables,
    )
}

// ---- llama-server's flags ----

/// Names, negations, number of values and variable of each flag of the pinned llama-server.
fn their_flags() -> Vec<(Vec<&'static str>, Vec<&'static str>, usize, &'static str)> {
    include_str!("data/llama_server_flags.txt")
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
    let pin = include_str!("../../vendor/Cargo.toml")
        .split("llama-cpp-sys-4 = { version = \"=")
        .nth(1)
        .unwrap();
    let version = pin.split('"').next().unwrap();
    let list = include_str!("data/llama_server_flags.txt");
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
        (Some(7), 2, Some(4096))
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
        "--jinja -fa on --props --cont-batching --no-webui --keep 5 -fit off",
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
            "--no-webui",
            "--keep",
            "-fit"
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

#[test]
fn the_configuration_file_names_adapters_for_all_and_for_one_model() {
    let text = "[serve]\nlora = [\"a\"]\n[models.\"m\"]\nlora = \"b\"\nlora-scaled = [\"c:0.5\"]\n";
    let parsed = with_file(text, "", &[]).unwrap();
    let Command::Serve(args) = parsed.args.command else {
        unreachable!()
    };
    assert_eq!(args.lora.adapters.lora, [std::path::PathBuf::from("a")]);
    let model = &parsed.origin.models[0];
    assert_eq!((model.lora.len(), model.lora_scaled[0].scale), (1, 0.5));
    for wrong in [
        "lora = 5",
        "lora = [5]",
        "lora-scaled = \"c\"",
        "lora-scaled = [\"c:inf\"]",
    ] {
        assert!(
            with_file(&format!("[models.\"m\"]\n{wrong}\n"), "", &[]).is_err(),
            "{wrong}"
        );
    }
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

// ---- variables ----

#[test]
fn llama_variables_set_options_and_options_beat_them() {
    let variables = [
        ("LLAMA_ARG_CTX_SIZE", "2048"),
        ("LLAMA_ARG_N_PARALLEL", "2"),
        ("LLAMA_API_KEY", "a,b"),
    ];
    let args = serve("", &variables);
    assert_eq!((args.model.ctx_size, args.serving.parallel), (Some(2048), 2));
    assert_eq!(args.access.api_key, ["a", "b"]);
    assert_eq!(serve("-c 512", &variables).model.ctx_size, Some(512));
}

#[test]
fn variables_of_switches_take_yes_and_no_and_have_opposites() {
    for (name, value, slots) in [
        ("LLAMA_ARG_ENDPOINT_SLOTS", "off", false),
        ("LLAMA_ARG_ENDPOINT_SLOTS", "1", true),
        ("LLAMA_ARG_NO_ENDPOINT_SLOTS", "1", false),
    ] {
        assert_eq!(serve("", &[(name, value)]).serving.slots, slots, "{name}={value}");
    }
    refused(
        "",
        &[("LLAMA_ARG_ENDPOINT_SLOTS", "perhaps")],
        &["LLAMA_ARG_ENDPOINT_SLOTS", "perhaps"],
    );
}

#[test]
fn a_wrong_variable_is_named() {
    refused("", &[("LLAMA_ARG_PORT", "99999")], &["LLAMA_ARG_PORT", "99999"]);
    refused(
        "",
        &[("LLAMA_ARG_FLASH_ATTN", "off")],
        &["LLAMA_ARG_FLASH_ATTN=off", "flash attention"],
    );
    let origin = parsed("", &[("LLAMA_ARG_CTX_SISE", "1"), ("LLAMA_ARG_JINJA", "1")]).origin;
    assert_eq!(origin.unused, ["LLAMA_ARG_CTX_SISE"]);
    assert_eq!(origin.settled[0].0, "LLAMA_ARG_JINJA");
}

#[test]
fn benchmarks_do_not_read_variables() {
    let parsed = parse(
        line("turboquant bench -p 8"),
        &Environment::of(&[("LLAMA_ARG_BATCH", "7")]),
    )
    .unwrap();
    assert!(parsed.origin.sources.is_empty());
}

#[test]
fn ollama_variables_set_options_with_ollama_only() {
    // L18
    let variables = [
        ("OLLAMA_HOST", "0.0.0.0:5000"),
        ("OLLAMA_NUM_PARALLEL", "3"),
        ("OLLAMA_MAX_QUEUE", "12"),
        ("OLLAMA_CONTEXT_LENGTH", "8192"),
        ("OLLAMA_KV_CACHE_TYPE", "q8_0:turbo4"),
        ("OLLAMA_ORIGINS", "https://a.example,app://*"),
        ("OLLAMA_LOAD_TIMEOUT", "10m"),
        ("OLLAMA_FLASH_ATTENTION", "1"),
        ("OLLAMA_DEBUG", "1"),
    ];
    let parsed = parsed("--ollama", &variables);
    let verbose = parsed.args.verbose;
    let Command::Serve(args) = parsed.args.command else {
        panic!()
    };
    assert_eq!(args.listen.ollama_host.as_deref(), Some("0.0.0.0:5000"));
    assert_eq!(
        (args.serving.parallel, args.serving.queue, args.model.ctx_size, verbose),
        (3, 12, Some(8192), 1)
    );
    assert_eq!(
        (args.model.cache_type_k.as_str(), args.model.cache_type_v.as_str()),
        ("q8_0", "turbo4")
    );
    assert_eq!(args.access.cors_origins, ["https://a.example", "app://*"]);
    assert_eq!(args.serving.load_timeout.as_secs(), 600);
    let source = parsed.origin.sources["queue"].to_string();
    assert_eq!(source, "OLLAMA_MAX_QUEUE");
    assert_eq!(serve("", &variables).serving.queue, 64, "not without --ollama");
}

#[test]
fn one_kv_type_of_ollama_is_for_both_sides() {
    // L18
    let model = serve("--ollama", &[("OLLAMA_KV_CACHE_TYPE", "turbo3")]).model;
    assert_eq!(
        (model.cache_type_k.as_str(), model.cache_type_v.as_str()),
        ("turbo3", "turbo3")
    );
    refused(
        "--ollama",
        &[("OLLAMA_FLASH_ATTENTION", "false")],
        &["OLLAMA_FLASH_ATTENTION", "unset"],
    );
}

#[test]
fn models_variables_of_ollama_stand_for_options() {
    // L18
    use llama_turboquant_cli::options::ollama::variable;
    for (option, name) in [
        ("models-dir", "OLLAMA_MODELS"),
        ("keep-alive", "OLLAMA_KEEP_ALIVE"),
        ("models-max", "OLLAMA_MAX_LOADED_MODELS"),
        ("gpu-overhead", "OLLAMA_GPU_OVERHEAD"),
    ] {
        assert_eq!(variable(option), Some(name));
    }
}

#[test]
fn layers_have_their_order() {
    let both = [("LLAMA_ARG_CTX_SIZE", "2"), ("OLLAMA_CONTEXT_LENGTH", "3")];
    let ctx = |options: &str, variables: &[(&str, &str)]| {
        let parsed = with_file("ctx-size = 4\n[serve]\nollama = true\n", options, variables).unwrap();
        match parsed.args.command {
            Command::Serve(args) => args.model.ctx_size,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ctx("-c 1", &both), Some(1), "option");
    assert_eq!(ctx("", &both), Some(2), "LLAMA_ARG");
    assert_eq!(ctx("", &both[1..]), Some(3), "OLLAMA");
    assert_eq!(ctx("", &[]), Some(4), "file");
    assert_eq!(serve("", &[]).model.ctx_size, None, "default");
}

// ---- configuration file ----

#[test]
fn a_file_sets_options_for_all_commands_or_one() {
    let text =
        "ctx_size = 1024\nthreads = 3\n[serve]\nport = 0\napi-key = ['a', 'b']\nslots = false\n[run]\nthreads = 4\n";
    let parsed = with_file(text, "", &[]).unwrap();
    let Command::Serve(args) = parsed.args.command else {
        panic!()
    };
    assert_eq!(
        (args.model.ctx_size, args.model.engine.threads, args.listen.port),
        (Some(1024), 3, Some(0))
    );
    assert_eq!(
        (args.access.api_key, args.serving.slots),
        (vec!["a".into(), "b".into()], false)
    );

    let file = file(text);
    let run = format!("turboquant --config {} run -p hi", file.path().display());
    match parse(line(&run), &Environment::of(&[])).unwrap().args.command {
        Command::Run(args) => assert_eq!(args.model.engine.threads, 4, "its own section wins"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn mistakes_in_a_file_are_found_with_their_line() {
    for (text, words) in [
        ("a = \n", &[":1: "][..]),
        ("\nctx-sise = 5\n", &[":2: ", "unknown key `ctx-sise`", "`ctx-size`"]),
        ("[serve]\nprot = 5\n", &[":2: ", "`prot`", "`port`"]),
        ("[server]\n", &[":1: ", "[server]", "`serve`"]),
        (
            "[serve]\n\nport = \"80\"\n",
            &[":3: ", "`port` takes a whole number, not a string"],
        ),
        ("[serve]\nport = 70000\n", &[":2: ", "70000", "--port"]),
        ("slots = 1\n", &[":1: ", "true or false"]),
        ("threads = 1.5\n", &[":1: ", "a whole number, not a number"]),
        ("[serve]\nflash-attn = \"off\"\n", &[":2: ", "flash attention"]),
        ("[serve]\nmmproj-url = \"x\"\n", &[":2: ", "projector"]),
        ("print-config = true\n", &[":1: ", "command line"]),
        (
            "[models.\"a b\"]\nctx-size = 1\nparalel = 2\n",
            &[":3: ", "`paralel`", "`parallel`"],
        ),
        ("[models.m]\nctx-size = 'x'\n", &[":2: ", "a whole number"]),
    ] {
        let error = with_file(text, "", &[])
            .err()
            .unwrap_or_else(|| panic!("accepted: {text}"))
            .to_string();
        for word in words {
            assert!(error.contains(word), "`{word}` is not in: {error}");
        }
    }
}

#[test]
fn a_file_that_is_named_must_exist_and_none_can_be_asked_for() {
    refused(
        "--config /nonexistent.toml",
        &[],
        &["cannot read the configuration file /nonexistent.toml"],
    );
    let file = file("[serve]\nqueue = 7\n");
    let mut environment = Environment::of(&[]);
    environment.default_file = Some(file.path().to_owned());
    let queue = |options: &str| match parse(line(options), &environment).unwrap().args.command {
        Command::Serve(args) => args.serving.queue,
        other => panic!("{other:?}"),
    };
    assert_eq!(queue("turboquant serve"), 7);
    assert_eq!(queue("turboquant serve --no-config"), 64);
}

#[test]
fn models_have_options_of_their_own() {
    let text = "[models.\"qwen3:8b\"]\nctx-size = 4096\ncache-type-v = 'turbo3'\nparallel = 2\nkeep-alive = '10m'\ngpu-layers = 3\nalias = 'q'\n";
    let parsed = with_file(text, "-ctk q8_0 -c 1", &[]).unwrap();
    let [model] = parsed.origin.models.as_slice() else {
        panic!("{:?}", parsed.origin.models)
    };
    assert_eq!(
        (model.name.as_str(), model.alias.as_deref(), model.parallel),
        ("qwen3:8b", Some("q"), Some(2))
    );
    let Command::Serve(args) = parsed.args.command else {
        panic!()
    };
    let args = model.over(&args.model);
    assert_eq!((args.ctx_size, args.engine.gpu_layers), (Some(4096), Some(3)));
    assert_eq!(
        (args.cache_type_k.as_str(), args.cache_type_v.as_str()),
        ("q8_0", "turbo3")
    );
}

#[test]
fn print_config_says_where_options_come_from_and_keeps_secrets() {
    let parsed = with_file(
        "threads = 2\n",
        "-np 3 --api-key secret",
        &[("LLAMA_ARG_CTX_SIZE", "64")],
    )
    .unwrap();
    let shown = parsed.origin.shown.join("\n");
    for line in [
        "parallel = 3  # command line",
        "ctx-size = 64  # LLAMA_ARG_CTX_SIZE",
        "queue = 64  # default",
        "# port is not set",
    ] {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
    let threads = shown.lines().find(|line| line.starts_with("threads = 2  # ")).unwrap();
    assert!(threads.ends_with(":1"), "{threads}");
    assert!(!shown.contains("secret"));
}

#[test]
fn what_print_config_prints_is_a_configuration_file() {
    let shown = parsed(
        "-np 3 -c 64 --top-k 5 --alias tiny --cors-origins https://a.example",
        &[],
    )
    .origin
    .shown
    .join("\n");
    let again = with_file(&shown, "", &[]).unwrap_or_else(|error| panic!("{error}\n{shown}"));
    let Command::Serve(args) = again.args.command else {
        panic!()
    };
    assert_eq!(
        (args.serving.parallel, args.model.ctx_size, args.sampling.top_k),
        (3, Some(64), Some(5))
    );
    assert_eq!(
        (args.serving.alias.as_deref(), args.access.cors_origins.len()),
        (Some("tiny"), 1)
    );
}

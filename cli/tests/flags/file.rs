//! The configuration file, and what --print-config makes of all layers.

use llama_turboquant_cli::args::Command;
use llama_turboquant_cli::options::{Environment, parse};

use crate::{file, line, parsed, refused, with_file};

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
        (Some(3), Some(64), Some(5))
    );
    assert_eq!(
        (args.serving.alias.as_deref(), args.access.cors_origins.len()),
        (Some("tiny"), 1)
    );
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

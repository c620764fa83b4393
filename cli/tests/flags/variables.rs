//! Variables of llama.cpp, and the order of the layers.

use llama_turboquant_cli::args::Command;
use llama_turboquant_cli::options::{Environment, parse};

use crate::{line, parsed, refused, serve, with_file};

#[test]
fn llama_variables_set_options_and_options_beat_them() {
    let variables = [
        ("LLAMA_ARG_CTX_SIZE", "2048"),
        ("LLAMA_ARG_N_PARALLEL", "2"),
        ("LLAMA_API_KEY", "a,b"),
    ];
    let args = serve("", &variables);
    assert_eq!((args.model.ctx_size, args.serving.parallel), (Some(2048), Some(2)));
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

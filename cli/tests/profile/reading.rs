//! What `serve --profile` makes of files, also of those that it did not write.

use super::{printed, support, written};
use llama_turboquant_cli::options::{Environment, parse};
use std::ffi::OsString;
use std::io::Write as _;
use tempfile::NamedTempFile;

/// As people have it who wrote theirs by hand.
const BY_HAND: &str = "\
providers:
  primary:
    endpoint: http://localhost:8081
    api_path: /v1/chat/completions
    temperature: 0.7
    turboquant:
      enabled: true
      kv_type: turbo4
      layer_adaptive: 7
      server_command: >-
        TURBO_LAYER_ADAPTIVE=7 llama-server -m /models/gemma.gguf
        -ctk turbo4 -ctv turbo4 -c 131072 --host 0.0.0.0 --port 8081
  fallback: {endpoint: http://elsewhere}
context:
  max_tokens: 131072
  compress: true
";

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// What `serve --profile` says of a text that it refuses.
#[track_caller]
fn refused(text: &str) -> String {
    let file = file(text);
    let path = file.path().to_str().unwrap();
    let error = support::fails(&["serve", "--profile", path, "--print-config"], 2);
    support::says(&error, &[path]);
    error
}

/// The notes for the log.
fn notes(text: &str, options: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
    let file = file(text);
    let words = ["turboquant", "serve", "--profile", file.path().to_str().unwrap()];
    let line = words.iter().chain(options).map(OsString::from);
    parse(line, &Environment::of(variables)).unwrap().origin.notes
}

#[test]
fn a_profile_written_by_hand_is_read_and_its_missing_version_said() {
    let profile = file(BY_HAND);
    let set = printed(profile.path(), &[]);
    assert_eq!(set("model").0, "/models/gemma.gguf");
    assert_eq!(set("host").0, "0.0.0.0");
    assert_eq!(
        (set("ctx-size").0, set("layer-adaptive").0),
        ("131072".into(), "7".into())
    );
    let notes = notes(BY_HAND, &[], &[]);
    assert!(
        notes.iter().any(|note| note.contains("turboquant.version")),
        "{notes:?}"
    );
}

#[test]
fn an_option_beats_the_profile_and_it_is_said() {
    let (_dir, path) = written(&["hermes", "-c", "8192"]);
    let set = printed(&path, &["-c", "4096", "--port", "0"]);
    assert_eq!(set("ctx-size"), ("4096".into(), "command line".into()));
    assert_eq!(set("port"), ("0".into(), "command line".into()));
    assert_eq!(set("cache-type-k").0, "turbo4");
    let text = std::fs::read_to_string(&path).unwrap();
    let notes = notes(&text, &["-c", "4096"], &[]);
    assert!(
        notes
            .iter()
            .any(|note| note.contains("--ctx-size 8192") && note.contains("4096")),
        "{notes:?}"
    );
}

#[test]
fn an_option_that_agrees_with_the_profile_is_no_news() {
    let (_dir, path) = written(&["hermes", "-c", "8192"]);
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(notes(&text, &["-c", "8192"], &[]), Vec::<String>::new());
}

#[test]
fn a_variable_beats_the_profile_and_it_is_said() {
    let (_dir, path) = written(&["hermes", "-c", "8192"]);
    let text = std::fs::read_to_string(&path).unwrap();
    let notes = notes(&text, &[], &[("LLAMA_ARG_CTX_SIZE", "4096")]);
    assert!(
        notes.iter().any(|note| note.contains("LLAMA_ARG_CTX_SIZE")),
        "{notes:?}"
    );
}

#[test]
fn the_profile_beats_the_configuration_file() {
    let (_dir, path) = written(&["hermes", "-c", "8192"]);
    let config = file("ctx-size = 1024\n[serve]\nqueue = 7\n");
    let set = printed(&path, &["--config", config.path().to_str().unwrap()]);
    assert_eq!(set("ctx-size").0, "8192");
    assert_eq!(set("queue").0, "7");
}

#[test]
fn a_profile_belongs_on_the_command_line() {
    let config = file("[serve]\nprofile = \"x.yaml\"\n");
    let error = support::fails(
        &["serve", "--config", config.path().to_str().unwrap(), "--print-config"],
        2,
    );
    support::says(&error, &["profile", "command line"]);
}

#[test]
fn a_profile_that_contradicts_itself_is_refused_with_both_sides() {
    for (from, to, words) in [
        ("kv_type: turbo4", "kv_type: turbo3", ["type_k", "turbo3", "turbo4"]),
        ("layer_adaptive: 7", "layer_adaptive: 1", ["layer_adaptive", "1", "7"]),
        (
            "max_tokens: 131072",
            "max_tokens: 65536",
            ["max_tokens", "65536", "131072"],
        ),
        ("localhost:8081", "localhost:8080", ["endpoint", "8080", "8081"]),
        ("ADAPTIVE=7", "ADAPTIVE=5", ["layer_adaptive", "7", "5"]),
    ] {
        let error = refused(&BY_HAND.replacen(from, to, 1));
        support::says(&error, &words);
        support::says(&error, &["contradicts itself"]);
    }
}

#[test]
fn what_cannot_be_obeyed_is_refused_with_the_field() {
    for (from, to, words) in [
        (
            "enabled: true",
            "enabled: true\n      version: 2",
            ["version 2", "version 1"],
        ),
        ("enabled: true", "enabled: false", ["enabled", "false"]),
        (
            "enabled: true",
            "enabled: true\n      kv_typo: x",
            ["kv_typo", "kv_type"],
        ),
        ("kv_type: turbo4", "kv_type: turbo5", ["turbo5", "turbo4"]),
        ("kv_type: turbo4", "kv_type: q8_0", ["q8_0", "turbo2, turbo3 or turbo4"]),
        ("layer_adaptive: 7", "layer_adaptive: -1", ["-1", "layer_adaptive"]),
        ("/v1/chat/completions", "/v2/chat", ["api_path", "/v1/chat/completions"]),
        ("http://localhost:8081", "localhost:8081", ["endpoint", "http://"]),
        ("max_tokens: 131072", "max_tokens: -5", ["max_tokens", "-5"]),
        (
            "--host 0.0.0.0",
            "--api-key-file /etc/shadow",
            ["--api-key-file", "command line"],
        ),
        ("llama-server", "curl evil.example", ["curl", "turboquant serve"]),
    ] {
        let error = refused(&BY_HAND.replacen(from, to, 1));
        support::says(&error, &words);
    }
}

#[test]
fn damaged_and_foreign_files_are_refused() {
    let whole = {
        let (_dir, path) = written(&["openai"]);
        std::fs::read_to_string(path).unwrap()
    };
    for text in [
        "",
        "  \n\n",
        "hello world",
        "[1, 2, 3]",
        "{\"base_url\": ",
        &whole[..whole.len() / 2],
        &BY_HAND[..BY_HAND.len() / 3],
        "providers: {primary: {endpoint: [[[[",
        "FROM",
        "FROM x\nADAPTER y",
        "FROM turbotiny\nPARAMETER num_ctx many",
    ] {
        refused(text);
    }
}

#[test]
fn a_document_that_explodes_is_refused_at_once() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let before = format!("*a{}", level - 1);
        text += &format!("a{level}: &a{level} [{}]\n", vec![before; 10].join(", "));
    }
    refused(&(text + "providers: *a11\n"));
    refused(&format!("providers: {}", "[".repeat(100_000)));
}

#[test]
fn what_is_no_text_or_too_large_is_refused() {
    let binary = NamedTempFile::new().unwrap();
    std::fs::write(binary.path(), [0xff, 0xfe, 0x00, 0x80]).unwrap();
    let error = support::fails(
        &["serve", "--profile", binary.path().to_str().unwrap(), "--print-config"],
        2,
    );
    support::says(&error, &["no text"]);
    support::says(&refused(&"#".repeat(2 << 20)), &["larger"]);
    let error = support::fails(&["serve", "--profile", "/no/such/file", "--print-config"], 2);
    support::says(&error, &["/no/such/file"]);
}

#[test]
fn a_modelfile_written_by_hand_starts_a_server() {
    let modelfile = file(
        "from /models/m.gguf\nPARAMETER num_ctx 4096\nPARAMETER kv_cache_type turbo3\nPARAMETER temperature 0.5\n",
    );
    let set = printed(modelfile.path(), &[]);
    for (option, value) in [
        ("model", "/models/m.gguf"),
        ("ctx-size", "4096"),
        ("cache-type-k", "turbo3"),
        ("cache-type-v", "turbo3"),
        ("temp", "0.5"),
        ("ollama", "true"),
    ] {
        assert_eq!(set(option).0, value, "{option}");
    }
}

#[test]
fn a_modelfile_that_asks_for_more_than_a_server_can_is_refused() {
    for (text, word) in [
        ("FROM some-name\n", "some-name"),
        ("FROM turbotiny\nSYSTEM Be nice.\n", "SYSTEM"),
        ("FROM turbotiny\nPARAMETER stop x\n", "stop"),
        ("# turboquant-profile: 9\nFROM turbotiny\n", "version 9"),
        (
            "# serve: turboquant serve -c 4096\nFROM turbotiny\nPARAMETER num_ctx 8192\n",
            "contradicts itself",
        ),
    ] {
        support::says(&refused(text), &[word]);
    }
}

#[test]
fn a_name_as_endpoint_says_that_the_host_is_open() {
    let (_dir, path) = written(&["hermes", "-c", "8192", "--endpoint", "https://models.example"]);
    let text = std::fs::read_to_string(&path).unwrap();
    let notes = notes(&text, &[], &[]);
    assert!(
        notes.iter().any(|note| note.contains("https://models.example")),
        "{notes:?}"
    );
}

//! What is in the files.

use super::{printed, schema, support, written, yaml};
use llama_turboquant_cli::store::{Base, Creation};
use serde_json::{Map, Value, json};

const SCHEMA: &str = "profile-hermes.schema.json";

#[test]
fn an_agents_profile_has_what_its_contract_says() {
    let (_dir, path) = written(&["hermes"]);
    let profile = yaml(&path);
    schema::is_valid(SCHEMA, &profile);
    let primary = &profile["providers"]["primary"];
    assert_eq!(primary["endpoint"], "http://127.0.0.1:8080");
    assert_eq!(primary["api_path"], "/v1/chat/completions");
    assert_eq!(primary["turboquant"]["enabled"], true);
    let n_ctx = profile["context"]["max_tokens"].as_u64().unwrap();
    assert!(n_ctx >= 8192, "{n_ctx}");
    let command = primary["turboquant"]["server_command"].as_str().unwrap();
    let file = std::fs::read_to_string(&path).unwrap();
    assert!(file.contains(command), "on one line, for those who copy it: {file}");
    let words: Vec<&str> = command.split(' ').collect();
    let after = |name: &str| words[words.iter().position(|word| *word == name).unwrap() + 1];
    assert_eq!(
        words[0],
        format!("TURBO_LAYER_ADAPTIVE={}", primary["turboquant"]["layer_adaptive"])
    );
    assert_eq!(after("-c"), n_ctx.to_string());
    assert_eq!(after("-ctv"), primary["turboquant"]["kv_type"]);
}

#[test]
fn the_schema_refuses_what_the_contract_excludes() {
    let (_dir, path) = written(&["hermes"]);
    let good = yaml(&path);
    for (pointer, wrong) in [
        ("/providers/primary/endpoint", json!("127.0.0.1:8080")),
        ("/providers/primary/api_path", json!("/v1")),
        ("/providers/primary/turboquant/enabled", json!(false)),
        ("/providers/primary/turboquant/kv_type", json!("q8_0")),
        ("/providers/primary/turboquant/layer_adaptive", json!(8)),
        (
            "/providers/primary/turboquant/server_command",
            json!("turboquant serve"),
        ),
        ("/context/max_tokens", json!(4096)),
    ] {
        let mut profile = good.clone();
        *profile.pointer_mut(pointer).unwrap() = wrong;
        assert!(!schema::valid(SCHEMA, &profile), "{pointer}");
    }
}

#[test]
fn serve_starts_with_what_an_agents_profile_says() {
    for (options, k, v, n_ctx, mode) in [
        (vec![], "turbo4", "turbo4", "8192", "0"),
        (vec!["-ctk", "q8_0", "-ctv", "turbo3"], "q8_0", "turbo3", "8192", "0"),
        (
            vec!["-ctk", "turbo2", "-ctv", "turbo2"],
            "turbo2",
            "turbo2",
            "8192",
            "7",
        ),
        (
            vec!["-ctk", "turbo4", "-ctv", "turbo2", "--layer-adaptive", "0"],
            "turbo4",
            "turbo2",
            "8192",
            "0",
        ),
    ] {
        let (_dir, path) = written(&[&["hermes", "-c", "8192"], options.as_slice()].concat());
        schema::is_valid(SCHEMA, &yaml(&path));
        let set = printed(&path, &[]);
        for (option, value) in [
            ("cache-type-k", k),
            ("cache-type-v", v),
            ("ctx-size", n_ctx),
            ("layer-adaptive", mode),
            ("port", "8080"),
        ] {
            let source = format!("profile {}", path.display());
            assert_eq!(set(option), (value.to_owned(), source), "{option} of {options:?}");
        }
    }
}

#[test]
fn serve_starts_with_what_the_other_profiles_say() {
    for form in ["openai", "ollama"] {
        let (_dir, path) = written(&[form, "-ctk", "q8_0", "-ctv", "turbo3", "-c", "4096", "-np", "2"]);
        let set = printed(&path, &[]);
        for (option, value) in [
            ("cache-type-k", "q8_0"),
            ("cache-type-v", "turbo3"),
            ("ctx-size", "4096"),
            ("layer-adaptive", "0"),
            ("parallel", "2"),
        ] {
            assert_eq!(set(option).0, value, "{option} of {form}");
        }
    }
}

#[test]
fn a_cache_without_a_turbo_type_can_be_in_an_openai_clients_profile() {
    let (_dir, path) = written(&["openai", "-ctk", "f16", "-ctv", "f16"]);
    let set = printed(&path, &[]);
    assert_eq!(
        (set("cache-type-k").0, set("cache-type-v").0),
        ("f16".into(), "f16".into())
    );
}

#[test]
fn a_model_is_named_so_that_it_is_found_from_any_folder() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("a model.gguf");
    std::fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny-q8_0.gguf"), &model).unwrap();
    for form in ["hermes", "openai", "ollama"] {
        let run = support::turboquant()
            .current_dir(dir.path())
            .args(["profile", form, "-m", "a model.gguf", "-o", form, "-c", "8192"])
            .output()
            .unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        let set = printed(&dir.path().join(form), &[]);
        assert_eq!(
            set("model").0,
            model.canonicalize().unwrap().to_str().unwrap(),
            "{form}"
        );
    }
}

#[test]
fn an_openai_client_gets_its_base_url_and_variables() {
    let (out, _) = support::succeeds(&["profile", "openai", "-o", "-", "--endpoint", "http://127.0.0.1:9000"]);
    let profile: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(profile["base_url"], "http://127.0.0.1:9000/v1");
    assert_eq!(profile["environment"]["OPENAI_BASE_URL"], "http://127.0.0.1:9000/v1");
    assert_eq!(profile["model"], "turbotiny");
    assert!(profile["context_length"].as_u64().unwrap() > 0);
}

#[test]
fn a_modelfile_is_one_that_our_create_takes() {
    let (out, _) = support::succeeds(&[
        "profile", "ollama", "-o", "-", "-ctk", "q8_0", "-ctv", "turbo4", "-c", "4096",
    ]);
    let fields = Map::from_iter([("modelfile".to_owned(), Value::from(out))]);
    let creation = Creation::from_json(&fields).unwrap();
    assert_eq!(creation.base().unwrap(), Base::Model("turbotiny"));
    assert_eq!(
        Value::Object(creation.parameters().clone()),
        json!({"num_ctx": 4096, "kv_cache_type": "q8_0:turbo4"})
    );
}

#[test]
fn an_agent_gets_a_turbo_cache_or_the_reason_why_not() {
    let error = support::fails(&["profile", "hermes", "-o", "-", "-ctk", "f16", "-ctv", "f16"], 1);
    support::says(&error, &["turbo2, turbo3, turbo4", "profile openai"]);
    let error = support::fails(&["profile", "hermes", "-o", "-", "-c", "4096"], 1);
    support::says(&error, &["4096", "8192"]);
}

#[test]
fn wrong_options_are_named() {
    for (options, code, words) in [
        (vec!["nobody"], 2, vec!["hermes", "openai", "ollama"]),
        (vec!["hermes", "-ctk", "turbo9"], 1, vec!["--cache-type-k", "turbo4"]),
        (vec!["hermes", "--layer-adaptive", "9"], 1, vec!["0 to 7"]),
        (
            vec!["hermes", "--endpoint", "http://a/v1"],
            2,
            vec!["--endpoint", "/v1"],
        ),
        (vec!["hermes", "-c", "0"], 2, vec!["--ctx-size"]),
        (vec!["hermes", "-m", "/no/such.gguf"], 1, vec!["/no/such.gguf"]),
        (
            vec!["hermes", "--facts", "/no/such.json"],
            1,
            vec!["--facts", "/no/such.json"],
        ),
    ] {
        let error = support::fails(&[&["profile"], options.as_slice(), &["-o", "-"]].concat(), code);
        support::says(&error, &words);
    }
}

#[test]
fn a_changed_profile_is_not_overwritten_and_an_equal_one_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let in_dir = |options: &[&str]| {
        support::outcome_of(
            support::turboquant()
                .current_dir(dir.path())
                .arg("profile")
                .args(options),
        )
    };
    let default = dir.path().join("profiles/hermes-profile-gemma4-turboquant.yaml");
    assert_eq!(in_dir(&["hermes", "-c", "8192"]).0, Some(0));
    let first = std::fs::read_to_string(&default).unwrap();
    let (code, _, err) = in_dir(&["hermes", "-c", "8192"]);
    assert_eq!(code, Some(0), "{err}");
    support::says(&err, &["unchanged"]);
    let (code, _, err) = in_dir(&["hermes", "-c", "8193"]);
    assert_eq!(code, Some(1));
    support::says(&err, &["--force"]);
    assert_eq!(std::fs::read_to_string(&default).unwrap(), first);
    assert_eq!(in_dir(&["hermes", "-c", "8193", "--force"]).0, Some(0));
    assert_ne!(std::fs::read_to_string(&default).unwrap(), first);
}

//! `turboquant plan`: what it says of the embedded model on machines that are described by files.

#[path = "support/mod.rs"]
mod support;

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;
use support::{fails, outcome, says, succeeds};

/// A machine of the library's tests.
fn machine(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/data/machines/{name}.json"));
    path.to_str().unwrap().to_owned()
}

/// The plan of the embedded model there, whatever the exit code.
fn plan(name: &str, options: &[&str]) -> Value {
    let facts = machine(name);
    let args: Vec<&str> = ["plan", "--json", "--facts", &facts]
        .iter()
        .chain(options)
        .copied()
        .collect();
    let (_, out, err) = outcome(&args);
    serde_json::from_str(&out).unwrap_or_else(|_| panic!("{err}"))
}

/// Every object in `value` has exactly the fields that the schema requires and knows.
fn conforms(value: &Value, schema: &Value, root: &Value, at: &str) {
    let schema = match schema["$ref"].as_str() {
        Some(name) => root
            .pointer(name.trim_start_matches('#'))
            .unwrap_or_else(|| panic!("{at}: {name}")),
        None => schema,
    };
    if let Some(choices) = schema["anyOf"].as_array() {
        let kind = |choice: &&Value| match value {
            Value::Null => choice["type"] == "null",
            Value::Object(_) => choice["type"] == "object" || choice["$ref"].is_string(),
            Value::String(_) => choice["const"] == *value || choice["$ref"].is_string(),
            _ => choice["type"] == "integer",
        };
        let choice = choices
            .iter()
            .find(kind)
            .unwrap_or_else(|| panic!("{at}: {value} is none of {choices:?}"));
        return conforms(value, choice, root, at);
    }
    match value {
        Value::Object(fields) if schema["properties"].is_object() => {
            let known = schema["properties"].as_object().unwrap();
            let names = |names: Vec<&String>| names.into_iter().cloned().collect::<BTreeSet<_>>();
            assert_eq!(names(fields.keys().collect()), names(known.keys().collect()), "{at}");
            fields
                .iter()
                .for_each(|(name, field)| conforms(field, &known[name], root, &format!("{at}.{name}")));
        }
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(i, item)| conforms(item, &schema["items"], root, &format!("{at}[{i}]")));
        }
        Value::Number(number) => assert!(
            number.is_i64() || number.is_u64(),
            "{at}: sizes are whole bytes, not {number}"
        ),
        _ => {}
    }
}

#[test]
fn the_plan_is_a_table_with_advice() {
    let (out, _) = succeeds(&[
        "plan",
        "-c",
        "4096",
        "-ctk",
        "turbo4",
        "-ctv",
        "turbo4",
        "--facts",
        &machine("pc-no-gpu-32gb"),
    ]);
    says(
        &out,
        &[
            "weights",
            "KV cache",
            "4096 tokens",
            "turbo4/turbo4",
            "main memory",
            "28.00 GiB",
            "This fits with",
        ],
    );
}

#[test]
fn the_json_has_the_fields_of_its_schema() {
    let schema: Value = serde_json::from_str(include_str!("../../docs/schema/plan.schema.json")).unwrap();
    for (name, options) in [
        ("pc-no-gpu-32gb", &["-c", "4096"][..]),
        ("mac-36gb", &["-c", "4096", "-ngl", "99"]),
        ("pc-two-gpus", &["-c", "4096", "-ngl", "99"]),
        ("raspberry-pi-5-8gb", &["-c", "4000000", "-ctk", "f16", "-ctv", "f16"]),
    ] {
        conforms(&plan(name, options), &schema, &schema, name);
    }
}

#[test]
fn the_cache_is_exact_and_the_total_is_the_sum() {
    let plan = plan("pc-no-gpu-32gb", &["-c", "4096", "-ctk", "turbo4", "-ctv", "turbo4"]);
    // 8 layers, 2 KV heads of 128 values, 66 bytes for each
    assert_eq!(plan["cache"]["k"], 4096 * 8 * 2 * 66);
    let share = plan["pools"][0]["share"].as_object().unwrap();
    let sum: u64 = share.values().map(|bytes| bytes.as_u64().unwrap()).sum();
    assert_eq!(
        (plan["total"].as_u64(), &plan["exact"]),
        (Some(sum), &Value::Bool(true))
    );
}

#[test]
fn layers_go_to_the_cards_of_the_machine() {
    let plan = plan("pc-two-gpus", &["-c", "4096", "-ngl", "99"]);
    let pools: Vec<&Value> = plan["pools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pool| &pool["pool"])
        .collect();
    assert_eq!(pools.len(), 3, "{pools:?}");
    assert_eq!(pools[1]["gpu"], 0);
}

#[test]
fn what_does_not_fit_ends_with_1_and_names_the_longest_context_that_does() {
    let facts = machine("raspberry-pi-5-8gb");
    let args = ["plan", "-c", "4000000", "-ctk", "f16", "-ctv", "f16", "--facts", &facts];
    let (code, out, _) = outcome(&args);
    assert_eq!(code, Some(1));
    says(&out, &["does not fit", "The longest context that fits", "trained with"]);
    let longest = plan("raspberry-pi-5-8gb", &args[1..7])["longest_ctx"].as_u64().unwrap();
    let fits = plan(
        "raspberry-pi-5-8gb",
        &["-c", &longest.to_string(), "-ctk", "f16", "-ctv", "f16"],
    );
    assert_eq!(fits["fits"], true);
}

#[test]
fn a_container_is_limited_and_that_is_said() {
    let (out, _) = succeeds(&["plan", "-c", "4096", "--facts", &machine("container-8gb")]);
    says(&out, &["7.50 GiB", "limit of the container"]);
}

#[test]
fn a_card_without_a_backend_is_named_and_not_used() {
    let (out, _) = succeeds(&[
        "plan",
        "-c",
        "4096",
        "-ngl",
        "99",
        "--facts",
        &machine("pc-unusable-gpu"),
    ]);
    says(&out, &["RTX 4060 is not used", "no backend"]);
}

#[test]
fn a_draft_and_a_projector_are_added() {
    let model = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../models/tiny-q8_0.gguf");
    let file = model.to_str().unwrap();
    let plan = plan("pc-no-gpu-32gb", &["-c", "4096", "--draft", file, "--mmproj", file]);
    let share = &plan["pools"][0]["share"];
    assert_eq!(share["projector"].as_u64().unwrap(), model.metadata().unwrap().len());
    assert!(share["draft"].as_u64() > share["weights"].as_u64(), "{share}");
}

#[test]
fn mistakes_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let facts = dir.path().join("facts.json");
    std::fs::write(
        &facts,
        r#"{"os": "linux", "arch": "x86_64", "memory": {"total": "8 GiB"}, "gpus": []}"#,
    )
    .unwrap();
    says(
        &fails(&["plan", "--facts", facts.to_str().unwrap()], 1),
        &["--facts", "memory.available is missing"],
    );
    says(&fails(&["plan", "--slots", "0"], 1), &["--slots 0"]);
    says(&fails(&["plan", "--slots", "1000", "-c", "4096"], 1), &["1000", "256"]);
    says(&fails(&["plan", "--margin", "lots"], 1), &["--margin", "GiB"]);
    says(&fails(&["plan", "-m", "no/such.gguf"], 1), &["no/such.gguf"]);
    says(&fails(&["plan", "-c", "4294967295"], 1), &["4294967295"]);
}

#[test]
fn a_file_that_lies_about_its_layers_is_refused() {
    let model = std::fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../models/tiny-q8_0.gguf")).unwrap();
    let key = b".block_count";
    let at = model
        .windows(key.len())
        .position(|window| window == key)
        .expect("the key")
        + key.len()
        + 4;
    let dir = tempfile::tempdir().unwrap();
    for claimed in [u32::MAX, 100_000, 9, 0] {
        let mut lying = model.clone();
        lying[at..at + 4].copy_from_slice(&claimed.to_le_bytes());
        let path = dir.path().join(format!("{claimed}.gguf"));
        std::fs::write(&path, lying).unwrap();
        let (code, _, err) = outcome(&["plan", "-c", "4096", "-m", path.to_str().unwrap()]);
        assert_eq!(code, Some(1), "{claimed}: {err}");
        says(&err, &["cannot load model"]);
    }
}

#[test]
fn measuring_compares_the_plan_with_what_is_occupied() {
    let (out, _) = succeeds(&["plan", "-c", "512", "--measure", "-t", "1"]);
    says(&out, &["planned", "measured", "process, at its peak"]);
}

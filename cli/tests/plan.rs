//! `turboquant plan`: what it says of the embedded model on machines that are described by files.

#[path = "../../tests/support/mmproj.rs"]
mod mmproj;
#[path = "support/schema.rs"]
mod schema;
#[path = "support/mod.rs"]
mod support;

use llama_turboquant::vision::{ProjectorConfig, ProjectorPlan};
use serde_json::{Value, json};
use std::path::PathBuf;
use support::{fails, outcome, says, succeeds};

const SCHEMA: &str = "plan.schema.json";

/// A machine of the library's tests.
fn machine(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/data/machines/{name}.json"));
    path.to_str().unwrap().to_owned()
}

/// The plan of the embedded model there, whatever the exit code; it is what the schema says.
fn plan(name: &str, options: &[&str]) -> Value {
    let facts = machine(name);
    let args: Vec<&str> = ["plan", "--json", "--facts", &facts]
        .iter()
        .chain(options)
        .copied()
        .collect();
    let (_, out, err) = outcome(&args);
    let plan = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{err}"));
    schema::is_valid(SCHEMA, &plan);
    plan
}

// ---- the stable form ----

/// What a golden file holds of a plan: all but what depends on the size of the program itself and on the instructions of this
/// processor (scratch, copies of weights), sums of these, and what only an engine with those devices knows. The test of sums
/// stands for the sums.
fn without_what_differs_here(mut plan: Value) -> Value {
    let known = |value: &Value| match value {
        Value::Null => json!(null),
        Value::Number(number) if number.as_i64() < Some(0) => json!("negative"),
        _ => json!("some"),
    };
    for key in ["headroom", "longest_ctx", "total", "reclaimable"] {
        plan[key] = known(&plan[key]);
    }
    for pool in plan["pools"].as_array_mut().unwrap() {
        for key in ["total", "taken", "left"] {
            pool[key] = known(&pool[key]);
        }
        for key in ["compute", "program"] {
            let used = pool["share"][key].as_u64() > Some(0);
            pool["share"][key] = json!(if used { "some" } else { "none" });
        }
    }
    let worded = |sentence: &Value| {
        let words = sentence.as_str().unwrap().split(' ');
        let words = words.map(|word| if word.parse::<f64>().is_ok() { "N" } else { word });
        words.collect::<Vec<_>>().join(" ")
    };
    let mut advice: Vec<String> = plan["advice"].as_array().unwrap().iter().map(worded).collect();
    if plan["pools"].as_array().unwrap().len() > 1 {
        // an engine that has such devices plans on them
        plan["exact"] = json!("where the engine has the devices");
        advice.retain(|sentence| !sentence.starts_with("Scratch buffers are estimated"));
    }
    plan["advice"] = json!(advice);
    plan
}

#[track_caller]
fn golden(name: &str, machine: &str, options: &[&str]) {
    let text = format!("{:#}\n", without_what_differs_here(plan(machine, options)));
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/plan/{name}.json"));
    if std::env::var_os("UPDATE_PLAN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, golden, "{name}: UPDATE_PLAN=1 writes it anew");
}

#[test]
fn a_plan_without_a_graphics_device() {
    golden(
        "main-memory",
        "pc-no-gpu-32gb",
        &["-c", "4096", "-ctk", "turbo4", "-ctv", "turbo3"],
    );
}

#[test]
fn a_plan_for_two_cards_with_slots_and_a_margin() {
    let options = ["-c", "4096", "-ngl", "99", "--slots", "4", "--margin", "1 GiB"];
    golden("two-cards", "pc-two-gpus", &options);
}

#[test]
fn a_plan_for_memory_that_is_shared() {
    golden(
        "unified",
        "mac-36gb",
        &["-c", "4096", "-ngl", "99", "-ctk", "q8_0", "-ctv", "turbo4"],
    );
}

#[test]
fn a_plan_that_does_not_fit() {
    golden(
        "too-long",
        "raspberry-pi-5-8gb",
        &["-c", "4000000", "-ctk", "f16", "-ctv", "f16"],
    );
}

#[test]
fn sums_are_those_of_their_parts() {
    for (machine, options) in [
        ("pc-no-gpu-32gb", &["-c", "4096"][..]),
        ("pc-two-gpus", &["-c", "4096", "-ngl", "99", "--margin", "1 GiB"]),
        ("mac-36gb", &["-c", "4096", "-ngl", "99"]),
    ] {
        let plan = plan(machine, options);
        let bytes = |value: &Value| value.as_i64().unwrap();
        let pools = plan["pools"].as_array().unwrap();
        for pool in pools {
            let share: i64 = pool["share"].as_object().unwrap().values().map(bytes).sum();
            assert_eq!(bytes(&pool["total"]), share, "{machine} {pool:#}");
            let inside = pools.iter().filter(|inner| inner["within"] == pool["pool"]);
            let inside: i64 = inside.map(|inner| bytes(&inner["total"])).sum();
            assert_eq!(bytes(&pool["taken"]), share + inside, "{machine} {pool:#}");
            let left = bytes(&pool["capacity"]) - bytes(&pool["taken"]) - bytes(&plan["margin"]);
            assert_eq!(bytes(&pool["left"]), left, "{machine} {pool:#}");
        }
        let all: i64 = pools.iter().map(|pool| bytes(&pool["total"])).sum();
        assert_eq!(bytes(&plan["total"]), all, "{machine}");
        let least = pools.iter().map(|pool| bytes(&pool["left"])).min();
        assert_eq!(plan["headroom"].as_i64(), least, "{machine}");
    }
}

#[test]
fn a_plan_that_was_measured_has_the_form_of_the_schema_too() {
    let plan = support::json(&["plan", "--json", "-c", "256", "--measure", "-t", "1"]);
    schema::is_valid(SCHEMA, &plan);
    assert!(
        plan["measured"]["buffers"]["kv"]
            .as_object()
            .is_some_and(|kv| !kv.is_empty())
    );
}

#[test]
fn the_schema_would_find_a_key_too_few_or_too_many_and_a_negative_size() {
    let plan = plan("pc-two-gpus", &["-c", "4096", "-ngl", "99"]);
    for at in ["", "/model", "/setup", "/cache", "/pools/1", "/pools/1/share"] {
        let keys: Vec<String> = plan.pointer(at).unwrap().as_object().unwrap().keys().cloned().collect();
        for key in keys {
            let mut less = plan.clone();
            less.pointer_mut(at).unwrap().as_object_mut().unwrap().remove(&key);
            assert!(!schema::valid(SCHEMA, &less), "without {at}/{key}");
        }
        let mut more = plan.clone();
        more.pointer_mut(at).unwrap()["more"] = json!(1);
        assert!(!schema::valid(SCHEMA, &more), "{at} with one more");
    }
    for at in [
        "/total",
        "/cache/k",
        "/pools/1/share/weights",
        "/pools/1/taken",
        "/pools/1/capacity",
    ] {
        let mut negative = plan.clone();
        *negative.pointer_mut(at).unwrap() = json!(-1);
        assert!(!schema::valid(SCHEMA, &negative), "{at}");
    }
}

// ---- what it says ----

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
fn each_thread_works_in_scratch_of_its_own() {
    let scratch = |threads: &str| {
        let plan = plan(
            "pc-no-gpu-32gb",
            &["-c", "4096", "-ctk", "f16", "-ctv", "f16", "-t", threads],
        );
        plan["pools"][0]["share"]["compute"].as_u64().unwrap()
    };
    assert!(scratch("64") > scratch("16") && scratch("16") > scratch("1"));
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
fn a_draft_is_added() {
    let model = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../models/tiny-q8_0.gguf");
    let plan = plan("pc-no-gpu-32gb", &["-c", "4096", "--draft", model.to_str().unwrap()]);
    let share = &plan["pools"][0]["share"];
    assert!(share["draft"].as_u64() > share["weights"].as_u64(), "{share}");
}

#[test]
fn a_projector_is_added_as_serve_would_load_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mmproj.gguf");
    mmproj::write(&path, mmproj::Kind::Mlp, 512);
    let file = path.to_str().unwrap();
    let share = |options: &[&str]| {
        let plan = plan("pc-no-gpu-32gb", &[&["-c", "4096", "--mmproj", file], options].concat());
        plan["pools"][0]["share"]["projector"].as_u64().unwrap()
    };
    let expected = ProjectorPlan::of(&path, &ProjectorConfig::default()).unwrap().bytes();
    assert!(expected > 0);
    assert_eq!(share(&[]), expected);
    assert_eq!(share(&["--no-mmproj"]), 0);
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
    says(
        &fails(&["plan", "--mmproj", "no/such.gguf"], 1),
        &["--mmproj", "no/such.gguf"],
    );
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

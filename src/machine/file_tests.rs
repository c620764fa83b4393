use super::*;
use crate::machine::{Fact, Pool};

fn facts() -> Value {
    json!({
        "os": "linux",
        "arch": "x86_64",
        "memory": { "total": "32 GiB", "available": 30_000_000_000_u64 },
        "gpus": [{ "name": "Card", "device": "CUDA0", "kind": "discrete", "total": "8 GiB", "free": "7.5 GiB", "bandwidth": "400 GB/s" }],
    })
}

fn read(value: &Value) -> Result<Machine> {
    Machine::from_json(&value.to_string())
}

fn refusal(edit: impl FnOnce(&mut Value)) -> String {
    let mut value = facts();
    edit(&mut value);
    read(&value).expect_err("refused").to_string()
}

#[test]
fn sizes_are_numbers_or_text() {
    let machine = read(&facts()).expect("facts");
    assert_eq!(machine.memory.total, Fact::Known(32 << 30));
    assert_eq!(machine.gpus[0].free, Fact::Known(15 << 29));
    assert_eq!(machine.gpus[0].bandwidth, Fact::Known(400_000_000_000));
}

#[test]
fn facts_that_may_be_missing_are_unknown_or_none() {
    let machine = read(&facts()).expect("facts");
    assert!(machine.chip.known().is_none() && machine.memory.swap_total.get().is_none());
    assert_eq!(machine.memory.limit, Fact::Known(None));
}

#[test]
fn a_missing_fact_that_plans_rest_on_is_named() {
    let memory =
        |key: &'static str| move |facts: &mut Value| drop(facts["memory"].as_object_mut().map(|m| m.remove(key)));
    assert!(refusal(memory("total")).contains("memory.total is missing"));
    assert!(refusal(memory("available")).contains("memory.available is missing"));
    assert!(refusal(|facts| drop(facts.as_object_mut().map(|m| m.remove("gpus")))).contains("gpus is missing"));
    let free = |facts: &mut Value| drop(facts["gpus"][0].as_object_mut().map(|m| m.remove("free")));
    assert!(refusal(free).contains("gpus[0].free is missing"));
}

#[test]
fn a_fact_can_be_stated_as_unknown() {
    let mut value = facts();
    value["memory"]["available"] = json!({ "unknown": "not measured" });
    let machine = read(&value).expect("facts");
    assert_eq!(machine.memory.available, Fact::unknown("not measured"));
    assert_eq!(machine.pools()[0].capacity, Fact::unknown("not measured"));
    assert!(refusal(|facts| facts["os"] = json!({ "unknown": "?" })).contains("os"));
}

#[test]
fn an_unknown_field_is_refused_with_the_nearest_name() {
    let error = refusal(|facts| facts["memory"]["totl"] = json!(1));
    assert!(
        error.contains("memory.totl") && error.contains("memory.total?"),
        "{error}"
    );
    assert!(refusal(|facts| facts["gpu"] = json!([])).contains("did you mean gpus?"));
}

#[test]
fn negative_absurd_and_contradictory_numbers_are_refused() {
    for (pointer, value, said) in [
        ("/memory/total", json!(-1), "memory.total is -1"),
        ("/memory/total", json!(0), "memory.total is 0"),
        ("/memory/total", json!(1_u64 << 60), "below 1 PiB"),
        ("/memory/total", json!("2000 TiB"), "memory.total"),
        ("/memory/total", json!("a lot"), "memory.total"),
        ("/memory/available", json!("33 GiB"), "more than memory.total"),
        ("/gpus/0/free", json!("9 GiB"), "more than gpus[0].total"),
        ("/gpus/0/kind", json!("shared"), "\"discrete\" or \"unified\""),
        ("/gpus/0", json!(7), "gpus[0]"),
        ("/gpus", json!({}), "gpus must be a list"),
    ] {
        let error = refusal(|facts| {
            if let Some(slot) = facts.pointer_mut(pointer) {
                *slot = value.clone();
            }
        });
        assert!(error.contains(said), "{pointer} = {value}: {error}");
    }
    assert!(refusal(|facts| facts["cores"] = json!(0)).contains("cores"));
    assert!(
        Machine::from_json("{")
            .expect_err("no JSON")
            .to_string()
            .contains("not JSON")
    );
    assert!(
        Machine::from_json("[]")
            .expect_err("no object")
            .to_string()
            .contains("must be an object")
    );
}

#[test]
fn what_is_written_is_read_back() {
    let machine = read(&facts()).expect("facts");
    let text = serde_json::to_string(&machine).expect("JSON");
    assert_eq!(Machine::from_json(&text).expect("facts"), machine);
    let here = Machine::detect().expect("facts");
    let text = serde_json::to_string(&here).expect("JSON");
    assert_eq!(Machine::from_json(&text).expect("facts"), here);
}

#[test]
fn every_machine_of_the_tests_is_read_and_has_pools() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/machines");
    let mut count = 0;
    for entry in std::fs::read_dir(directory).expect("the directory") {
        let path = entry.expect("an entry").path();
        let machine = Machine::read(&path).expect("facts");
        assert!(
            !machine.label.is_empty() && machine.sources.len() > 1,
            "{}",
            path.display()
        );
        let pools = machine.pools();
        assert!(
            pools
                .iter()
                .all(|pool| pool.capacity.get().is_some_and(|bytes| bytes > 0)),
            "{}",
            path.display()
        );
        assert_eq!(pools[0].pool, Pool::Main);
        count += 1;
    }
    assert!(count >= 18, "{count} machines");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Machine::read("no/such/facts.json").expect_err("no file").to_string();
    assert!(error.contains("no/such/facts.json"), "{error}");
}

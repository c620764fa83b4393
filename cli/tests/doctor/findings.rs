//! One thing at a time is made worse.

use super::healthy::{self, GIB, folder, governor, port};
use super::{schema, support};
use llama_turboquant::machine::Fact;
use llama_turboquant_cli::doctor::facts::{Facts, FileState, FolderState, Here, PortState, Power};
use llama_turboquant_cli::doctor::{Finding, Level, Report, examine};

/// The findings of a machine that differs from the healthy one by `change`, without those that are ok.
fn found(change: impl FnOnce(&mut Facts)) -> Vec<Finding> {
    let mut facts = healthy::facts();
    change(&mut facts);
    let mut findings = examine(&facts).findings;
    findings.retain(|finding| finding.level > Level::Ok);
    findings
}

/// That `change` leads to one finding, of this id and level, with these words.
#[track_caller]
fn finds(id: &str, level: Level, words: &[&str], change: impl FnOnce(&mut Facts)) {
    let findings = found(change);
    let [finding] = findings.as_slice() else {
        panic!("one finding expected: {findings:#?}");
    };
    assert_eq!((finding.id, finding.level), (id, level), "{finding:#?}");
    let text = format!("{} {} {}", finding.what, finding.means, finding.remedy.join(" "));
    support::says(&text, words);
    assert!(!finding.means.is_empty(), "{finding:#?}");
}

fn here(change: impl FnOnce(&mut Here)) -> impl FnOnce(&mut Facts) {
    move |facts| change(facts.here.as_mut().unwrap())
}

fn power(change: impl FnOnce(&mut Power)) -> impl FnOnce(&mut Facts) {
    here(|here| change(&mut here.power))
}

#[test]
fn a_healthy_machine_has_nothing_but_ok() {
    assert_eq!(found(|_| {}), []);
    assert_eq!(examine(&healthy::facts()).worst, Level::Ok);
}

#[test]
fn instruction_sets_that_are_not_used_are_named_with_the_feature() {
    finds(
        "build.cpu",
        Level::Note,
        &["AVX512_VNNI", "--features native"],
        |facts| {
            facts.build.cpu_has.push("AVX512_VNNI".into());
        },
    );
}

#[test]
fn no_graphics_device_is_no_fault() {
    assert_eq!(found(|facts| facts.machine.gpus.clear()), []);
}

#[test]
fn a_device_without_a_backend_names_the_feature_to_build_with() {
    for (name, feature) in [
        ("NVIDIA GeForce RTX 4060", "--features cuda"),
        ("AMD Radeon RX 7900 XTX", "--features vulkan"),
        ("Intel Arc A770", "--features vulkan"),
    ] {
        finds("devices.unused", Level::Warning, &[name, feature], |facts| {
            facts.build.engine.backends = vec!["CPU".into()];
            facts.machine.gpus[0].name = name.into();
            facts.machine.gpus[0].device = None;
        });
    }
}

#[test]
fn a_device_that_the_backend_does_not_get_points_to_its_driver() {
    finds(
        "devices.unused",
        Level::Warning,
        &["CUDA", "nvidia-smi", "driver"],
        |facts| {
            facts.machine.gpus[0].device = None;
        },
    );
}

#[test]
fn a_device_without_turbo_attention_says_what_to_use_there() {
    finds(
        "devices.turbo",
        Level::Note,
        &["CUDA0", "--no-kv-offload", "q8_0"],
        |facts| {
            facts.build.turbo[0].1 = false;
        },
    );
}

#[test]
fn a_device_whose_memory_others_hold_is_noted() {
    finds("devices.memory", Level::Note, &["10.00 GiB of 24.00 GiB"], |facts| {
        facts.machine.gpus[0].free = Fact::Known(10 * GIB);
    });
    finds("devices.memory", Level::Note, &["unknown", "no nvml"], |facts| {
        facts.machine.gpus[0].free = Fact::unknown("no nvml");
    });
}

#[test]
fn little_memory_is_a_warning_and_hardly_any_a_problem() {
    for (available, level) in [
        (7 * GIB, Level::Note),
        (3 * GIB / 2, Level::Warning),
        (GIB / 4, Level::Problem),
    ] {
        finds("memory.available", level, &["of 32.00 GiB"], |facts| {
            facts.machine.memory.available = Fact::Known(available);
        });
    }
    finds("memory.available", Level::Note, &["unknown", "no /proc"], |facts| {
        facts.machine.memory.available = Fact::unknown("no /proc");
    });
}

#[test]
fn a_containers_limit_is_named_and_a_tight_one_warned_about() {
    for (used, level) in [(GIB, Level::Note), (15 * GIB, Level::Warning)] {
        let findings = found(|facts| {
            facts.machine.memory.limit = Fact::Known(Some(16 * GIB));
            facts.machine.memory.limit_used = Fact::Known(used);
        });
        let finding = findings.iter().find(|finding| finding.id == "memory.limit").unwrap();
        assert_eq!(finding.level, level);
        support::says(&finding.what, &["16.00 GiB"]);
        support::says(&finding.remedy[0], &["--memory"]);
    }
}

#[test]
fn a_limit_that_the_machine_reaches_first_is_none() {
    let findings = found(|facts| {
        facts.machine.memory.limit = Fact::Known(Some(64 * GIB));
        facts.machine.memory.limit_used = Fact::Known(GIB);
    });
    assert_eq!(findings, []);
}

#[test]
fn swap_in_use_is_noted_and_much_of_it_warned_about() {
    for (used, level) in [(GIB / 8, Level::Note), (3 * GIB, Level::Warning)] {
        finds("memory.swap", level, &["swap space is in use"], |facts| {
            facts.machine.memory.swap_used = Fact::Known(used);
        });
    }
}

#[test]
fn a_port_that_is_taken_names_who_has_it_and_the_way_out() {
    for (number, state, level, words) in [
        (
            8080,
            PortState::Ours("0.1.0".into()),
            Level::Note,
            vec!["turboquant 0.1.0", "--port"],
        ),
        (
            8080,
            PortState::Other,
            Level::Warning,
            vec!["another program", "--port", "lsof"],
        ),
        (
            8080,
            PortState::Refused("denied".into()),
            Level::Warning,
            vec!["denied", "--port"],
        ),
        (
            11434,
            PortState::Ollama("0.9.6".into()),
            Level::Note,
            vec!["Ollama 0.9.6", "systemctl stop ollama", "--ollama-host"],
        ),
    ] {
        let change = here(move |here| here.ports = vec![port(number, state)]);
        finds("ports", level, &words, change);
    }
}

#[test]
fn a_folder_that_cannot_be_used_says_what_fails_and_what_to_do() {
    for (purpose, state, id, level, word) in [
        (
            "models",
            FolderState::ReadOnly("denied".into()),
            "folders.models",
            Level::Warning,
            "--models-dir",
        ),
        (
            "slots",
            FolderState::Unusable("denied".into()),
            "folders.slots",
            Level::Problem,
            "--slot-save-path",
        ),
        (
            "embedded model",
            FolderState::Unusable("denied".into()),
            "folders.embedded",
            Level::Problem,
            "-m",
        ),
    ] {
        let change = here(move |here| here.folders = vec![folder(purpose, state)]);
        finds(id, level, &["denied", word], change);
    }
}

#[test]
fn a_full_disk_is_a_warning() {
    for (free, level) in [(GIB / 2, Level::Warning), (10 * GIB, Level::Note)] {
        finds(
            "disk.models",
            level,
            &["free on the disk"],
            here(|here| {
                here.folders[0].free = Fact::Known(free);
            }),
        );
    }
}

#[test]
fn few_open_files_are_counted_in_connections() {
    for (limit, level, words) in [
        (
            1024,
            Level::Note,
            vec!["1024 files", "about 960", "ulimit -n", "--max-connections 960"],
        ),
        (128, Level::Warning, vec!["128 files"]),
    ] {
        finds(
            "limits.open_files",
            level,
            &words,
            here(|here| {
                here.limits.open_files = Fact::Known(Some(limit));
            }),
        );
    }
    assert_eq!(found(here(|here| here.limits.open_files = Fact::Known(None))), []);
}

#[test]
fn powersave_is_a_fault_only_where_it_is_the_lowest_frequency() {
    for (governor, level) in [
        (governor("powersave", "acpi-cpufreq", None), Some(Level::Warning)),
        (governor("powersave", "intel_pstate", Some("balance_performance")), None),
        (
            governor("powersave", "intel_pstate", Some("power")),
            Some(Level::Warning),
        ),
        (governor("performance", "acpi-cpufreq", None), None),
        (Fact::unknown("no such file"), None),
    ] {
        let levels: Vec<Level> = found(power(|power| power.governor = governor.clone()))
            .iter()
            .map(|finding| finding.level)
            .collect();
        assert_eq!(levels, level.into_iter().collect::<Vec<_>>(), "{governor:?}");
    }
}

#[test]
fn what_slows_a_processor_down_is_named() {
    finds(
        "power.heat",
        Level::Note,
        &["7 times"],
        power(|power| power.heat = Fact::Known(7)),
    );
    finds(
        "power.supply",
        Level::Warning,
        &["voltage is too low", "throttled"],
        power(|power| power.firmware = Fact::Known(0x50005)),
    );
    finds(
        "power.supply",
        Level::Note,
        &["since it was started", "voltage"],
        power(|power| power.firmware = Fact::Known(0x10000)),
    );
    finds(
        "power.virtual",
        Level::Note,
        &["QEMU"],
        power(|power| power.hypervisor = Fact::Known(Some("QEMU".into()))),
    );
    finds(
        "power.stolen",
        Level::Note,
        &["5 %"],
        power(|power| power.stolen = Fact::Known(0.05)),
    );
    finds(
        "power.held_back",
        Level::Warning,
        &["40 %", "--threads"],
        power(|power| power.held_back = Fact::Known(0.4)),
    );
}

#[test]
fn a_model_that_is_not_whole_or_does_not_fit_is_a_problem() {
    for (state, words) in [
        (
            FileState::Cut {
                file: "/models/m.gguf".into(),
                expected: 1000,
                there: 900,
            },
            vec!["900", "1000", "turboquant pull"],
        ),
        (
            FileState::Missing(vec!["/models/m-00002-of-00002.gguf".into()]),
            vec!["m-00002-of-00002.gguf", "same folder"],
        ),
        (FileState::Unusable("it is no GGUF file".into()), vec!["no GGUF file"]),
    ] {
        finds("model.file", Level::Problem, &words, |facts| {
            let model = facts.model.as_mut().unwrap();
            (model.state, model.fits) = (state, None);
        });
    }
    finds(
        "model.fits",
        Level::Problem,
        &["needs 40 GiB", "smaller model"],
        |facts| {
            facts.model.as_mut().unwrap().fits = Some(Err("it needs 40 GiB".into()));
        },
    );
}

/// A machine with one finding of each kind, for the form of the report.
fn sick() -> Report {
    let mut facts = healthy::facts();
    facts.build.cpu_has.push("AVX512".into());
    facts.machine.gpus[0].device = None;
    facts.machine.memory.available = Fact::Known(GIB / 4);
    facts.machine.memory.swap_used = Fact::Known(3 * GIB);
    facts.here.as_mut().unwrap().ports[1].state = PortState::Ollama("0.9.6".into());
    facts.model = None;
    examine(&facts)
}

#[test]
fn the_json_report_is_the_golden_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/doctor.json");
    let report = serde_json::to_value(sick()).unwrap();
    schema::is_valid("doctor.schema.json", &report);
    let text = format!("{report:#}\n");
    if std::env::var_os("UPDATE_DOCTOR").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(text, golden, "run with UPDATE_DOCTOR=1 if this is meant");
}

#[test]
fn a_report_with_another_level_or_id_is_not_valid() {
    let mut report = serde_json::to_value(sick()).unwrap();
    assert!(schema::valid("doctor.schema.json", &report));
    report["findings"][0]["level"] = "fatal".into();
    assert!(!schema::valid("doctor.schema.json", &report));
}

//! What the graphics processor of a Mac may keep of memory.

use super::{healthy, support};
use llama_turboquant::machine::{Fact, Machine};
use llama_turboquant_cli::doctor::facts::{FileState, ModelFile};
use llama_turboquant_cli::doctor::{Finding, Level, examine};

const GIB: u64 = 1 << 30;

fn mac(gigabytes: u64) -> Machine {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/machines");
    Machine::read(format!("{folder}/mac-{gigabytes}gb.json")).unwrap()
}

fn advice(machine: Machine, model: Option<ModelFile>) -> Option<Finding> {
    let mut facts = healthy::facts();
    facts.machine = machine;
    facts.model = model;
    let mut findings = examine(&facts).findings.into_iter();
    findings.find(|finding| finding.id == "devices.wired_limit")
}

fn model(bytes: u64) -> Option<ModelFile> {
    Some(ModelFile {
        path: "m.gguf".into(),
        state: FileState::Whole { files: 1, bytes },
        fits: None,
    })
}

#[test]
fn macs_with_memory_to_lend_are_told_the_exact_command() {
    // an eighth of memory, and 5 GiB at least, stay with macOS
    for (gigabytes, mib) in [
        (24, 19_456),
        (32, 27_648),
        (36, 31_744),
        (48, 43_008),
        (64, 57_344),
        (96, 86_016),
        (128, 114_688),
        (192, 172_032),
    ] {
        let finding = advice(mac(gigabytes), None).unwrap_or_else(|| panic!("{gigabytes} GB: no advice"));
        assert_eq!(finding.level, Level::Note);
        let command = format!("`sudo sysctl iogpu.wired_limit_mb={mib}`");
        support::says(
            &finding.remedy.join(" "),
            &[&command, "wired_limit_mb=0", "docs/macos.md"],
        );
        let left = gigabytes * 1024 - mib;
        assert!(
            left >= 5 * 1024 && left >= gigabytes * 1024 / 8,
            "{gigabytes} GB: {left} MiB left"
        );
    }
}

#[test]
fn macs_that_have_nothing_to_lend_are_told_nothing() {
    for gigabytes in [8, 16] {
        assert_eq!(advice(mac(gigabytes), None), None, "{gigabytes} GB");
    }
}

#[test]
fn a_limit_that_was_raised_already_needs_no_advice() {
    let mut machine = mac(64);
    machine.gpus[0].total = Fact::Known(56 * GIB);
    assert_eq!(advice(machine, None), None);
}

#[test]
fn a_limit_that_leaves_macos_too_little_is_a_warning_with_the_way_back() {
    let mut machine = mac(64);
    machine.gpus[0].total = Fact::Known(63 * GIB);
    let finding = advice(machine, None).expect("a warning");
    assert_eq!(finding.level, Level::Warning);
    support::says(&finding.remedy.join(" "), &["sudo sysctl iogpu.wired_limit_mb=0"]);
}

#[test]
fn memory_that_other_programs_have_cannot_be_lent() {
    let mut machine = mac(64);
    machine.memory.available = Fact::Known(40 * GIB);
    assert_eq!(advice(machine, None), None);
}

#[test]
fn a_model_that_is_small_beside_the_limit_needs_no_advice_and_a_large_one_does() {
    assert_eq!(advice(mac(64), model(8 * GIB)), None);
    assert!(advice(mac(64), model(45 * GIB)).is_some());
}

#[test]
fn other_systems_have_no_such_limit() {
    let mut machine = mac(64);
    machine.os = "linux".into();
    assert_eq!(advice(machine, None), None);
}

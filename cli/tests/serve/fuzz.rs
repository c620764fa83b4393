//! The fuzzer's targets without the fuzzer: every input that is kept in `fuzz/corpus`, and mutations of them by fixed seeds.
//! `docs/fuzzing.md` says what is promised where; `scripts/fuzz.sh` looks for inputs that break it.

#[path = "../../../fuzz/targets/mod.rs"]
mod targets;

use std::path::{Path, PathBuf};
use std::process::Command;
use targets::{TARGETS, Target, mutate};

/// The target that a child process runs, of which it is a test.
const CHILD: &str = "TURBOQUANT_FUZZ_TARGET";

/// Inputs of a target: those that are kept, then those that are made.
fn inputs(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target.name);
    let mut files: Vec<PathBuf> = match folder.read_dir() {
        Ok(files) => files.map(|file| file.unwrap().path()).collect(),
        Err(_) => Vec::new(),
    };
    files.sort();
    let named = |path: PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, std::fs::read(path).unwrap())
    };
    let kept = files.into_iter().map(named);
    let made = (target.seeds)().into_iter().enumerate();
    kept.chain(made.map(|(number, seed)| (format!("made {number}"), seed)))
        .collect()
}

/// Calls a target with its inputs and with `mutations` of them; says which one it is at, for a crash that ends the process.
fn replay(target: &Target, mutations: u64) {
    let inputs = inputs(target);
    assert!(!inputs.is_empty(), "{} has no inputs", target.name);
    for (name, input) in &inputs {
        println!("at: {name}");
        (target.run)(input);
    }
    for seed in 0..mutations {
        let mut random = mutate::Random(seed);
        let (name, input) = random.pick(&inputs);
        println!("at: {name}, mutation {seed}");
        let mut changed = mutate::any(target.shape, input, &mut random);
        for _ in 0..random.below(3) {
            changed = mutate::any(target.shape, &changed, &mut random);
        }
        (target.run)(&changed);
    }
}

#[test]
fn whatever_is_sent_or_written_gets_an_answer_or_an_error() {
    for target in TARGETS.iter().filter(|target| !target.engine) {
        replay(target, 300);
    }
}

/// In processes of their own: what C++ does with such inputs may end one.
#[test]
fn what_the_engine_reads_never_ends_the_process() {
    if let Ok(name) = std::env::var(CHILD) {
        return replay(targets::find(&name).unwrap(), 100);
    }
    for target in TARGETS.iter().filter(|target| target.engine) {
        let output = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "fuzz::what_the_engine_reads_never_ends_the_process",
                "--nocapture",
            ])
            .env(CHILD, target.name)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let at = said.lines().rfind(|line| line.starts_with("at: "));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{}: {} {at:?}\n{errors}",
            target.name,
            output.status
        );
    }
}

#[test]
fn every_folder_of_inputs_belongs_to_a_target() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for folder in corpus.read_dir().unwrap() {
        let name = folder.unwrap().file_name().into_string().unwrap();
        assert!(targets::find(&name).is_some(), "fuzz/corpus/{name}");
    }
}

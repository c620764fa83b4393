//! One program for all targets, because each would link the engine: `FUZZ_TARGET` names the one to run. With `FUZZ_SEEDS`, it
//! only writes that target's made inputs into the folder named there.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use llama_turboquant_cli::commands::serve;
use std::sync::OnceLock;

#[path = "../../cli/tests/serve/support/mod.rs"]
#[allow(dead_code, unused_imports)]
mod support;
#[path = "../targets/mod.rs"]
#[allow(dead_code)] // `make test` uses the rest
mod targets;

use targets::{Target, mutate};

fn target() -> &'static Target {
    static TARGET: OnceLock<&'static Target> = OnceLock::new();
    TARGET.get_or_init(|| {
        let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
        let Some(target) = targets::find(&name) else {
            let known: Vec<&str> = targets::TARGETS.iter().map(|target| target.name).collect();
            eprintln!("FUZZ_TARGET={name:?} is none; there are: {}", known.join(" "));
            std::process::exit(2);
        };
        if let Some(folder) = std::env::var_os("FUZZ_SEEDS") {
            for (number, seed) in (target.seeds)().iter().enumerate() {
                let path = std::path::Path::new(&folder).join(format!("made-{number}"));
                std::fs::write(path, seed).expect("a seed");
            }
            std::process::exit(0);
        }
        target
    })
}

fuzz_target!(init: { target(); }, |data: &[u8]| { (target().run)(data); });

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = mutate::Random(u64::from(seed));
    // a quarter is left to libFuzzer, whose mutations learn from comparisons
    let changed = (seed % 4 != 0)
        .then(|| mutate::mutate(target().shape, &data[..size], &mut random))
        .flatten();
    match changed.filter(|changed| changed.len() <= max_size) {
        Some(changed) => {
            data[..changed.len()].copy_from_slice(&changed);
            changed.len()
        }
        None => fuzzer_mutate(data, size, max_size),
    }
});

//! What the operator writes by hand: the configuration file, facts of a machine, profiles. An error or a value, never a panic.

use llama_turboquant::machine::Machine;
use llama_turboquant_cli::options::{self, file::File};
use llama_turboquant_cli::profile;
use std::cell::OnceCell;

thread_local! {
    static ROOT: OnceCell<clap::Command> = const { OnceCell::new() };
}

fn with_root<T>(f: impl FnOnce(&clap::Command) -> T) -> T {
    ROOT.with(|root| {
        f(root.get_or_init(|| {
            let mut root = options::command();
            root.build();
            root
        }))
    })
}

pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    with_root(|root| match File::parse(text, "turboquant.toml".as_ref(), root) {
        Ok(file) => {
            let lines = text.lines().count();
            for entry in &file.entries {
                assert!((1..=lines).contains(&entry.line), "line {} of {lines}", entry.line);
            }
        }
        Err(error) => assert!(format!("{error:#}").starts_with("turboquant.toml:"), "{error:#}"),
    });
}

pub fn facts(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(machine) = Machine::from_json(text) {
        let again = serde_json::to_string(&machine).expect("facts are JSON");
        assert_eq!(Machine::from_json(&again).expect("facts are read back"), machine);
    }
}

pub fn profile(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    with_root(|root| {
        let serve = root.find_subcommand("serve").expect("the command");
        if let Err(error) = profile::parse(text, serve) {
            assert!(!format!("{error:#}").is_empty());
        }
    });
}

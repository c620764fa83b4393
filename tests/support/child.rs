//! A test that runs in a process of its own: for what a process can only have once (environment, log) and for
//! what would take the others down with it (a crash).

use std::process::{Command, Output};

const MARK: &str = "TURBOQUANT_TEST_CHILD";

/// Whether this process was started by [`rerun`] to be test `name`.
pub fn is_child(name: &str) -> bool {
    std::env::var(MARK).is_ok_and(|child| child == name)
}

/// Runs test `name` of this program again in a process of its own, with more environment variables.
pub fn rerun(name: &str, variables: &[(&str, &str)]) -> Output {
    let program = std::env::current_exe().expect("the path of this program");
    let mut command = Command::new(program);
    command
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(MARK, name);
    command.envs(variables.iter().copied());
    command.output().expect("this program starts again")
}

/// [`rerun`], and what it printed after `key=` on a line of its own.
pub fn value(name: &str, variables: &[(&str, &str)], key: &str) -> String {
    let output = rerun(name, variables);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{name} {variables:?}: {}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let line = text.lines().find_map(|line| line.split_once(&format!("{key}=")));
    line.unwrap_or_else(|| panic!("{name} printed no {key}:\n{text}"))
        .1
        .to_owned()
}

//! The commands `pull`, `list` and `rm`, as a user types them.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::stand_in::{Fault, MODEL, StandIn};

/// Without the user's own variables.
fn turboquant(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_turboquant"));
    command.args(args).arg("--models-dir").arg(dir);
    for name in ["OLLAMA_MODELS", "HF_ENDPOINT", "HF_TOKEN", "RUST_LOG"] {
        command.env_remove(name);
    }
    command
}

fn output(command: &mut Command) -> Output {
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn list(dir: &Path) -> Vec<Value> {
    let list = output(&mut turboquant(dir, &["list", "--json"]));
    assert!(list.status.success(), "{}", text(&list.stderr));
    serde_json::from_slice(&list.stdout).unwrap()
}

/// A pull that would take ten seconds and more, once its first bytes are on the disk.
fn slow_pull(dir: &Path, hub: &StandIn) -> Child {
    hub.fail([Fault::Slow(64 << 10, Duration::from_millis(100))]);
    let mut command = turboquant(dir, &["pull", "org/repo", "--hub-url", &hub.url]);
    let child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while part_size(dir) == 0 {
        assert!(started.elapsed() < Duration::from_secs(30), "nothing is downloaded");
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

/// Bytes of the unfinished file below.
fn part_size(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let size = |path: std::path::PathBuf| match path.is_dir() {
        true => part_size(&path),
        false if path.extension().is_some_and(|extension| extension == "part") => {
            path.metadata().map_or(0, |about| about.len())
        }
        false => 0,
    };
    entries.flatten().map(|entry| size(entry.path())).sum()
}

#[test]
fn a_model_is_pulled_listed_and_removed() {
    let (dir, hub) = (tempfile::tempdir().unwrap(), StandIn::with_model());
    let mut pull = turboquant(dir.path(), &["pull", "hf.co/org/repo:Q8_0"]);
    let pulled = output(pull.env("HF_ENDPOINT", &hub.url).env("HF_TOKEN", "secret"));
    assert!(pulled.status.success(), "{}", text(&pulled.stderr));
    assert_eq!(text(&pulled.stdout), "org/repo:Q8_0\n");
    assert_eq!(hub.seen()[0].authorization.as_deref(), Some("Bearer secret"));

    let listed = list(dir.path());
    let model = listed.iter().find(|model| model["name"] == "org/repo:Q8_0").unwrap();
    assert_eq!(model["size"], MODEL.len());
    let table = text(&output(&mut turboquant(dir.path(), &["list"])).stdout);
    assert!(
        table.contains("org/repo:Q8_0") && table.contains("turbotiny"),
        "{table}"
    );

    let file = Path::new(model["file"].as_str().unwrap()).to_owned();
    let removed = output(&mut turboquant(dir.path(), &["rm", "org/repo:Q8_0"]));
    assert!(removed.status.success() && !file.exists());
    let again = output(&mut turboquant(dir.path(), &["rm", "org/repo:Q8_0"]));
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("not found"));
}

#[test]
fn a_pull_that_is_killed_leaves_no_model_and_is_resumed() {
    let (dir, hub) = (tempfile::tempdir().unwrap(), StandIn::with_model());
    let mut child = slow_pull(dir.path(), &hub);
    // SIGKILL: nothing can be tidied up
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(list(dir.path()).len(), 1, "the embedded model only");
    let kept = part_size(dir.path());
    let again = output(&mut turboquant(
        dir.path(),
        &["pull", "org/repo", "--hub-url", &hub.url],
    ));
    assert!(again.status.success(), "{}", text(&again.stderr));
    assert_eq!(hub.transfers()[1].range, Some(format!("bytes={kept}-")));
    let listed = list(dir.path());
    let model = listed.iter().find(|model| model["name"] == "org/repo:Q8_0").unwrap();
    assert!(std::fs::read(model["file"].as_str().unwrap()).unwrap() == MODEL);
}

#[cfg(unix)]
#[test]
fn ctrl_c_keeps_what_has_come_and_says_so() {
    let (dir, hub) = (tempfile::tempdir().unwrap(), StandIn::with_model());
    let child = slow_pull(dir.path(), &hub);
    let signalled = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(signalled.success());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130));
    assert!(
        text(&ended.stderr).contains("what has come so far is kept"),
        "{}",
        text(&ended.stderr)
    );
    assert!(part_size(dir.path()) > 0);
}

#[test]
fn mistakes_are_errors_that_say_what_to_write() {
    let (dir, hub) = (tempfile::tempdir().unwrap(), StandIn::with_model());
    for (args, says) in [
        (vec!["pull", "llama3"], "org/repo:QUANT"),
        (vec!["pull", "../../etc/passwd"], "names no model"),
        (vec!["pull", "org/repo:Q2_K", "--hub-url", &hub.url], "it has Q8_0"),
        (vec!["pull", "org/repo", "--hub-url", "ftp://x"], "HF_ENDPOINT"),
        (vec!["rm", "turbotiny"], "not deleted"),
    ] {
        let failed = output(&mut turboquant(dir.path(), &args));
        assert_eq!(failed.status.code(), Some(1), "{args:?}");
        assert!(
            text(&failed.stderr).contains(says),
            "{args:?}: {}",
            text(&failed.stderr)
        );
    }
}

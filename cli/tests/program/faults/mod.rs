//! What disks, memory, signals and power do to a server. Limits of the running process stand in for what is full.

#[cfg(unix)]
mod crowd;
#[cfg(unix)]
mod files;
#[cfg(unix)]
mod kills;
#[cfg(unix)]
mod memory;
#[cfg(unix)]
mod signals;
#[path = "../../serve/hub/stand_in.rs"]
#[allow(dead_code)] // a part of it
mod stand_in;

use std::path::Path;
use std::process::Child;

use serde_json::Value;

/// The embedded model as a file that may be changed.
fn model(dir: &Path, name: &str) -> String {
    let path = dir.join(name);
    std::fs::copy("../models/tiny-q8_0.gguf", &path).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Status and body of a whole answer.
fn parts(answer: &str) -> (u16, Value) {
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status.unwrap_or(0), serde_json::from_str(body).unwrap_or(Value::Null))
}

#[cfg(unix)]
fn pid(child: &Child) -> rustix::process::Pid {
    rustix::process::Pid::from_child(child)
}

#[cfg(unix)]
fn signal(child: &Child, signal: rustix::process::Signal) {
    rustix::process::kill_process(pid(child), signal).unwrap();
}

/// Lowers what the running process may have, or lifts it again.
#[cfg(target_os = "linux")]
fn limit(child: &Child, resource: rustix::process::Resource, most: Option<u64>) {
    // the child has it from this process, and not everybody may raise it
    let maximum = rustix::process::getrlimit(resource).maximum;
    let limit = rustix::process::Rlimit {
        current: most.or(maximum),
        maximum,
    };
    rustix::process::prlimit(Some(pid(child)), resource, limit).unwrap();
}

/// What `/proc` says of a process, in KiB.
#[cfg(target_os = "linux")]
fn status(child: &Child, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
}

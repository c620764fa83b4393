//! A server that is killed at any moment, as a power cut would: what it was writing is whole or absent.
//!
//! `TURBOQUANT_KILLS` says how often (scripts/kill-test.sh); the times are drawn from a seed that is printed.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::stand_in::{Fault, MODEL, StandIn, sha256};
use super::{model, parts};
use crate::serve::{Server, head};

/// Kills where nobody says how many.
const KILLS: u32 = 20;

/// What was found after the kills.
#[derive(Debug, Default)]
struct Found {
    unfinished_slots: u32,
    manifests: u32,
    whole_models: u32,
    parts: u32,
    unfinished_manifests: u32,
}

/// Answers that do not come are expected: the server is killed.
fn call(addr: &str, request: &str, body: &str) -> Option<(u16, Value)> {
    use std::io::{Read, Write};
    let mut socket = std::net::TcpStream::connect(addr).ok()?;
    socket.write_all(head(request, body).as_bytes()).ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    Some(parts(&answer))
}

/// Writes all there is to write, over and over, until the server is gone.
fn work(addr: &str, killed: &AtomicBool) {
    let run = |calls: &[(&str, String)]| {
        while !killed.load(Ordering::Relaxed) {
            for (request, body) in calls {
                call(addr, request, body);
            }
        }
    };
    let name = |n: u32| format!(r#"{{"model":"one","filename":"{n}.bin"}}"#);
    let slots: Vec<_> = (0..3).map(|n| ("POST /slots/0?action=save", name(n))).collect();
    let store = [
        ("POST /api/copy", r#"{"source":"one","destination":"copy"}"#.to_owned()),
        (
            "POST /api/create",
            r#"{"model":"made","from":"one","system":"Be brief."}"#.to_owned(),
        ),
        (
            "POST /api/create",
            r#"{"model":"made","from":"copy","system":"Be long."}"#.to_owned(),
        ),
        ("DELETE /api/delete", r#"{"model":"copy"}"#.to_owned()),
    ];
    let hub = [
        ("POST /api/pull", r#"{"model":"org/repo"}"#.to_owned()),
        ("DELETE /api/delete", r#"{"model":"org/repo:Q8_0"}"#.to_owned()),
    ];
    std::thread::scope(|scope| {
        scope.spawn(|| run(&slots));
        scope.spawn(|| run(&store));
        scope.spawn(|| run(&hub));
    });
}

/// Looks at every file that is there.
fn look(models: &Path, slots: &Path, found: &mut Found) -> BTreeMap<String, Value> {
    for entry in std::fs::read_dir(slots).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        match name.starts_with('.') && name.ends_with(".tmp") {
            true => found.unfinished_slots += 1,
            false => assert!(["0.bin", "1.bin", "2.bin"].contains(&name.as_str()), "{name}"),
        }
    }
    let mut manifests = BTreeMap::new();
    let names = models.join(".turboquant/names");
    for entry in std::fs::read_dir(names).into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with(".tmp") {
            found.unfinished_manifests += 1;
            continue;
        }
        let bytes = std::fs::read(entry.path()).unwrap();
        let manifest: Value = serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        found.manifests += 1;
        manifests.insert(manifest["name"].as_str().unwrap().to_owned(), manifest);
    }
    // a download has its name when it is whole, whether its manifest came to be or not
    let digest = sha256(MODEL);
    let mut folders = vec![models.join("hub")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "gguf") {
                assert_eq!(sha256(&std::fs::read(&path).unwrap()), digest, "{}", path.display());
                found.whole_models += 1;
            } else if path.extension().is_some_and(|extension| extension == "part") {
                found.parts += 1;
            }
        }
    }
    manifests
}

#[test]
fn a_server_that_is_killed_leaves_everything_whole_or_absent() {
    let kills = std::env::var("TURBOQUANT_KILLS").map_or(KILLS, |kills| kills.parse().expect("a number"));
    let mut seed = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_nanos() as u64
        | 1;
    println!("{kills} kills, seed {seed}");
    let (models, slots) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let hub = StandIn::with_model();
    model(models.path(), "one.gguf");
    let start = || {
        let options = [
            "-c",
            "2048",
            "--parallel",
            "1",
            "--models-dir",
            models.path().to_str().unwrap(),
            "--slot-save-path",
            slots.path().to_str().unwrap(),
            "--hub-url",
            &hub.url,
            "--log-format",
            "json",
        ];
        Server::start_with(&options, &[("RUST_LOG", "off")])
    };
    let (mut found, mut restored_slots, mut models_seen) = (Found::default(), 0, 0);
    for kill in 0..=kills {
        // it starts on what the one before has left
        let mut server = start();
        // so long that a saved slot has a megabyte
        let story = "Once upon a time there was a server that nobody could harm. ".repeat(40);
        let ask = format!(r#"{{"model":"one","prompt":"{story}","max_tokens":4}}"#);
        assert_eq!(call(&server.addr, "POST /v1/completions", &ask).unwrap().0, 200);
        found = Found::default();
        let manifests = look(models.path(), slots.path(), &mut found);
        let (_, tags) = call(&server.addr, "GET /api/tags", "").unwrap();
        for name in manifests.keys() {
            assert!(
                tags.to_string().contains(name.as_str()),
                "`{name}` is not offered: {tags}"
            );
        }
        for entry in std::fs::read_dir(slots.path()).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if !name.starts_with('.') {
                let body = format!(r#"{{"model":"one","filename":"{name}"}}"#);
                let (status, restored) = call(&server.addr, "POST /slots/0?action=restore", &body).unwrap();
                assert_eq!(status, 200, "{name}: {restored}");
                restored_slots += 1;
            }
        }
        if kill == kills {
            break;
        }
        if kill % 2 == 0 {
            hub.fail([Fault::Slow(512 << 10, Duration::from_millis(10))]);
        }
        let killed = AtomicBool::new(false);
        models_seen += found.whole_models;
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let after = Duration::from_millis(seed % 400);
        std::thread::scope(|scope| {
            scope.spawn(|| work(&server.addr, &killed));
            std::thread::sleep(after);
            server.child.kill().unwrap();
            killed.store(true, Ordering::Relaxed);
        });
        server.child.wait().unwrap();
    }
    println!(
        "after {kills} kills all was whole or absent: {restored_slots} saved slots restored, {models_seen} downloads checked; at the \
         end there were {found:?}"
    );
    assert!(restored_slots > 0, "no slot was saved before a kill");
    // what was left over does not hinder the last pull
    let server = start();
    let (status, _) = call(&server.addr, "POST /api/pull", r#"{"model":"org/repo","stream":false}"#).unwrap();
    assert_eq!(status, 200);
    let manifests = look(models.path(), slots.path(), &mut Found::default());
    assert!(manifests.contains_key("org/repo:Q8_0"));
}

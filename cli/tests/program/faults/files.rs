//! Full disks, and model files that change under a server.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use super::{model, parts};
use crate::serve::{LONG, Server};
use crate::support::says;

const ASK: &str = r#"{"prompt":"Once upon a time","max_tokens":2}"#;

fn status_of(server: &Server) -> u16 {
    parts(&server.call("POST /v1/completions", ASK)).0
}

/// Files in a folder, hidden ones too.
fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// What is left of a model file whose copying was broken off.
fn cut(path: &str) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_len(100_000).unwrap();
}

/// The embedded model under another name: weights and shape are the same, and it is another model.
fn renamed(path: &str) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.windows(9).position(|bytes| bytes == b"TurboTiny").unwrap();
    bytes[at..at + 9].copy_from_slice(b"OtherTiny");
    let new = format!("{path}.new");
    std::fs::write(&new, bytes).unwrap();
    std::fs::rename(new, path).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_slot_that_does_not_fit_the_disk_is_507_with_its_size_and_leaves_nothing() {
    use rustix::process::Resource;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&["-c", "512", "--slot-save-path", dir.path().to_str().unwrap()]);
    assert_eq!(status_of(&server), 200);
    let save = || parts(&server.call("POST /slots/0?action=save", r#"{"filename":"a.bin"}"#));
    super::limit(&server.child, Resource::Fsize, Some(4096));
    let (status, refusal) = save();
    assert_eq!(
        (status, &refusal["error"]["code"]),
        (507, &"insufficient_storage".into()),
        "{refusal}"
    );
    let text = refusal["error"]["message"].as_str().unwrap();
    says(text, &["`a.bin`", "make room"]);
    assert!(names(dir.path()).is_empty());
    super::limit(&server.child, Resource::Fsize, None);
    let (status, saved) = save();
    assert_eq!(status, 200, "{saved}");
    says(text, &[&format!("{} bytes", saved["n_written"])]);
    assert_eq!(names(dir.path()), ["a.bin"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_download_that_does_not_fit_the_disk_says_how_much_is_missing_and_goes_on_when_there_is_room() {
    use super::stand_in::{MODEL, StandIn};
    use rustix::process::Resource;
    let (dir, hub) = (tempfile::tempdir().unwrap(), StandIn::with_model());
    let server = Server::start(&["--models-dir", dir.path().to_str().unwrap(), "--hub-url", &hub.url]);
    let pull = || server.call("POST /api/pull", r#"{"model":"org/repo"}"#);
    let had = 1 << 20;
    super::limit(&server.child, Resource::Fsize, Some(had));
    let failed = pull();
    says(&failed, &["{\"error\":", "disk", " more bytes are needed; make room"]);
    let missing = failed
        .split(" more bytes")
        .next()
        .and_then(|text| text.rsplit(' ').next());
    let kept = MODEL.len() as u64 - missing.and_then(|bytes| bytes.parse::<u64>().ok()).unwrap();
    assert!(kept > had / 2 && kept <= had, "{failed}");
    assert!(!failed.contains("\"success\""));
    let listed = server.call("GET /api/tags", "");
    assert!(!listed.contains("org/repo"), "{listed}");
    super::limit(&server.child, Resource::Fsize, None);
    says(&pull(), &["\"success\""]);
    assert_eq!(hub.transfers()[1].range, Some(format!("bytes={kept}-")));
    says(&server.call("GET /api/tags", ""), &["org/repo"]);
}

#[test]
fn a_model_file_that_is_removed_is_served_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = model(dir.path(), "m.gguf");
    let server = Server::start(&["-c", "512", "-m", &path]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(status_of(&server), 200);
}

#[test]
fn a_model_file_that_is_replaced_is_loaded_anew_and_slots_of_the_old_one_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = model(dir.path(), "m.gguf");
    let folder = dir.path().to_str().unwrap();
    let server = Server::start(&["-c", "512", "-m", &path, "--slot-save-path", folder]);
    assert_eq!(status_of(&server), 200);
    let (status, _) = parts(&server.call("POST /slots/0?action=save", r#"{"filename":"a.bin"}"#));
    assert_eq!(status, 200);
    renamed(&path);
    let answer = server.call("POST /v1/completions", ASK);
    says(&answer, &["200 OK", "x-turboquant-loaded: ", "\"cached_tokens\":0"]);
    let restored = server.call("POST /slots/0?action=restore", r#"{"filename":"a.bin"}"#);
    says(&restored, &["400 Bad Request", "`a.bin`", "model"]);
}

#[test]
fn a_model_file_that_is_cut_is_refused_with_the_reason_until_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = model(dir.path(), "m.gguf");
    let server = Server::start(&["-c", "512", "-m", &path]);
    assert_eq!(status_of(&server), 200);
    cut(&path);
    let (status, refusal) = parts(&server.call("POST /v1/completions", ASK));
    assert_eq!(status, 503, "{refusal}");
    let text = refusal["error"]["message"].as_str().unwrap();
    says(text, &["model 'm' cannot be"]);
    assert!(!text.contains(&path), "{text}");
    model(dir.path(), "m.gguf");
    assert_eq!(status_of(&server), 200);
}

/// The system ends a process that reads what is no longer there of a mapped file.
#[cfg(target_os = "linux")]
#[test]
fn a_model_file_that_is_cut_while_it_computes_ends_it_with_the_reason() {
    use std::io::Read;
    let dir = tempfile::tempdir().unwrap();
    let path = model(dir.path(), "m.gguf");
    let mut server = Server::start(&["-c", "4096", "-m", &path]);
    let mut socket = server.send("POST /v1/completions", &LONG.replace("300", "4000"));
    socket.read_exact(&mut [0; 600]).unwrap();
    cut(&path);
    let ended = server.child.wait().unwrap();
    assert_eq!(ended.signal(), Some(rustix::process::Signal::BUS.as_raw()));
    let mut said = String::new();
    server.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    says(&said, &["a model file was overwritten or truncated", "--no-mmap"]);
}

#[test]
fn without_mapping_a_model_file_may_become_what_it_wants() {
    use std::io::Read;
    let dir = tempfile::tempdir().unwrap();
    let path = model(dir.path(), "m.gguf");
    let server = Server::start(&["-c", "1024", "-m", &path, "--no-mmap"]);
    let mut socket = server.send("POST /v1/completions", LONG);
    socket.read_exact(&mut [0; 600]).unwrap();
    cut(&path);
    let mut rest = String::new();
    socket.read_to_string(&mut rest).unwrap();
    says(&rest, &["data: [DONE]"]);
}

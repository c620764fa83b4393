//! `GET /results`: the folder of `--results`, and nothing else.

use std::path::Path;

use serde_json::json;

use crate::serve::Settings;
use crate::serve::results::ResultsFolder;
use crate::support::{Scripted, Server};

/// A folder with a record, rows of a benchmark, what is neither, and a secret beside it.
fn folder() -> (tempfile::TempDir, Server) {
    let around = tempfile::tempdir().unwrap();
    let inside = around.path().join("results");
    std::fs::create_dir(&inside).unwrap();
    let gate = json!({
        "schema": "llama-turboquant/1", "kind": "gate", "date": "2026-11-21T09:00:00Z", "complete": true,
        "model": { "file": "model.gguf" }, "results": { "verdict": "pass" },
    });
    write(&inside, "gate.json", &gate.to_string());
    let bench = json!([{ "test_time": "2026-11-20T08:00:00Z", "model_type": "llama 1B", "avg_ts": 12.5 }]);
    write(&inside, "bench.json", &bench.to_string());
    write(&inside, "other.json", r#"{"hello": "world"}"#);
    write(&inside, "broken.json", "{");
    write(&inside, "notes.txt", "text");
    write(&inside, ".hidden.json", &gate.to_string());
    write(around.path(), "secret.json", &gate.to_string());
    std::fs::create_dir(inside.join("folder.json")).unwrap();
    let server = serving(&inside);
    (around, server)
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

fn serving(folder: &Path) -> Server {
    let settings = Settings {
        results: Some(ResultsFolder::open(folder).unwrap()),
        ..Settings::default()
    };
    Server::with(Scripted::answering([]), settings)
}

#[tokio::test]
async fn records_are_listed_with_what_they_are_and_other_files_are_not() {
    let (_keep, server) = folder();
    let list = server.get("/results").await.json();
    assert_eq!((&list["configured"], &list["left_out"]), (&json!(true), &json!(0)));
    let mut data = list["data"].as_array().unwrap().clone();
    data.sort_by_key(|one| one["name"].as_str().unwrap().to_owned());
    let names: Vec<_> = data.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["bench.json", "gate.json"]);
    assert_eq!(
        (&data[0]["kind"], &data[0]["model"]),
        (&json!("bench"), &json!("llama 1B"))
    );
    assert_eq!(
        (&data[0]["date"], &data[0]["complete"]),
        (&json!("2026-11-20T08:00:00Z"), &json!(null))
    );
    assert_eq!(
        (&data[1]["kind"], &data[1]["model"]),
        (&json!("gate"), &json!("model.gguf"))
    );
    assert_eq!(data[1]["complete"], true);
}

#[tokio::test]
async fn a_record_comes_as_it_was_written() {
    let (keep, server) = folder();
    let reply = server.get("/results/gate.json").await;
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let written = std::fs::read_to_string(keep.path().join("results/gate.json")).unwrap();
    assert_eq!(reply.text, written);
}

#[tokio::test]
async fn no_name_leads_out_of_the_folder() {
    let (keep, server) = folder();
    let outside = keep.path().join("secret.json");
    let absolute = outside.to_str().unwrap().replace('/', "%2F");
    for name in [
        "..%2Fsecret.json",
        "%2E%2E%2Fsecret.json",
        "..%5Csecret.json",
        "x%2F..%2F..%2Fsecret.json",
        "..%252Fsecret.json",
        "gate.json%00.json",
        "gate.json%2F..%2F..%2Fsecret.json",
        ".hidden.json",
        "notes.txt",
        "folder.json",
        "absent.json",
        absolute.as_str(),
    ] {
        let reply = server.get(&format!("/results/{name}")).await;
        let error = reply.error(404, "not_found_error");
        assert_eq!(error["code"], "results_not_found", "{name}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_is_no_record_wherever_it_leads() {
    let (keep, server) = folder();
    let inside = keep.path().join("results");
    std::os::unix::fs::symlink(keep.path().join("secret.json"), inside.join("link.json")).unwrap();
    server.get("/results/link.json").await.error(404, "not_found_error");
    assert!(!server.get("/results").await.text.contains("link.json"));
}

#[tokio::test]
async fn files_too_large_to_be_records_are_not_read() {
    let (keep, server) = folder();
    let file = std::fs::File::create(keep.path().join("results/large.json")).unwrap();
    file.set_len((16 << 20) + 1).unwrap();
    server.get("/results/large.json").await.error(404, "not_found_error");
}

#[tokio::test]
async fn without_a_folder_the_list_is_empty_and_says_so() {
    let server = Server::answering([]);
    let list = server.get("/results").await.json();
    assert_eq!((&list["configured"], &list["data"]), (&json!(false), &json!([])));
    server.get("/results/gate.json").await.error(404, "not_found_error");
}

#[test]
fn a_folder_that_is_none_is_refused_with_its_name() {
    let around = tempfile::tempdir().unwrap();
    write(around.path(), "file.json", "{}");
    for name in ["absent", "file.json"] {
        let error = ResultsFolder::open(&around.path().join(name)).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("--results"), "{error}");
    }
}

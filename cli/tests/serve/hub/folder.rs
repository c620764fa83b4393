//! The folder: what is offered, and what copying, creating and deleting leave behind.

use std::path::{Path, PathBuf};

use llama_turboquant_cli::embedded;
use llama_turboquant_cli::store::{Catalog, Creation, Digest, Entry, Error, Store};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::stand_in::sha256;

/// A folder with these files, all of the text `GGUF`.
fn folder(files: &[&str]) -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        let path = dir.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, b"GGUF").unwrap();
    }
    let store = Store::open(dir.path()).unwrap().with_model(embedded::entry());
    (dir, store)
}

fn names(store: &Store) -> Vec<String> {
    let names = store.entries().unwrap().into_iter().map(|entry| entry.name);
    names.filter(|name| name != embedded::NAME).collect()
}

fn entry(store: &Store, name: &str) -> Entry {
    store.find(name).unwrap().unwrap_or_else(|| panic!("no {name}"))
}

fn creation(fields: Value) -> Result<Creation, Error> {
    Creation::from_json(fields.as_object().unwrap())
}

/// Every file below, with its contents.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for path in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            all.extend(contents(&path));
        } else {
            all.push((path.clone(), std::fs::read(path).unwrap()));
        }
    }
    all.sort();
    all
}

#[test]
fn a_folder_that_is_not_there_yet_is_empty_and_stays_away() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("models");
    assert!(Store::open(&path).unwrap().entries().unwrap().is_empty());
    assert!(!path.exists());
}

#[test]
fn a_file_is_no_folder() {
    let (dir, _) = folder(&["m.gguf"]);
    assert!(Store::open(dir.path().join("m.gguf")).is_err());
}

#[test]
fn gguf_files_are_offered_by_their_place() {
    let (dir, store) = folder(&[
        "b.gguf",
        "sub/deep/a.gguf",
        "notes.txt",
        ".hidden/x.gguf",
        "mmproj-b.gguf",
    ]);
    assert_eq!(names(&store), ["b", "sub/deep/a"]);
    assert_eq!(entry(&store, "b:latest").file, Some(dir.path().join("b.gguf")));
    assert_eq!(entry(&store, "b").size, 4);
}

#[test]
fn files_come_and_go_while_the_store_is_open() {
    let (dir, store) = folder(&[]);
    std::fs::write(dir.path().join("new.gguf"), b"GGUF").unwrap();
    assert_eq!(names(&store), ["new"]);
    std::fs::remove_file(dir.path().join("new.gguf")).unwrap();
    assert!(names(&store).is_empty());
}

#[test]
fn shards_are_one_model_and_incomplete_ones_none() {
    let (dir, store) = folder(&[
        "big-00001-of-00002.gguf",
        "big-00002-of-00002.gguf",
        "half-00001-of-00003.gguf",
        "half-00003-of-00003.gguf",
    ]);
    assert_eq!(names(&store), ["big"]);
    let big = entry(&store, "big");
    assert_eq!(
        (big.size, big.file),
        (8, Some(dir.path().join("big-00001-of-00002.gguf")))
    );
}

#[test]
fn the_embedded_model_is_offered_and_can_have_aliases() {
    let (_dir, store) = folder(&[]);
    store.copy(embedded::NAME, "mine").unwrap();
    let mine = entry(&store, "mine");
    assert_eq!((mine.file, mine.parent.as_deref()), (None, Some(embedded::NAME)));
    assert!(mine.size > 0);
}

#[test]
fn an_alias_can_be_deleted_and_its_file_stays() {
    let (dir, store) = folder(&["m.gguf"]);
    store.copy("m", "org/alias:v1").unwrap();
    assert_eq!(entry(&store, "org/alias:v1").file, entry(&store, "m").file);
    store.delete("org/alias:v1").unwrap();
    assert_eq!(names(&store), ["m"]);
    assert!(dir.path().join("m.gguf").exists());
}

#[test]
fn a_file_of_the_user_is_not_deleted() {
    let (dir, store) = folder(&["m.gguf"]);
    assert!(matches!(store.delete("m"), Err(Error::NotOurs(_))));
    assert!(matches!(store.delete(embedded::NAME), Err(Error::NotOurs(_))));
    assert!(dir.path().join("m.gguf").exists());
}

#[test]
fn an_alias_outlives_its_file_only_as_something_to_delete() {
    let (dir, store) = folder(&["m.gguf"]);
    store.copy("m", "alias").unwrap();
    std::fs::remove_file(dir.path().join("m.gguf")).unwrap();
    assert!(names(&store).is_empty());
    store.delete("alias").unwrap();
    assert!(matches!(store.delete("alias"), Err(Error::NotFound(_))));
}

#[test]
fn unknown_names_are_not_found() {
    let (_dir, store) = folder(&["m.gguf"]);
    assert!(matches!(store.copy("x", "y"), Err(Error::NotFound(_))));
    assert!(matches!(store.delete("../m.gguf"), Err(Error::NotFound(_))));
    assert!(matches!(
        store.create("y", &creation(json!({ "from": "/etc/passwd" })).unwrap()),
        Err(Error::NotFound(_))
    ));
}

#[test]
fn the_name_of_a_file_cannot_be_taken() {
    let (_dir, store) = folder(&["m.gguf", "n.gguf"]);
    assert!(matches!(store.copy("m", "n"), Err(Error::Invalid(_))));
    assert!(matches!(store.copy("m", embedded::NAME), Err(Error::Invalid(_))));
    assert_eq!(entry(&store, "n").parent, None);
}

#[test]
fn hostile_names_change_nothing() {
    let (dir, store) = folder(&["in/m.gguf"]);
    let store_in = Store::open(dir.path().join("in")).unwrap();
    let before = contents(dir.path());
    for name in [
        "../evil",
        "/tmp/evil",
        "a/../../evil",
        "..",
        "",
        "a\0b",
        "a/b/c",
        ".x",
        "a\\..\\b",
        &"x".repeat(9000),
    ] {
        assert!(
            matches!(store_in.copy("m", name), Err(Error::InvalidName { .. })),
            "{name:?}"
        );
        let made = store_in.create(name, &creation(json!({ "from": "m" })).unwrap());
        assert!(matches!(made, Err(Error::InvalidName { .. })), "{name:?}");
    }
    assert_eq!(contents(dir.path()), before);
    drop(store);
}

#[test]
fn a_created_model_carries_what_was_said_about_it() {
    let (_dir, store) = folder(&["m.gguf"]);
    let made = creation(json!({
        "from": "m", "system": "You are a pirate.", "template": "{{ messages[0].content }}",
        "parameters": { "num_ctx": 4096, "temperature": 0.5, "stop": "END" }, "license": "MIT",
    }));
    store.create("pirate", &made.unwrap()).unwrap();
    let pirate = entry(&store, "pirate:latest");
    assert_eq!(pirate.system.as_deref(), Some("You are a pirate."));
    assert_eq!(pirate.template.as_deref(), Some("{{ messages[0].content }}"));
    let parameters = json!({ "num_ctx": 4096, "temperature": 0.5, "stop": ["END"] });
    assert_eq!(Value::Object(pirate.parameters), parameters);
}

#[test]
fn a_model_made_from_a_made_one_inherits_and_outlives_it() {
    let (_dir, store) = folder(&["m.gguf"]);
    let first = creation(json!({ "from": "m", "system": "A", "parameters": { "num_ctx": 1, "seed": 2 } }));
    store.create("first", &first.unwrap()).unwrap();
    let second = creation(json!({ "from": "first", "parameters": { "num_ctx": 3 } }));
    store.create("second", &second.unwrap()).unwrap();
    store.delete("first").unwrap();
    let second = entry(&store, "second");
    assert_eq!(second.system.as_deref(), Some("A"));
    assert_eq!(Value::Object(second.parameters), json!({ "num_ctx": 3, "seed": 2 }));
}

#[test]
fn creating_a_name_again_replaces_it() {
    let (_dir, store) = folder(&["m.gguf"]);
    for system in ["one", "two"] {
        store
            .create("x", &creation(json!({ "from": "m", "system": system })).unwrap())
            .unwrap();
    }
    assert_eq!(entry(&store, "x").system.as_deref(), Some("two"));
}

#[test]
fn what_create_cannot_do_is_said() {
    for fields in [
        json!({ "from": "m", "adapters": { "a": "sha256:0" } }),
        json!({ "from": "m", "quantize": "q4_K_M" }),
        json!({ "from": "m", "messages": [{ "role": "user", "content": "x" }] }),
        json!({ "files": { "model.safetensors": "sha256:0" } }),
        json!({ "modelfile": "FROM m\nADAPTER x" }),
    ] {
        assert!(
            matches!(creation(fields.clone()), Err(Error::NotSupported(_))),
            "{fields}"
        );
    }
    for fields in [
        json!({}),
        json!({ "from": 1 }),
        json!({ "from": "m", "parameters": { "num_ctx": "many" } }),
        json!({ "from": "m", "parameters": { "unheard_of": 1 } }),
        json!({ "from": "m", "parameters": [] }),
        json!({ "from": "m", "license": 1 }),
        json!({ "from": "m", "template": "{{ .Prompt }}" }),
        json!({ "files": { "m.gguf": "../../etc/passwd" } }),
    ] {
        assert!(matches!(creation(fields.clone()), Err(Error::Invalid(_))), "{fields}");
    }
}

#[test]
fn an_uploaded_file_becomes_a_model_and_goes_with_it() {
    let (dir, store) = folder(&[]);
    let bytes = b"GGUF and more";
    let digest = Digest::new(&format!("sha256:{}", sha256(bytes))).unwrap();
    let mut upload = store.receive(&digest, bytes.len() as u64).unwrap();
    upload.write(bytes).unwrap();
    upload.finish().unwrap();
    let made = creation(json!({ "files": { "m.gguf": format!("sha256:{digest}") } })).unwrap();
    store.create("up", &made).unwrap();
    let up = entry(&store, "up");
    assert_eq!(up.sha256, Some(sha256(bytes)));
    assert_eq!(std::fs::read(up.file.unwrap()).unwrap(), bytes);
    store.delete("up").unwrap();
    assert!(!store.has_blob(&digest));
    assert!(dir.path().exists());
}

#[test]
fn an_upload_that_is_no_model_makes_none() {
    let (_dir, store) = folder(&[]);
    let digest = Digest::new(&format!("sha256:{}", sha256(b"text"))).unwrap();
    let made = creation(json!({ "files": { "m.gguf": format!("sha256:{digest}") } })).unwrap();
    assert!(
        store
            .create("x", &made)
            .unwrap_err()
            .to_string()
            .contains("was not uploaded")
    );
    let mut upload = store.receive(&digest, 4).unwrap();
    upload.write(b"text").unwrap();
    upload.finish().unwrap();
    assert!(
        store
            .create("x", &made)
            .unwrap_err()
            .to_string()
            .contains("not a GGUF file")
    );
}

#[test]
fn an_upload_of_other_bytes_leaves_nothing() {
    let (dir, store) = folder(&[]);
    let digest = Digest::new(&format!("sha256:{}", sha256(b"announced"))).unwrap();
    let mut upload = store.receive(&digest, 5).unwrap();
    upload.write(b"other").unwrap();
    assert!(matches!(upload.finish(), Err(Error::Digest { .. })));
    assert!(contents(dir.path()).is_empty());
}

#[test]
fn leftovers_of_a_killed_process_are_not_offered() {
    let (dir, store) = folder(&["m.gguf"]);
    store.copy("m", "alias").unwrap();
    let names_dir = dir.path().join(".turboquant/names");
    std::fs::write(names_dir.join(".tmpAbC123"), b"{\"name\":\"tm").unwrap();
    std::fs::write(names_dir.join("torn.json"), b"{\"name\":\"torn\"").unwrap();
    std::fs::create_dir_all(dir.path().join("hub/org/repo/0123456789ab")).unwrap();
    std::fs::write(dir.path().join("hub/org/repo/0123456789ab/x-Q8_0.gguf.part"), b"GG").unwrap();
    assert_eq!(names(&store), ["alias", "m"]);
}

#[test]
fn a_description_that_points_outside_is_not_offered() {
    let (dir, store) = folder(&["secret.gguf", "in/.turboquant/names/x"]);
    let inner = Store::open(dir.path().join("in")).unwrap();
    for path in ["../secret.gguf", dir.path().join("secret.gguf").to_str().unwrap()] {
        let manifest = json!({ "name": "evil", "files": [{ "path": path, "size": 4 }] });
        std::fs::write(dir.path().join("in/.turboquant/names/evil.json"), manifest.to_string()).unwrap();
        assert!(inner.entries().unwrap().is_empty());
    }
    drop(store);
}

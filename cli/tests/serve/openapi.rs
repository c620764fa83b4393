//! `GET /openapi.json`: the document is what the sources and the router say.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use axum::http::Method;
use serde_json::Value;

use crate::serve::openapi::document;
use crate::support::{Server, greeting};

const METHODS: [&str; 6] = ["get", "head", "post", "put", "patch", "delete"];

/// Method and path of every operation.
fn documented() -> BTreeSet<(String, String)> {
    let document = document().unwrap();
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().keys();
        methods.map(move |method| (method.clone(), path.clone()))
    });
    operations.collect()
}

/// Method and path of every `.route("path", get(..).post(..))` in the server's sources.
fn registered() -> BTreeSet<(String, String)> {
    let mut all = BTreeSet::new();
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/commands/serve")) {
        let text = std::fs::read_to_string(&file).unwrap();
        for (at, _) in text.match_indices(".route(") {
            let call = balanced(&text[at + ".route(".len()..]);
            let place = format!("{}: .route({call})", file.display());
            if call.trim_start().starts_with("path,") {
                all.extend(of_a_list(&text).map(|path| ("post".to_owned(), path)));
                continue;
            }
            let path = call
                .trim_start()
                .strip_prefix('"')
                .and_then(|rest| rest.split_once('"'));
            let (path, handlers) = path.unwrap_or_else(|| panic!("write the path as a literal in {place}"));
            let path = path.replace("{*", "{");
            let methods = METHODS.iter().filter(|method| calls(handlers, method));
            let methods: Vec<_> = methods.map(|method| ((*method).to_owned(), path.clone())).collect();
            assert!(!methods.is_empty(), "no method in {place}");
            all.extend(methods);
        }
    }
    all
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] });
    files
        .filter(|path| path.extension().is_some_and(|end| end == "rs"))
        .collect()
}

/// The paths of a file that registers a list of them, all alike and for any method.
fn of_a_list(text: &str) -> impl Iterator<Item = String> {
    let list = text
        .split_once("const PATHS")
        .and_then(|(_, rest)| rest.split_once("];"));
    let (list, _) = list.expect("a file that registers `path` has a list PATHS");
    let paths = list.split('"').skip(1).step_by(2);
    paths.map(|path| path.replace("{*", "{"))
}

/// Whether `text` calls a function of that name.
fn calls(text: &str, name: &str) -> bool {
    let call = format!("{name}(");
    let in_a_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(&call)
        .any(|(at, _)| !text[..at].ends_with(in_a_word))
}

/// The text up to the bracket that closes the call.
fn balanced(text: &str) -> &str {
    let mut depth = 1;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[..at];
        }
    }
    panic!("no end of a call in {text}");
}

#[test]
fn every_route_in_the_sources_is_documented() {
    let missing: Vec<_> = registered().difference(&documented()).cloned().collect();
    assert!(missing.is_empty(), "add to openapi/paths.rs: {missing:?}");
}

#[test]
fn nothing_is_documented_that_no_source_registers() {
    let extra: Vec<_> = documented().difference(&registered()).cloned().collect();
    assert!(extra.is_empty(), "remove from openapi/paths.rs: {extra:?}");
}

#[tokio::test]
async fn every_documented_operation_is_served() {
    let server = Server::answering(greeting());
    for (method, path) in documented() {
        let place = path.replace("{id}", "tiny").replace("{id_slot}", "0");
        let verb = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
        let reply = server.call(verb, &place, &[]).await;
        assert_ne!(reply.status, 405, "{method} {path}");
        let unknown = reply.status == 404 && reply.text.contains("there is no route");
        assert!(!unknown, "{method} {path} is not served");
    }
}

#[tokio::test]
async fn the_document_is_served_with_all_its_references_resolved() {
    let reply = Server::answering([]).get("/openapi.json").await;
    let document = reply.json();
    assert_eq!(document["openapi"], "3.1.0");
    let mut references = BTreeSet::new();
    collect(&document, &mut references);
    for reference in &references {
        let pointer = reference.strip_prefix('#').expect("inside the document");
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    let schemas = document["components"]["schemas"].as_object().unwrap().keys();
    for name in schemas {
        let used = references.contains(&format!("#/components/schemas/{name}"));
        assert!(used, "no operation uses {name}");
    }
}

fn collect(value: &Value, references: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            references.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| collect(value, references));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, references)),
        _ => {}
    }
}

#[test]
fn operation_ids_are_unique() {
    let document = document().unwrap();
    let paths = document["paths"].as_object().unwrap().values();
    let ids: Vec<_> = paths
        .flat_map(|methods| methods.as_object().unwrap().values())
        .map(|operation| operation["operationId"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
}

/// A change of the API shows as a change of this file in review. To accept one:
/// `UPDATE_OPENAPI=1 cargo test -p llama-turboquant-cli --features native --test serve openapi`
#[test]
fn the_document_is_the_golden_one() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/openapi.json");
    let now = format!("{:#}\n", document().unwrap());
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::create_dir_all(golden.parent().unwrap()).unwrap();
        std::fs::write(&golden, &now).unwrap();
    }
    let before = std::fs::read_to_string(&golden).unwrap_or_default();
    assert!(
        now == before,
        "the API's description changed; if that is meant, run this test with UPDATE_OPENAPI=1 and look at the difference"
    );
}

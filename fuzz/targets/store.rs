//! Names and files of the models folder, and what a hub says of a repository. None of it may lead out of the folder.

use super::scratch;
use llama_turboquant_cli::hub::{Reference, wanted};
use llama_turboquant_cli::store::{Catalog, Creation, Manifest, Name, Store};
use serde_json::{Map, Value};
use std::path::{Component, Path};

/// A Modelfile as text, and as the fields of `/api/create`.
pub fn modelfile(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let fields = match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::from_iter([("modelfile".to_owned(), Value::String(text.to_owned()))]),
    };
    if let Ok(creation) = Creation::from_json(&fields) {
        creation.base().expect("a creation has a base");
    }
}

/// A description of a model in the folder, under the name that it has in itself.
pub fn manifest(data: &[u8]) {
    let folder = scratch().join("store");
    let manifests = folder.join(".turboquant/names");
    std::fs::create_dir_all(&manifests).expect("a folder");
    let name = serde_json::from_slice::<Manifest>(data)
        .ok()
        .and_then(|manifest| Name::new(&manifest.name).ok());
    let file = manifests.join(name.map_or_else(|| "any.json".to_owned(), |name| name.file_name()));
    std::fs::write(&file, data).expect("a file");
    let entries = Store::open(&folder)
        .expect("a folder")
        .entries()
        .expect("a readable folder");
    for entry in entries {
        assert!(
            entry.file.is_none_or(|file| is_inside(&folder, &file)),
            "{}",
            entry.name
        );
    }
    std::fs::remove_file(file).expect("the file");
}

fn is_inside(folder: &Path, file: &Path) -> bool {
    file.strip_prefix(folder)
        .is_ok_and(|rest| rest.components().all(|part| matches!(part, Component::Normal(_))))
}

/// The listing of a repository.
pub fn hub_listing(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for reference in ["org/repo", "org/repo:Q8_0", "org/repo:model-q4_k_m.gguf"] {
        let reference: Reference = reference.parse().expect("a reference");
        let Some(Ok(files)) = wanted(text, &reference) else {
            continue;
        };
        assert!(!files.is_empty());
        for file in files {
            let inside = Path::new(&file.path)
                .components()
                .all(|part| matches!(part, Component::Normal(_)));
            assert!(inside && !file.path.contains('\\'), "{:?}", file.path);
        }
    }
}

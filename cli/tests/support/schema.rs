//! Documents against the schema files of docs/schema.

use serde_json::Value;

/// Fails unless `document` is what docs/schema/`name` describes.
#[track_caller]
pub fn is_valid(name: &str, document: &Value) {
    let path = format!("{}/../docs/schema/{name}", env!("CARGO_MANIFEST_DIR"));
    let schema = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}\n{document:#}");
}

/// Whether `document` is what docs/schema/`name` describes.
pub fn valid(name: &str, document: &Value) -> bool {
    let path = format!("{}/../docs/schema/{name}", env!("CARGO_MANIFEST_DIR"));
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    jsonschema::is_valid(&schema, document)
}

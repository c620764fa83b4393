//! The OpenAPI document: `paths` lists the routes, `schemas.json` says what goes in and out.
//!
//! Bodies are read by hand, leniently, as clients of several servers expect; so the document is written by hand too, and
//! tests keep it true: every route in the sources is in it, every path in it is served, and the whole is a golden file.

mod operation;
mod paths;

use serde_json::{Map, Value, json};

pub use operation::Operation;

/// Named schemas, for people to edit.
const SCHEMAS: &str = include_str!("schemas.json");

/// The document, OpenAPI 3.1.
///
/// # Errors
/// `schemas.json` is not JSON.
pub fn document() -> Result<Value, serde_json::Error> {
    let schemas: Value = serde_json::from_str(SCHEMAS)?;
    let mut by_path: Map<String, Value> = Map::new();
    for operation in paths::all() {
        for path in operation.paths() {
            // axum's sign for "the rest of the path", which the document has no word for
            let path = path.replace("{*", "{");
            let described = operation.describe(&path);
            let methods = by_path.entry(path).or_insert_with(|| json!({}));
            methods[operation.method()] = described;
        }
    }
    Ok(json!({
        "openapi": "3.1.0",
        "info": {
            "title": "turboquant serve",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Language models with a compressed KV cache, behind the APIs of OpenAI, llama-server and Ollama. \
                            Fields that are not listed are ignored.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{}, { "bearer": [] }, { "key": [] }],
        "paths": by_path,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer" },
                "key": { "type": "apiKey", "in": "header", "name": "X-Api-Key" },
            },
        },
    }))
}

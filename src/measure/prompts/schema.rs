//! JSON Schema, as much as prompts need: `type` (a name or a list), `properties`, `required`, `additionalProperties` (as a
//! switch), `items`, `enum`, `const`, `minItems`, `maxItems`, `minLength`, `maxLength`, `minimum`, `maximum`, `pattern`.
//! Other keywords are refused when the prompts are read: one that is ignored would pass what it forbids.

use super::check::{Pattern, shorten};
use serde_json::Value;

const KEYWORDS: [&str; 15] = [
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "enum",
    "const",
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "pattern",
    "description",
];
const TYPES: [&str; 7] = ["object", "array", "string", "number", "integer", "boolean", "null"];

/// Whether all of a schema is understood.
pub(super) fn validate_schema(schema: &Value) -> Result<(), String> {
    let object = schema.as_object().ok_or("a schema is a JSON object")?;
    if let Some(unknown) = object.keys().find(|key| !KEYWORDS.contains(&key.as_str())) {
        return Err(format!(
            "the schema's `{unknown}` is not supported; there are {}",
            KEYWORDS.join(", ")
        ));
    }
    for name in types(schema) {
        if !TYPES.contains(&name) {
            return Err(format!("the schema's type `{name}` does not exist"));
        }
    }
    if let Some(pattern) = schema.get("pattern") {
        Pattern::new(pattern.as_str().ok_or("the schema's `pattern` is no text")?)?;
    }
    let parts = schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(|it| it.values());
    parts.chain(schema.get("items")).try_for_each(validate_schema)
}

/// Everything about `value` that does not fit, each with its place.
pub(super) fn problems(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    visit(schema, value, "$", &mut found);
    found
}

fn types(schema: &Value) -> impl Iterator<Item = &str> {
    let (one, several) = match schema.get("type") {
        Some(Value::Array(list)) => (None, list.as_slice()),
        Some(name) => (name.as_str(), &[][..]),
        None => (None, &[][..]),
    };
    one.into_iter().chain(several.iter().filter_map(Value::as_str))
}

fn is_a(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        // 3.0 is an integer to JSON Schema
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => false,
    }
}

/// Equal, numbers by their value: 3 and 3.0 are the same.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

fn visit(schema: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
    let mut wrong = |why: String| found.push(format!("{place} {why}"));
    let names: Vec<&str> = types(schema).collect();
    if !names.is_empty() && !names.iter().any(|name| is_a(name, value)) {
        return wrong(format!(
            "is `{}`, not of type {}",
            shorten(&value.to_string()),
            names.join(" or ")
        ));
    }
    if let Some(list) = schema.get("enum").and_then(Value::as_array)
        && !list.iter().any(|allowed| same(allowed, value))
    {
        wrong(format!(
            "is {}, which is none of the allowed values",
            shorten(&value.to_string())
        ));
    }
    if let Some(only) = schema.get("const").filter(|only| !same(only, value)) {
        wrong(format!("is {} instead of {only}", shorten(&value.to_string())));
    }
    let limit = |name: &str| schema.get(name).and_then(Value::as_f64);
    let sizes = [
        (value.as_f64(), "minimum", "maximum", "is"),
        (
            value.as_str().map(|text| text.chars().count() as f64),
            "minLength",
            "maxLength",
            "has length",
        ),
        (
            value.as_array().map(|list| list.len() as f64),
            "minItems",
            "maxItems",
            "has items:",
        ),
    ];
    for (size, low, high, what) in sizes {
        let Some(size) = size else { continue };
        if limit(low).is_some_and(|low| size < low) || limit(high).is_some_and(|high| size > high) {
            wrong(format!("{what} {size}, which is out of range"));
        }
    }
    if let (Some(pattern), Some(text)) = (schema.get("pattern").and_then(Value::as_str), value.as_str())
        && !Pattern::new(pattern).is_ok_and(|pattern| pattern.is_match(text))
    {
        wrong(format!("is `{}`, which does not match `{pattern}`", shorten(text)));
    }
    if let Some(object) = value.as_object() {
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        for key in required
            .filter_map(Value::as_str)
            .filter(|key| !object.contains_key(*key))
        {
            wrong(format!("has no `{key}`"));
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        for (key, value) in object {
            match properties.and_then(|properties| properties.get(key)) {
                Some(schema) => visit(schema, value, &format!("{place}.{key}"), found),
                None if schema.get("additionalProperties") == Some(&Value::Bool(false)) => {
                    found.push(format!("{place} has a `{key}` that is not in the schema"));
                }
                None => {}
            }
        }
    }
    if let (Some(items), Some(list)) = (schema.get("items"), value.as_array()) {
        for (i, value) in list.iter().enumerate() {
            visit(items, value, &format!("{place}[{i}]"), found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_keyword_lets_the_right_value_through_and_names_the_place_of_a_wrong_one() {
        let cases = [
            (json!({"type": "integer"}), json!(3.0), json!(3.5), "integer"),
            (
                json!({"type": ["string", "null"]}),
                json!(null),
                json!(1),
                "string or null",
            ),
            (json!({"enum": ["a", 2]}), json!(2.0), json!("b"), "allowed"),
            (
                json!({"const": {"a": 1}}),
                json!({"a": 1.0}),
                json!({"a": 2}),
                "instead of",
            ),
            (
                json!({"minimum": 0, "maximum": 1}),
                json!(1),
                json!(1.01),
                "out of range",
            ),
            (
                json!({"minLength": 2, "maxLength": 3}),
                json!("\u{e9}\u{e9}\u{e9}"),
                json!("x"),
                "length 1",
            ),
            (
                json!({"minItems": 1, "maxItems": 2}),
                json!([1]),
                json!([1, 2, 3]),
                "items: 3",
            ),
            (
                json!({"pattern": "^\\d{4}$"}),
                json!("2031"),
                json!("203"),
                "does not match",
            ),
            (
                json!({"required": ["a"]}),
                json!({"a": null}),
                json!({"b": 1}),
                "$ has no `a`",
            ),
            (
                json!({"properties": {"a": {}}, "additionalProperties": false}),
                json!({"a": 1}),
                json!({"a": 1, "b": 2}),
                "`b`",
            ),
            (
                json!({"items": {"properties": {"n": {"type": "number"}}}}),
                json!([{"n": 1}]),
                json!([{"n": 1}, {"n": "1"}]),
                "$[1].n",
            ),
        ];
        for (schema, good, bad, part) in cases {
            validate_schema(&schema).unwrap();
            assert_eq!(problems(&schema, &good), [] as [&str; 0], "{schema}");
            let found = problems(&schema, &bad);
            assert!(found.len() == 1 && found[0].contains(part), "{schema}: {found:?}");
        }
    }

    #[test]
    fn a_schema_that_is_not_wholly_understood_is_refused() {
        for (schema, part) in [
            (json!({"oneOf": []}), "oneOf"),
            (json!({"type": "text"}), "`text`"),
            (json!({"properties": {"a": {"items": {"pattern": "("}}}}), "unclosed"),
            (json!([]), "object"),
        ] {
            let message = validate_schema(&schema).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }
}

//! What is refused before llama.cpp sees it. Its GBNF parser writes a repeated item out as often as it is repeated, counts
//! `{5,2}` down from 2^64, and its converter of schemas calls itself once for each optional property and copies those that
//! are left: a request of a few kilobytes would take all memory, the stack, or hours.

use serde_json::{Map, Value};
use std::collections::HashSet;

/// Symbols that repetitions may be written out to, all together; one takes 8 bytes, and there are three copies.
const MAX_SYMBOLS: u64 = 1 << 20;

/// Bytes of a grammar: what is repeated and sampled by grows with them.
const MAX_GRAMMAR: usize = 1 << 20;

/// Optional properties of one object: `n` of them become `n` rules whose making takes `n^3 / 6` copies, 3 million here.
const MAX_OPTIONAL: usize = 256;

/// Members of objects and elements that are themselves objects or lists. Each becomes a rule or two.
const MAX_PARTS: usize = 8192;

/// Bytes of a schema.
const MAX_SCHEMA: usize = 1 << 20;

/// Objects and lists within each other; llama.cpp refuses more than 128.
const MAX_DEPTH: usize = 128;

/// Whether a grammar stays within what can be written out. Errors of notation are left to the engine, which names their place.
pub(in crate::engine) fn check_gbnf(text: &str) -> Result<(), String> {
    if text.len() > MAX_GRAMMAR {
        return Err(format!(
            "the grammar has {} bytes; at most {MAX_GRAMMAR} are taken",
            text.len()
        ));
    }
    let (mut symbols, mut last) = (0_u64, 1_u64);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let len = match first {
            '"' => quoted(rest, '"'),
            '[' => quoted(rest, ']'),
            '#' => rest.find(['\n', '\r']).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        match first {
            '"' | '[' => last = len as u64,
            '{' => {
                let (least, most) = bounds(&rest[1..]);
                if most.is_some_and(|most| most < least) {
                    let wrong = rest.chars().take_while(|char| *char != '}').collect::<String>();
                    return Err(format!("the repetition {wrong}}} has a least count above its most"));
                }
                last = last.saturating_mul(most.unwrap_or(least).max(1));
                symbols = symbols.saturating_add(last);
            }
            '*' | '+' | '?' => symbols = symbols.saturating_add(last),
            '#' => {}
            char if char.is_ascii_whitespace() => {}
            _ => last = 1,
        }
        if symbols > MAX_SYMBOLS {
            return Err(format!(
                "the repetitions of the grammar come to more than {MAX_SYMBOLS} symbols; repeat less, or name what is repeated in a rule"
            ));
        }
        rest = &rest[len..];
    }
    Ok(())
}

/// Bytes up to and with `end`, behind the character that `text` begins with.
fn quoted(text: &str, end: char) -> usize {
    let mut escaped = false;
    for (at, char) in text.char_indices().skip(1) {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            char if char == end => return at + char.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// The counts of `m}`, `m,}` or `m,n}`. A most above 2000 is none, as in llama.cpp.
fn bounds(text: &str) -> (u64, Option<u64>) {
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let inside = text.split('}').next().unwrap_or_default();
    match inside.split_once(',') {
        Some((least, most)) => (number(least).unwrap_or(0), number(most).filter(|most| *most <= 2000)),
        None => (number(inside).unwrap_or(0), None),
    }
}

/// Whether a JSON schema is of a size that becomes a grammar in reasonable time. `what` names it in errors.
pub(in crate::engine) fn check_schema(what: &str, schema: &Value) -> Result<(), String> {
    let bytes = schema.to_string().len();
    if bytes > MAX_SCHEMA {
        return Err(format!("{what} has {bytes} bytes; at most {MAX_SCHEMA} are taken"));
    }
    let mut parts = 0;
    let mut left = vec![(schema, 1)];
    while let Some((value, depth)) = left.pop() {
        if depth > MAX_DEPTH {
            return Err(format!("{what} is nested more than {MAX_DEPTH} levels deep"));
        }
        match value {
            Value::Object(map) => {
                let optional = optional(schema, map);
                if optional > MAX_OPTIONAL {
                    return Err(format!(
                        "{what} has an object with {optional} optional properties; at most {MAX_OPTIONAL} are taken, name more in `required`"
                    ));
                }
                parts += map.len();
                left.extend(map.values().map(|value| (value, depth + 1)));
            }
            Value::Array(list) => {
                let nested = list.iter().filter(|value| value.is_object() || value.is_array());
                let before = left.len();
                left.extend(nested.map(|value| (value, depth + 1)));
                parts += left.len() - before;
            }
            _ => {}
        }
        if parts > MAX_PARTS {
            return Err(format!(
                "{what} has more than {MAX_PARTS} parts (members of objects, and objects in lists)"
            ));
        }
    }
    Ok(())
}

/// Properties of an object that are not required. What `allOf` brings together counts in full: a part of it may be optional, and
/// may be named as often as one likes.
fn optional(root: &Value, map: &Map<String, Value>) -> usize {
    let required: HashSet<&str> = list(map, "required").filter_map(Value::as_str).collect();
    let own = map.get("properties").and_then(Value::as_object);
    let own = own.map_or(0, |own| {
        own.keys().filter(|name| !required.contains(name.as_str())).count()
    });
    let together = list(map, "allOf").map(|part| {
        let alternatives = ["anyOf", "oneOf"].into_iter();
        let alternatives =
            alternatives.flat_map(|key| part.as_object().into_iter().flat_map(move |part| list(part, key)));
        properties(root, part) + alternatives.map(|part| properties(root, part)).sum::<usize>()
    });
    own + together.sum::<usize>()
}

fn list<'a>(map: &'a Map<String, Value>, key: &str) -> impl Iterator<Item = &'a Value> {
    map.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// How many properties a schema names itself, or by the one that it refers to.
fn properties<'a>(root: &'a Value, mut schema: &'a Value) -> usize {
    for _ in 0..MAX_DEPTH {
        let target = schema
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|path| root.pointer(path.strip_prefix('#')?));
        match target {
            Some(target) => schema = target,
            None => break,
        }
    }
    schema.get("properties").and_then(Value::as_object).map_or(0, Map::len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_repetition_whose_least_is_above_its_most_is_refused() {
        for gbnf in [
            r#"root ::= "a"{5,2}"#,
            "root ::= [a-z]{1,0}",
            "root ::= (\"a\" \"b\"){ 3 , 2 }",
        ] {
            assert!(check_gbnf(gbnf).unwrap_err().contains("above its most"), "{gbnf}");
        }
        for gbnf in [
            r#"root ::= "a"{2,5}"#,
            "root ::= [{5,2}]",
            r#"root ::= "{5,2}""#,
            "root ::= x # {5,2}",
            "root ::= x{0,0} x{3,} x{2}",
        ] {
            assert_eq!(check_gbnf(gbnf), Ok(()), "{gbnf}");
        }
    }

    #[test]
    fn what_is_repeated_is_counted_as_often() {
        let long = "x".repeat(1000);
        assert!(check_gbnf(&format!("root ::= \"{long}\"{{2000}}")).is_err());
        assert!(check_gbnf(&format!("root ::= \"{long}\"{{0,2000}}")).is_err());
        assert!(check_gbnf(&format!("root ::= x{{2000}}\nx ::= \"{long}\"")).is_ok());
        assert!(check_gbnf(&"x ::= \"abc\"{2000}\n".repeat(500)).is_err());
    }

    #[test]
    fn objects_with_very_many_optional_properties_are_refused() {
        let object = |n: usize, required: usize| {
            let names: Vec<String> = (0..n).map(|i| format!("p{i}")).collect();
            let properties: Map<String, Value> = names.iter().map(|name| (name.clone(), json!({}))).collect();
            json!({ "type": "object", "properties": properties, "required": names[..required] })
        };
        assert!(check_schema("the schema", &object(256, 0)).is_ok());
        assert!(
            check_schema("the schema", &object(257, 0))
                .unwrap_err()
                .contains("257 optional")
        );
        assert!(check_schema("the schema", &object(2000, 2000)).is_ok());
        assert!(check_schema("the schema", &json!({ "allOf": [object(200, 0), object(200, 0)] })).is_err());
        let mut named_elsewhere = object(300, 0);
        named_elsewhere["required"] = json!((0..300).map(|i| format!("q{i}")).collect::<Vec<_>>());
        assert!(check_schema("the schema", &named_elsewhere).is_err());
        let again = vec![json!({ "$ref": "#/$defs/a" }); 20];
        assert!(
            check_schema(
                "the schema",
                &json!({ "$defs": { "a": object(20, 20) }, "allOf": [{ "anyOf": again }] })
            )
            .is_err()
        );
    }

    #[test]
    fn depth_and_number_of_parts_are_limited() {
        let deep = (0..200).fold(json!({}), |inner, _| json!({ "items": inner }));
        assert!(check_schema("the schema", &deep).unwrap_err().contains("128 levels"));
        let wide = json!({ "anyOf": vec![json!({ "type": "null" }); 9000] });
        assert!(check_schema("the schema", &wide).unwrap_err().contains("parts"));
        let names = json!({ "enum": (0..9000).map(|i| i.to_string()).collect::<Vec<_>>() });
        assert!(check_schema("the schema", &names).is_ok());
    }
}

//! Models as `/api/tags`, `/api/show` and `/api/ps` describe them.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::time;
use crate::commands::serve::backend::{Abilities, Details, Offer, Running};

/// A name with its tag. Ollama's names always have one, and clients compare them so; without one is found just as well.
pub fn tagged(name: &str) -> Cow<'_, str> {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains(':') {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(format!("{name}:latest"))
    }
}

/// An entry of `/api/tags`.
pub fn tag(offer: &Offer) -> Value {
    let name = tagged(&offer.id);
    json!({
        "name": name,
        "model": name,
        "modified_at": time::at(offer.modified),
        "size": offer.size,
        "digest": offer.digest,
        "details": details(offer, None),
        "capabilities": capabilities(offer.abilities),
    })
}

/// An entry of `/api/ps`; `offer` is the same model among those on offer.
pub fn process(running: &Running, offer: Option<&Offer>) -> Value {
    let Running { card, memory, .. } = running;
    let name = tagged(&card.id);
    let mut entry = json!({
        "name": name,
        "model": name,
        "size": memory.total(),
        "digest": offer.map_or("", |offer| offer.digest.as_str()),
        "details": offer.map_or_else(|| json!({}), |offer| details(offer, None)),
        "expires_at": running.expires.map_or_else(time::never, time::at),
        "size_vram": memory.gpu,
        "context_length": card.n_ctx,
    });
    entry["kv"] = json!({
        "type_k": card.kv.type_k, "type_v": card.kv.type_v, "bytes": memory.kv,
        "prompt_cache": running.prompt_cache.to_json(),
    });
    entry
}

/// The answer of `/api/show`; `tokens` are the vocabulary, when it was asked for.
pub fn show(about: &Details, tokens: Option<Vec<String>>) -> Value {
    json!({
        "license": about.license.as_deref().unwrap_or(""),
        "modelfile": modelfile(about),
        "parameters": parameters(&about.parameters),
        "template": about.template.as_deref().unwrap_or(""),
        "system": about.system.as_deref().unwrap_or(""),
        "details": details(&about.offer, about.parent.as_deref()),
        "model_info": model_info(about, tokens),
        "capabilities": capabilities(about.offer.abilities),
        "modified_at": time::at(about.offer.modified),
    })
}

fn details(offer: &Offer, parent: Option<&str>) -> Value {
    json!({
        "parent_model": parent.unwrap_or(""),
        "format": "gguf",
        "family": offer.architecture,
        "families": [offer.architecture],
        "parameter_size": human(offer.n_params),
        "quantization_level": offer.quantization,
    })
}

/// `8.0B`, `7.7M`.
fn human(n: u64) -> String {
    let scaled = |unit: f64| n as f64 / unit;
    match n {
        1_000_000_000.. => format!("{:.1}B", scaled(1e9)),
        1_000_000.. => format!("{:.1}M", scaled(1e6)),
        1_000.. => format!("{:.1}K", scaled(1e3)),
        _ => n.to_string(),
    }
}

/// In Ollama's words, and only those that are among them.
fn capabilities(can: Abilities) -> Vec<&'static str> {
    [
        (can.completion, "completion"),
        (can.tools, "tools"),
        (can.insert, "insert"),
        (can.vision, "vision"),
        (can.embedding, "embedding"),
        (can.thinking, "thinking"),
        (can.audio, "audio"),
    ]
    .into_iter()
    .filter_map(|(can, word)| can.then_some(word))
    .collect()
}

/// The file's metadata. What clients read without looking is there in any case.
fn model_info(about: &Details, tokens: Option<Vec<String>>) -> Value {
    let Offer {
        architecture,
        n_params,
        n_ctx_train,
        n_embd,
        ..
    } = &about.offer;
    let mut info = about.metadata.clone();
    let mut or_insert = |key: String, value: Value| {
        if info.get(&key).is_none_or(Value::is_null) {
            info.insert(key, value);
        }
    };
    or_insert("general.architecture".into(), json!(architecture));
    or_insert("general.parameter_count".into(), json!(n_params));
    or_insert(format!("{architecture}.context_length"), json!(n_ctx_train));
    or_insert(format!("{architecture}.embedding_length"), json!(n_embd));
    // Long, and null unless asked for, as with Ollama.
    or_insert("tokenizer.ggml.tokens".into(), json!(tokens));
    or_insert("tokenizer.ggml.token_type".into(), Value::Null);
    or_insert("tokenizer.ggml.merges".into(), Value::Null);
    Value::Object(info)
}

/// One line per value: the name, blanks, the value.
fn parameters(all: &Map<String, Value>) -> String {
    let mut lines = Vec::new();
    for (name, value) in all {
        match value {
            Value::Array(values) => lines.extend(values.iter().map(|value| format!("{name:<30} {value}"))),
            value => lines.push(format!("{name:<30} {value}")),
        }
    }
    lines.join("\n")
}

/// The Modelfile that would make this model.
fn modelfile(about: &Details) -> String {
    let mut text = format!("# Modelfile of {}\n\nFROM {}\n", about.offer.id, about.file);
    let mut add = |line: std::fmt::Arguments<'_>| {
        // Writing to a string cannot fail.
        let _ = text.write_fmt(line);
    };
    if let Some(template) = &about.template {
        add(format_args!("TEMPLATE \"\"\"{template}\"\"\"\n"));
    }
    if let Some(system) = &about.system {
        add(format_args!("SYSTEM \"\"\"{system}\"\"\"\n"));
    }
    for (name, value) in &about.parameters {
        match value {
            Value::Array(values) => values
                .iter()
                .for_each(|value| add(format_args!("PARAMETER {name} {value}\n"))),
            value => add(format_args!("PARAMETER {name} {value}\n")),
        }
    }
    if let Some(license) = &about.license {
        add(format_args!("LICENSE \"\"\"{license}\"\"\"\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_get_a_tag_unless_they_have_one() {
        assert_eq!(tagged("tiny"), "tiny:latest");
        assert_eq!(tagged("tiny:8b"), "tiny:8b");
        assert_eq!(tagged("hub:8080/org/tiny"), "hub:8080/org/tiny:latest");
    }

    // L12
    #[test]
    fn sizes_have_a_unit_and_one_digit() {
        assert_eq!(human(8_030_261_248), "8.0B");
        assert_eq!(human(7_650_000), "7.7M");
        assert_eq!(human(999), "999");
    }
}

//! What the heads of model files say, read once for each file as it is.

use super::loaded::abilities;
use crate::commands::serve::backend::{Abilities, Details, Offer};
use crate::embedded;
use crate::store::Entry;
use llama_turboquant::engine::chat::ChatTemplate;
use llama_turboquant::{Error, Model, ModelMeta};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// Files whose heads are read at the same time; more would wait for the same disk.
const AT_ONCE: usize = 4;

/// Heads of files, by what tells one version of a file from the next.
#[derive(Default)]
pub(super) struct Heads(Mutex<HashMap<Key, Result<Arc<Head>, String>>>);

/// The path, size and time of a file, and the template it is to be read with.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    file: Option<PathBuf>,
    size: u64,
    modified: SystemTime,
    template: Option<String>,
}

/// What a file says of its model.
pub(super) struct Head {
    pub(super) meta: ModelMeta,
    abilities: Abilities,
    metadata: Map<String, Value>,
    digest: String,
}

impl Heads {
    /// The head of an entry's file; from memory, unless the file has changed.
    ///
    /// # Errors
    /// Why the file cannot be read, without its path. A file that is broken stays so until it changes.
    pub(super) fn read(&self, entry: &Entry) -> Result<Arc<Head>, String> {
        let key = Key {
            file: entry.file.clone(),
            size: entry.size,
            modified: entry.modified,
            template: entry.template.clone(),
        };
        if let Some(known) = self.lock().get(&key) {
            return known.clone();
        }
        // not under the lock: reading takes its time, and what is read twice is the same
        let read = Head::read(entry).map(Arc::new).map_err(|error| reason(&error));
        if let Err(why) = &read {
            tracing::warn!("model `{}` is left out: {why}", entry.name);
        }
        let mut known = self.lock();
        known.retain(|old, _| (&old.file, &old.template) != (&key.file, &key.template));
        known.insert(key, read.clone());
        read
    }

    /// The entries whose files can be read, with their heads, in their order.
    pub(super) fn readable<'a>(&self, entries: &'a [Entry]) -> Vec<(&'a Entry, Arc<Head>)> {
        let share = entries.len().div_ceil(AT_ONCE).max(1);
        let read = |part: &'a [Entry]| -> Vec<_> {
            part.iter()
                .filter_map(|entry| Some((entry, self.read(entry).ok()?)))
                .collect()
        };
        if share == entries.len() {
            return read(entries);
        }
        std::thread::scope(|scope| {
            let parts: Vec<_> = entries
                .chunks(share)
                .map(|part| scope.spawn(move || read(part)))
                .collect();
            parts
                .into_iter()
                .flat_map(|part| part.join().unwrap_or_default())
                .collect()
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Result<Arc<Head>, String>>> {
        // every insertion is whole, so a panic elsewhere spoils nothing
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The engine's words without the path: clients are told, and the path is not theirs.
pub(super) fn reason(error: &anyhow::Error) -> String {
    match error.downcast_ref() {
        Some(Error::Load { path, reason }) => reason
            .replace(&path.display().to_string(), "its file")
            .replace("std::bad_alloc", "the system gives no more memory"),
        Some(Error::LoadLora { path, reason }) => {
            let file = path.file_name().unwrap_or(path.as_os_str()).display();
            format!("its LoRA adapter `{file}`: {reason}")
        }
        _ => format!("{error:#}"),
    }
}

impl Head {
    fn read(entry: &Entry) -> anyhow::Result<Self> {
        let path = entry.file.clone().map_or_else(embedded::path, Ok)?;
        let model = Model::builder(path).metadata_only(true).load()?;
        let meta = model.meta().clone();
        let template = match &entry.template {
            Some(jinja) => Some(ChatTemplate::with_override(&model, jinja)),
            None if meta.chat_template => Some(ChatTemplate::from_model(&model)),
            None => None,
        };
        // a template that does not parse hides what it could do, but not the model: completions need none
        let template = template.and_then(Result::ok);
        let metadata: Map<String, Value> = model
            .metadata()?
            .into_iter()
            .map(|(key, value)| {
                let value = typed(&key, value);
                (key, value)
            })
            .collect();
        let digest = match &entry.sha256 {
            Some(known) => known.clone(),
            None => {
                let identity = json!([metadata, meta.fingerprint, entry.size]).to_string();
                hexadecimal(&Sha256::digest(identity.as_bytes()))
            }
        };
        Ok(Self {
            abilities: abilities(&meta, template.as_ref())?,
            meta,
            metadata,
            digest,
        })
    }

    /// What lists show.
    pub(super) fn offer(&self, entry: &Entry) -> Offer {
        Offer {
            id: entry.name.clone(),
            modified: entry.modified,
            size: entry.size,
            digest: self.digest.clone(),
            architecture: self.meta.architecture.clone(),
            quantization: self.quantization(),
            n_params: self.meta.n_params,
            n_vocab: self.meta.n_vocab,
            n_ctx_train: self.meta.n_ctx_train,
            n_embd: self.meta.n_embd,
            abilities: self.abilities,
        }
    }

    /// All there is to say.
    pub(super) fn details(&self, entry: &Entry) -> Details {
        let text = |key: &str| self.metadata.get(key).and_then(Value::as_str).map(str::to_owned);
        Details {
            offer: self.offer(entry),
            template: entry.template.clone().or_else(|| text("tokenizer.chat_template")),
            system: entry.system.clone(),
            parameters: entry.parameters.clone(),
            license: entry.license.clone().or_else(|| text("general.license")),
            metadata: self.metadata.clone(),
            file: entry
                .file
                .as_ref()
                .map_or_else(|| "the embedded model".into(), |file| file.display().to_string()),
            parent: entry.parent.clone(),
        }
    }

    /// Type of most weights.
    fn quantization(&self) -> String {
        let id = self.metadata.get("general.file_type").and_then(Value::as_u64);
        match id.and_then(file_type) {
            Some(name) => name.into(),
            // files that do not say are described by the engine, which counts: `llama 8B Q4_K - Medium`
            None => match self.meta.description.rsplit_once(' ') {
                Some((_, last)) => last.into(),
                None => "unknown".into(),
            },
        }
    }
}

/// The engine gives all metadata as text; clients expect numbers to be numbers. What people wrote stays text.
fn typed(key: &str, value: Value) -> Value {
    const NUMBERS: [&str; 3] = [
        "general.file_type",
        "general.quantization_version",
        "general.parameter_count",
    ];
    let words = (key.starts_with("general.") && !NUMBERS.contains(&key)) || key.contains("template");
    match value.as_str() {
        Some(text) if !words => match serde_json::from_str(text) {
            Ok(simple @ (Value::Number(_) | Value::Bool(_))) => simple,
            _ => value,
        },
        _ => value,
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Name of a GGUF `general.file_type`, as llama.cpp's `llama_ftype` numbers them.
fn file_type(id: u64) -> Option<&'static str> {
    /// Set when the type was counted, not stated.
    const GUESSED: u64 = 1024;
    Some(match id & !GUESSED {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        7 => "Q8_0",
        8 => "Q5_0",
        9 => "Q5_1",
        10 => "Q2_K",
        11 => "Q3_K_S",
        12 => "Q3_K_M",
        13 => "Q3_K_L",
        14 => "Q4_K_S",
        15 => "Q4_K_M",
        16 => "Q5_K_S",
        17 => "Q5_K_M",
        18 => "Q6_K",
        19 => "IQ2_XXS",
        20 => "IQ2_XS",
        21 => "Q2_K_S",
        22 => "IQ3_XS",
        23 => "IQ3_XXS",
        24 => "IQ1_S",
        25 => "IQ4_NL",
        26 => "IQ3_S",
        27 => "IQ3_M",
        28 => "IQ2_S",
        29 => "IQ2_M",
        30 => "IQ4_XS",
        31 => "IQ1_M",
        32 => "BF16",
        36 => "TQ1_0",
        37 => "TQ2_0",
        38 => "MXFP4",
        39 => "NVFP4",
        40 => "Q1_0",
        41 => "Q2_0",
        42 => "F8_E4M3",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn embedded_entry() -> Entry {
        Entry {
            name: "tiny".into(),
            file: None,
            size: 1,
            modified: SystemTime::UNIX_EPOCH,
            sha256: None,
            parent: None,
            system: None,
            template: None,
            parameters: Map::new(),
            license: None,
        }
    }

    #[test]
    fn numbers_in_metadata_are_numbers_and_words_stay_words() {
        let text = |text: &str| Value::from(text);
        assert_eq!(typed("llama.context_length", text("4096")), 4096);
        assert_eq!(typed("llama.rope.freq_base", text("10000.5")), 10000.5);
        assert_eq!(typed("tokenizer.ggml.add_bos_token", text("true")), true);
        assert_eq!(typed("general.file_type", text("7")), 7);
        assert_eq!(typed("general.version", text("1.0")), "1.0");
        assert_eq!(typed("tokenizer.chat_template", text("1")), "1");
        assert_eq!(typed("general.architecture", text("llama")), "llama");
    }

    #[test]
    fn the_head_of_a_file_says_what_lists_and_details_show() {
        let heads = Heads::default();
        let entry = embedded_entry();
        let details = heads.read(&entry).unwrap().details(&entry);
        assert_eq!(details.offer.quantization, "Q8_0");
        assert_eq!(details.offer.digest.len(), 64);
        assert!(details.offer.abilities.completion && details.offer.abilities.tools);
        assert!(details.template.unwrap().contains("messages"));
        let context = format!("{}.context_length", details.offer.architecture);
        assert_eq!(details.metadata[&context], details.offer.n_ctx_train);
    }

    #[test]
    fn a_digest_that_is_known_is_kept_and_a_made_one_tells_files_apart() {
        let heads = Heads::default();
        let digest = |entry: &Entry| heads.read(entry).unwrap().offer(entry).digest;
        let known = Entry {
            sha256: Some("ab".repeat(32)),
            size: 2,
            ..embedded_entry()
        };
        let longer = Entry {
            size: 3,
            ..embedded_entry()
        };
        assert_eq!(digest(&known), "ab".repeat(32));
        assert_ne!(digest(&embedded_entry()), digest(&longer));
    }

    #[test]
    fn an_aliass_template_replaces_the_files() {
        let heads = Heads::default();
        let entry = Entry {
            template: Some("{{ messages[0].content }}".into()),
            ..embedded_entry()
        };
        let details = heads.read(&entry).unwrap().details(&entry);
        assert_eq!(details.template.as_deref(), Some("{{ messages[0].content }}"));
        assert!(!details.offer.abilities.tools);
    }
}

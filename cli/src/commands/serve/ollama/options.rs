//! `options`: how to sample, and how the model is to be loaded.

use llama_turboquant::KvSpec;
use serde_json::{Map, Value};

use crate::commands::serve::backend::{Generation, ModelCard};
use crate::commands::serve::body::Fields;
use crate::commands::serve::error::ApiError;
use crate::commands::serve::openai::generation;

/// Options that mean the same, by the same name, on the OpenAI surface; its reader checks their ranges.
const SHARED: [&str; 19] = [
    "seed",
    "stop",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "top_n_sigma",
    "repeat_last_n",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
    "mirostat",
    "mirostat_tau",
    "mirostat_eta",
    "dry_multiplier",
    "dry_base",
    "dry_allowed_length",
    "dry_penalty_last_n",
];

/// Options about the machine, which is the server's to know: checked, and otherwise without effect.
const OF_THE_SERVER: [(&str, i64); 6] = [
    ("num_batch", 1),
    // -1: as many as fit.
    ("num_gpu", -1),
    ("main_gpu", 0),
    ("num_thread", 0),
    // Tokens to keep when the context is shifted, which is not done: an answer ends when the context is full.
    ("num_keep", -1),
    ("draft_num_predict", 0),
];

/// Options that are Ollama's or ours and are read here.
const OWN: [&str; 4] = ["num_ctx", "num_predict", "kv_cache_type", "use_mmap"];

/// Checked options.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Tokens one request may use.
    pub n_ctx: Option<u32>,
    /// Types of the KV cache.
    pub kv: Option<KvSpec>,
    /// The others, by OpenAI's names.
    shared: Map<String, Value>,
}

impl Options {
    /// Reads the options of a request; what they leave open is taken from `alias`, the options a model was made with.
    pub fn read(body: Fields<'_>, alias: &Map<String, Value>) -> Result<Self, ApiError> {
        let mut given = alias.clone();
        if let Some(options) = body.object("options")? {
            let set = options.0.iter().filter(|(_, value)| !value.is_null());
            given.extend(set.map(|(name, value)| (name.clone(), value.clone())));
        }
        let fields = Fields(&given);
        for (name, least) in OF_THE_SERVER {
            let _: Option<i64> = fields.int(name, least..=i64::from(i32::MAX))?;
        }
        fields.bool("use_mmap")?;
        for name in given.keys() {
            let known = SHARED.contains(&name.as_str())
                || OWN.contains(&name.as_str())
                || OF_THE_SERVER.iter().any(|(known, _)| known == name);
            if !known {
                // The name is the client's, so it is quoted, and control characters in it are escaped.
                tracing::warn!(option = ?name, "unknown option ignored");
            }
        }

        let mut shared: Map<String, Value> = given
            .iter()
            .filter(|(name, _)| SHARED.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        // -1: no limit; -2: until the context is full, which is the same here. 0 is no limit either, as with Ollama.
        let limit: Option<i64> = fields.int("num_predict", -2..=i64::from(i32::MAX))?;
        if let Some(limit) = limit.filter(|&limit| limit > 0) {
            shared.insert("max_tokens".into(), limit.into());
        }
        Ok(Self {
            // 0 is what Ollama's own settings write for "as the server thinks best".
            n_ctx: fields.int("num_ctx", 0..=i64::from(i32::MAX))?.filter(|&n: &u32| n > 0),
            kv: kv(fields)?,
            shared,
        })
    }

    /// How to generate with these options.
    pub fn generation(&self, card: &ModelCard) -> Result<Generation, ApiError> {
        generation::generation(Fields(&self.shared), card)
    }
}

/// One type for both sides, or `K:V`.
fn kv(fields: Fields<'_>) -> Result<Option<KvSpec>, ApiError> {
    let Some(text) = fields.str("kv_cache_type")?.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let spec = text.replacen(':', "/", 1).parse::<KvSpec>();
    let wrong = |error| {
        ApiError::param(
            "kv_cache_type",
            format_args!("must be a type of the KV cache, or two as in \"q8_0:turbo4\": {error}"),
        )
    };
    spec.map(Some).map_err(wrong)
}

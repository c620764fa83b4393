//! What the configuration file says of one model: `[models."name"]`.

use super::file::{Value, unknown_key};
use crate::args::ModelArgs;
use crate::loras::LoraFile;
use std::path::PathBuf;

/// Options for one model, which replace those for all. `None`: as for all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModelOverrides {
    /// The name of the model, as clients and `turboquant list` have it.
    pub name: String,
    /// `alias`: another name for clients.
    pub alias: Option<String>,
    /// `model`: its file.
    pub model: Option<PathBuf>,
    /// `ctx-size`: context in tokens, all slots together.
    pub ctx_size: Option<u32>,
    /// `cache-type-k`.
    pub cache_type_k: Option<String>,
    /// `cache-type-v`.
    pub cache_type_v: Option<String>,
    /// `layer-adaptive`: a mode.
    pub layer_adaptive: Option<String>,
    /// `layer-map`: a file.
    pub layer_map: Option<PathBuf>,
    /// `parallel`: slots.
    pub parallel: Option<u32>,
    /// `gpu-layers`.
    pub gpu_layers: Option<u32>,
    /// `threads`.
    pub threads: Option<u32>,
    /// `threads-batch`.
    pub threads_batch: Option<u32>,
    /// `batch-size`.
    pub batch_size: Option<u32>,
    /// `ubatch-size`.
    pub ubatch_size: Option<u32>,
    /// `lora`: LoRA adapters that are loaded with it, applied in full.
    pub lora: Vec<PathBuf>,
    /// `lora-scaled`: the same with a scale each, as in `style.gguf:0.5`.
    pub lora_scaled: Vec<LoraFile>,
    /// `mmproj`: its projector.
    pub mmproj: Option<PathBuf>,
    /// `keep-alive`: how long it stays loaded, as in requests of Ollama.
    pub keep_alive: Option<String>,
}

/// Keys of a model's table.
const KEYS: [&str; 17] = [
    "alias",
    "model",
    "ctx-size",
    "cache-type-k",
    "cache-type-v",
    "layer-adaptive",
    "layer-map",
    "parallel",
    "gpu-layers",
    "threads",
    "threads-batch",
    "batch-size",
    "ubatch-size",
    "lora",
    "lora-scaled",
    "mmproj",
    "keep-alive",
];

impl ModelOverrides {
    /// None, for the model of that name.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// Sets what `key` names.
    ///
    /// # Errors
    /// An unknown key, a value of a wrong type.
    pub fn set(&mut self, key: &str, value: &Value) -> Result<(), String> {
        let one_text = |value: &Value| match value {
            Value::Text(text) => Ok(text.clone()),
            other => Err(format!("`{key}` takes a string, not {}", other.kind())),
        };
        let text = || one_text(value).map(Some);
        let number = || match value {
            Value::Integer(text) => match text.parse() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(format!("`{key}` takes a number from 0 to {}, not {text}", u32::MAX)),
            },
            other => Err(format!("`{key}` takes a whole number, not {}", other.kind())),
        };
        let texts = || match value {
            Value::List(values) => values.iter().map(one_text).collect(),
            value => Ok(vec![one_text(value)?]),
        };
        match key {
            "alias" => self.alias = text()?,
            "model" => self.model = text()?.map(PathBuf::from),
            "ctx-size" => self.ctx_size = number()?,
            "cache-type-k" => self.cache_type_k = text()?,
            "cache-type-v" => self.cache_type_v = text()?,
            "layer-adaptive" => self.layer_adaptive = Some(value.text()),
            "layer-map" => self.layer_map = text()?.map(PathBuf::from),
            "parallel" => self.parallel = number()?,
            "gpu-layers" | "n-gpu-layers" => self.gpu_layers = number()?,
            "threads" => self.threads = number()?,
            "threads-batch" => self.threads_batch = number()?,
            "batch-size" => self.batch_size = number()?,
            "ubatch-size" => self.ubatch_size = number()?,
            "lora" => self.lora = texts()?.into_iter().map(PathBuf::from).collect(),
            "lora-scaled" => {
                let files: Result<_, String> = texts()?.iter().map(|text| LoraFile::scaled(text)).collect();
                self.lora_scaled = files?;
            }
            "mmproj" => self.mmproj = text()?.map(PathBuf::from),
            "keep-alive" => self.keep_alive = Some(value.text()),
            other => return Err(unknown_key(other, KEYS.iter().map(|key| (*key).to_owned()))),
        }
        Ok(())
    }

    /// The options of this model, given those for all.
    #[must_use]
    pub fn over(&self, all: &ModelArgs) -> ModelArgs {
        let mut args = all.clone();
        if self.model.is_some() {
            args.engine.model.clone_from(&self.model);
        }
        // that for all is the projector of one model, the one of `-m`
        args.projector.mmproj.clone_from(&self.mmproj);
        args.engine.gpu_layers = self.gpu_layers.or(args.engine.gpu_layers);
        args.engine.threads = self.threads.unwrap_or(args.engine.threads);
        args.ctx_size = self.ctx_size.or(args.ctx_size);
        args.threads_batch = self.threads_batch.unwrap_or(args.threads_batch);
        args.batch_size = self.batch_size.unwrap_or(args.batch_size);
        args.ubatch_size = self.ubatch_size.unwrap_or(args.ubatch_size);
        if let Some(types) = &self.cache_type_k {
            args.cache_type_k.clone_from(types);
        }
        if let Some(types) = &self.cache_type_v {
            args.cache_type_v.clone_from(types);
        }
        if self.cache_type_k.is_some() || self.cache_type_v.is_some() {
            args.layer_map = None; // it would replace the types
        }
        if self.layer_adaptive.is_some() {
            args.layer_adaptive.clone_from(&self.layer_adaptive);
            args.layer_map = None;
        }
        if self.layer_map.is_some() {
            args.layer_map.clone_from(&self.layer_map);
            args.layer_adaptive = self.layer_adaptive.clone();
        }
        args
    }
}

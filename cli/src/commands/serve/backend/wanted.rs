//! Which model a request means, and the hold it has on it while it is served.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use llama_turboquant::KvSpec;

use super::ModelCard;

/// Which model a request means, and how it wants it loaded. What is None is left to the server's settings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// Its name; None: the only one there is.
    pub name: Option<String>,
    /// Only a model of this very name will do. Otherwise a server of one model serves it under every name, as llama-server
    /// does; clients have `gpt-4o` and the like wired in.
    pub exact: bool,
    /// Tokens the request may use, prompt and answer together. More than the model is loaded with means loading it again;
    /// fewer are a limit for this request only, which its card has.
    pub n_ctx: Option<u32>,
    /// Types of the KV cache, likewise.
    pub kv: Option<KvSpec>,
    /// How long the model stays loaded after this request.
    pub keep_alive: Option<KeepAlive>,
}

impl Wanted {
    /// The model of that name, or the only one.
    pub fn named(name: Option<&str>) -> Self {
        Self {
            name: name.map(str::to_owned),
            ..Self::default()
        }
    }
}

/// How long a model stays loaded when it is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAlive {
    /// This long after the last request; zero: not at all.
    For(Duration),
    /// Until the server ends, or another model needs its memory.
    Forever,
}

/// A model that is loaded and stays so until the lease is dropped.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The model as it is loaded, with the context that the request asked for where that is smaller.
    pub card: ModelCard,
    /// Time spent loading it for this request; zero when it was loaded before.
    pub load: Duration,
    /// The hold on it.
    pub lease: Lease,
}

/// Keeps a model loaded while any clone of it lives.
#[derive(Clone)]
pub struct Lease {
    _hold: Arc<dyn Any + Send + Sync>,
}

impl Lease {
    /// A lease that drops `hold` with its last clone.
    pub fn new(hold: impl Any + Send + Sync) -> Self {
        Self { _hold: Arc::new(hold) }
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lease")
    }
}

/// Reads types of a KV cache as requests write them: `turbo3`, `q8_0:turbo4`, or as on the command line `q8_0/turbo4`.
///
/// # Errors
/// A text that is none, with the types that there are.
pub fn kv_cache_type(text: &str) -> Result<KvSpec, String> {
    text.trim()
        .replacen(':', "/", 1)
        .to_ascii_lowercase()
        .parse()
        .map_err(|error: llama_turboquant::Error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::kv_cache_type;

    // L11
    #[test]
    fn kv_types_of_requests_are_one_type_or_two() {
        for (text, expected) in [
            ("turbo3", "turbo3"),
            ("q8_0:turbo4", "q8_0/turbo4"),
            ("q8_0/turbo4", "q8_0/turbo4"),
            (" F16 ", "f16"),
            ("turbo2:turbo2@0", "turbo2@0"),
        ] {
            assert_eq!(kv_cache_type(text).unwrap().to_string(), expected);
        }
        for text in ["", "turbo5", "q8_0:", "a:b:c"] {
            assert!(kv_cache_type(text).unwrap_err().contains("turbo4"), "{text}");
        }
    }
}

//! Types by layer, as a file: what `turboquant sensitivity` writes and `--layer-map` reads.

use super::{KvType, LayerPolicy};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// K and V types of each layer that has a KV cache, in order. As JSON:
/// `{"layers": [{"k": "q8_0", "v": "turbo4"}, ...]}`; other keys are allowed and ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerMap {
    /// The layers, counted among those that have a KV cache.
    pub layers: Vec<LayerPair>,
}

/// The types of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerPair {
    /// Type of K.
    pub k: KvType,
    /// Type of V.
    pub v: KvType,
}

impl LayerMap {
    /// Reads a map.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the path for a file that cannot be read or is no map.
    pub fn read(path: &Path) -> Result<Self> {
        let wrong = |why: String| Error::Invalid(format!("layer map {}: {why}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
        let map: Self = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
        if map.layers.is_empty() {
            return Err(wrong("it has no layers".into()));
        }
        Ok(map)
    }

    /// The policy that applies it; the number of layers is checked against the model when a context is made.
    pub fn policy(&self) -> LayerPolicy {
        LayerPolicy::PerLayer(self.layers.iter().map(|pair| (pair.k, pair.v)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<LayerMap> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("map.json");
        std::fs::write(&path, text).unwrap();
        LayerMap::read(&path)
    }

    #[test]
    fn a_map_is_read_with_whatever_else_is_in_the_file() {
        let map = read(
            r#"{"note": "x", "layers": [{"k": "q8_0", "v": "turbo4", "kl": 1.5}, {"k": "turbo3", "v": "turbo2"}]}"#,
        );
        assert_eq!(
            map.unwrap().policy(),
            LayerPolicy::PerLayer(vec![(KvType::Q8_0, KvType::Turbo4), (KvType::Turbo3, KvType::Turbo2)])
        );
    }

    #[test]
    fn what_is_no_map_is_refused_with_the_path_and_the_reason() {
        for (text, part) in [
            ("", "EOF"),
            ("[]", "invalid length 0"),
            (r#"{"layers": []}"#, "no layers"),
            (r#"{"layers": [{"k": "turbo9", "v": "f16"}]}"#, "turbo9"),
        ] {
            let message = read(text).unwrap_err().to_string();
            assert!(
                message.contains("map.json") && message.contains(part),
                "{text}: {message}"
            );
        }
        assert!(
            LayerMap::read(Path::new("/nowhere/map.json"))
                .unwrap_err()
                .to_string()
                .contains("/nowhere")
        );
    }
}

//! A cache as people write it on a command line and read it in a table.

use super::{KvCacheConfig, KvType, LayerPolicy};
use crate::{Error, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// `TYPE`, `K/V`, or either followed by `@MODE`: `turbo4`, `q8_0/turbo4`, `turbo2@0`. Without a mode the default
/// applies ([`LayerPolicy::Auto`]: mode 7 when V is turbo2).
///
/// ```
/// use llama_turboquant::{KvType, kv::KvSpec};
/// let spec: KvSpec = "q8_0/turbo4@7".parse()?;
/// assert_eq!((spec.k, spec.v, spec.mode), (KvType::Q8_0, KvType::Turbo4, Some(7)));
/// assert_eq!(spec.to_string(), "q8_0/turbo4@7");
/// # Ok::<(), llama_turboquant::Error>(())
/// ```
///
/// `T` is what names a side: a type, or what a program takes besides, such as "choose one".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KvSpec<T = KvType> {
    /// Type of K.
    pub k: T,
    /// Type of V.
    pub v: T,
    /// Layer-adaptive mode, 0 to 7.
    pub mode: Option<u8>,
}

impl KvSpec {
    /// f16 for both: what others are compared with.
    pub const F16: Self = Self {
        k: KvType::F16,
        v: KvType::F16,
        mode: None,
    };

    /// The cache's settings.
    pub fn config(&self) -> KvCacheConfig {
        let layers = match self.mode {
            None => LayerPolicy::Auto,
            // a spec is made by `from_str`, which checks the mode, or by hand with a wrong one: uniform is the mode 0
            Some(mode) => LayerPolicy::mode(mode).unwrap_or(LayerPolicy::Uniform),
        };
        KvCacheConfig::asymmetric(self.k, self.v).with_layers(layers)
    }
}

impl<T: FromStr<Err: fmt::Display>> FromStr for KvSpec<T> {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: String| Error::Invalid(format!("KV cache `{text}`: {why}"));
        let text = text.trim();
        let (types, mode) = match text.split_once('@') {
            None => (text, None),
            Some((types, mode)) => {
                let number = mode
                    .parse()
                    .map_err(|_| wrong(format!("`{mode}` is no layer-adaptive mode; modes are 0 to 7")))?;
                LayerPolicy::mode(number).map_err(|e| wrong(e.to_string()))?;
                (types, Some(number))
            }
        };
        let (k, v) = types.split_once('/').unwrap_or((types, types));
        let ty = |name: &str| name.parse::<T>().map_err(|e| wrong(e.to_string()));
        Ok(Self {
            k: ty(k)?,
            v: ty(v)?,
            mode,
        })
    }
}

impl<T: fmt::Display + PartialEq> fmt::Display for KvSpec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.k)?;
        if self.v != self.k {
            write!(f, "/{}", self.v)?;
        }
        match self.mode {
            Some(mode) => write!(f, "@{mode}"),
            None => Ok(()),
        }
    }
}

impl Serialize for KvSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KvSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_are_read_and_written_alike() {
        for text in ["f16", "turbo4", "q8_0/turbo3", "turbo2@0", "turbo4/turbo3@7"] {
            let spec: KvSpec = text.parse().unwrap();
            assert_eq!(spec.to_string(), text);
            assert_eq!(serde_json::to_value(spec).unwrap(), text);
            assert_eq!(serde_json::from_value::<KvSpec>(text.into()).unwrap(), spec);
        }
        assert_eq!("q8_0/q8_0".parse::<KvSpec>().unwrap().to_string(), "q8_0");
    }

    #[test]
    fn the_mode_becomes_the_policy() {
        let policy = |text: &str| text.parse::<KvSpec>().unwrap().config().layers;
        assert_eq!(policy("turbo2"), LayerPolicy::Auto);
        assert_eq!(policy("turbo2@5"), LayerPolicy::mode(5).unwrap());
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("turbo5", "turbo4"),
            ("turbo4/", "turbo4"),
            ("", "turbo4"),
            ("turbo4@8", "0 to 7"),
            ("turbo4@x", "`x`"),
            ("a/b/c", "b/c"),
        ] {
            let message = text.parse::<KvSpec>().unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}

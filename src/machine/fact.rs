//! A fact, or why there is none.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Something about a machine that can fail to be known. As JSON: the value itself, or `{"unknown": "the reason"}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact<T> {
    /// What it is.
    Known(T),
    /// Why it is not known.
    Unknown(String),
}

impl<T> Fact<T> {
    /// Not known, because of `reason`.
    pub fn unknown(reason: impl Into<String>) -> Self {
        Self::Unknown(reason.into())
    }

    /// The value, if it is known.
    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }
}

impl<T: Copy> Fact<T> {
    /// The value, if it is known.
    pub const fn get(&self) -> Option<T> {
        match self {
            Self::Known(value) => Some(*value),
            Self::Unknown(_) => None,
        }
    }
}

impl<T: Serialize> Serialize for Fact<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Missing<'a> {
            unknown: &'a str,
        }
        match self {
            Self::Known(value) => value.serialize(serializer),
            Self::Unknown(reason) => Missing { unknown: reason }.serialize(serializer),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Fact<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either<T> {
            Missing { unknown: String },
            Value(T),
        }
        Ok(match Either::deserialize(deserializer)? {
            Either::Missing { unknown } => Self::Unknown(unknown),
            Either::Value(value) => Self::Known(value),
        })
    }
}

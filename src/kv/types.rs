//! The types a KV cache can have, and what a row of each costs.

use std::fmt;
use std::str::FromStr;

/// A KV cache type as a user names it. The turbo types stand for two block sizes each; which one a
/// layer gets follows from its head size ([`KvType::layout`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs)] // the names are ggml's
pub enum KvType {
    F32,
    F16,
    BF16,
    Q8_0,
    Q5_1,
    Q5_0,
    Q4_1,
    Q4_0,
    Iq4Nl,
    Turbo4,
    Turbo3,
    Turbo2,
}

/// How values are stored: blocks of `block` values in `bytes` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The engine's type number.
    pub id: i32,
    /// The engine's name of the type.
    pub name: &'static str,
    /// What a user types.
    pub family: &'static str,
    /// Bits of one index (without the scale).
    pub bits: u32,
    /// Values per block.
    pub block: u32,
    /// Bytes per block.
    pub bytes: u32,
}

impl Layout {
    /// Bytes of a row of `values`, which must be a multiple of the block.
    pub const fn row_bytes(&self, values: u64) -> u64 {
        (values / self.block as u64).saturating_mul(self.bytes as u64)
    }

    /// Bits per value, scales included.
    pub fn bits_per_value(&self) -> f64 {
        f64::from(self.bytes) * 8.0 / f64::from(self.block)
    }
}

// The turbo rows, generated from kernels/types.def.
include!(concat!(env!("OUT_DIR"), "/kv_registry.rs"));

const fn plain(id: i32, name: &'static str, bits: u32, block: u32, bytes: u32) -> Layout {
    Layout {
        id,
        name,
        family: name,
        bits,
        block,
        bytes,
    }
}

// Upstream's types; tests/kv_types.rs compares every row with the engine.
const UPSTREAM: [(KvType, Layout); 9] = [
    (KvType::F32, plain(0, "f32", 32, 1, 4)),
    (KvType::F16, plain(1, "f16", 16, 1, 2)),
    (KvType::BF16, plain(30, "bf16", 16, 1, 2)),
    (KvType::Q8_0, plain(8, "q8_0", 8, 32, 34)),
    (KvType::Q5_1, plain(7, "q5_1", 5, 32, 24)),
    (KvType::Q5_0, plain(6, "q5_0", 5, 32, 22)),
    (KvType::Q4_1, plain(3, "q4_1", 4, 32, 20)),
    (KvType::Q4_0, plain(2, "q4_0", 4, 32, 18)),
    (KvType::Iq4Nl, plain(20, "iq4_nl", 4, 32, 18)),
];

impl KvType {
    /// Every type, most bits first.
    pub const ALL: [KvType; 12] = [
        KvType::F32,
        KvType::F16,
        KvType::BF16,
        KvType::Q8_0,
        KvType::Q5_1,
        KvType::Q5_0,
        KvType::Q4_1,
        KvType::Q4_0,
        KvType::Iq4Nl,
        KvType::Turbo4,
        KvType::Turbo3,
        KvType::Turbo2,
    ];

    /// The name a user types, as ggml spells it.
    pub const fn name(self) -> &'static str {
        match self {
            KvType::F32 => "f32",
            KvType::F16 => "f16",
            KvType::BF16 => "bf16",
            KvType::Q8_0 => "q8_0",
            KvType::Q5_1 => "q5_1",
            KvType::Q5_0 => "q5_0",
            KvType::Q4_1 => "q4_1",
            KvType::Q4_0 => "q4_0",
            KvType::Iq4Nl => "iq4_nl",
            KvType::Turbo4 => "turbo4",
            KvType::Turbo3 => "turbo3",
            KvType::Turbo2 => "turbo2",
        }
    }

    /// Whether this is one of our own types.
    pub const fn is_turbo(self) -> bool {
        matches!(self, KvType::Turbo4 | KvType::Turbo3 | KvType::Turbo2)
    }

    /// Whether values are stored as indices with a scale.
    pub const fn is_quantized(self) -> bool {
        !matches!(self, KvType::F32 | KvType::F16 | KvType::BF16)
    }

    /// Whether storing an f16 value in it loses information.
    pub const fn is_lossy(self) -> bool {
        !matches!(self, KvType::F32 | KvType::F16)
    }

    /// The storage layouts of the type, widest block first.
    pub fn layouts(self) -> impl Iterator<Item = Layout> {
        let turbo = REGISTRY.into_iter().filter(move |layout| layout.family == self.name());
        let upstream = UPSTREAM
            .into_iter()
            .filter(move |(ty, _)| *ty == self)
            .map(|(_, layout)| layout);
        turbo.chain(upstream)
    }

    /// The layout for heads of `head_dim` values: the widest block that divides it; `None` if none does.
    pub fn layout(self, head_dim: u32) -> Option<Layout> {
        self.layouts()
            .find(|layout| head_dim > 0 && head_dim.is_multiple_of(layout.block))
    }

    /// Bytes of one head of `head_dim` values, or `None` if the type cannot store it.
    pub fn bytes_per_row(self, head_dim: u32) -> Option<usize> {
        self.layout(head_dim)
            .map(|layout| layout.row_bytes(u64::from(head_dim)) as usize)
    }

    /// Bits per value, scales included, in the widest block.
    pub fn bits_per_value(self) -> f64 {
        self.layouts().next().map_or(f64::NAN, |layout| layout.bits_per_value())
    }

    /// The type with more bits per value: a policy never lowers what was asked for.
    pub fn max_precision(self, other: KvType) -> KvType {
        if other.bits_per_value() > self.bits_per_value() {
            other
        } else {
            self
        }
    }
}

impl fmt::Display for KvType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A type name that does not exist; the text lists those that do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown KV cache type `{0}`; valid types: {list}", list = KvType::ALL.map(KvType::name).join(", "))]
pub struct UnknownKvType(pub String);

impl FromStr for KvType {
    type Err = UnknownKvType;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        KvType::ALL
            .into_iter()
            .find(|ty| ty.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| UnknownKvType(name.to_owned()))
    }
}

impl serde::Serialize for KvType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> serde::Deserialize<'de> for KvType {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_unknown_names_list_the_valid_ones() {
        for ty in KvType::ALL {
            assert_eq!(ty.name().parse(), Ok(ty));
        }
        let message = "turbo5".parse::<KvType>().unwrap_err().to_string();
        assert!(
            message.contains("turbo5") && message.contains("turbo4") && message.contains("q8_0"),
            "{message}"
        );
    }

    #[test]
    fn head_size_picks_the_widest_block_and_never_pads() {
        assert_eq!(KvType::Turbo4.bytes_per_row(128), Some(66));
        assert_eq!(KvType::Turbo4.bytes_per_row(64), Some(34));
        assert_eq!(KvType::Turbo3.bytes_per_row(192), Some(3 * 26));
        assert_eq!(KvType::Turbo2.bytes_per_row(576), Some(9 * 18));
        assert_eq!(KvType::Turbo2.bytes_per_row(256), Some(2 * 34));
        assert_eq!(KvType::Turbo4.bytes_per_row(96), None);
        assert_eq!(KvType::Q8_0.bytes_per_row(96), Some(3 * 34));
    }

    #[test]
    fn true_bits_per_value() {
        assert_eq!(KvType::Turbo4.bits_per_value(), 4.125);
        assert_eq!(KvType::Turbo3.bits_per_value(), 3.125);
        assert_eq!(KvType::Turbo2.bits_per_value(), 2.125);
        assert_eq!(KvType::Q4_0.bits_per_value(), 4.5);
    }
}

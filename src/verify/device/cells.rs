//! What there is to check on a device: one cell per operator, type and head size, from the registries alone.

use crate::engine::codec::{GgmlType, TurboType};
use crate::engine::device_probe::KernelRegistry;
use crate::error::{Error, Result};
use serde::Serialize;
use std::fmt;

/// From this many queries on, the graphics backends copy K and V to f16 and use llama.cpp's matrix kernel.
pub const MANY_QUERIES: u32 = 20;

/// An operator on rows of one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case", tag = "op")]
pub enum RowsKind {
    /// SET_ROWS: encodes.
    Set {
        /// Type of the source.
        from: &'static str,
        /// Row numbers of 64 bits instead of 32.
        wide_ids: bool,
    },
    /// CPY: encodes.
    Encode {
        /// Type of the source.
        from: &'static str,
    },
    /// CPY: decodes.
    Decode {
        /// Type of the destination.
        to: &'static str,
    },
    /// GET_ROWS: decodes to f32.
    Get,
}

impl RowsKind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Set {
            from: "f32",
            wide_ids: true,
        },
        Self::Set {
            from: "f32",
            wide_ids: false,
        },
        Self::Set {
            from: "f16",
            wide_ids: true,
        },
        Self::Set {
            from: "f16",
            wide_ids: false,
        },
        Self::Encode { from: "f32" },
        Self::Encode { from: "f16" },
        Self::Decode { to: "f32" },
        Self::Decode { to: "f16" },
        Self::Get,
    ];
}

impl fmt::Display for RowsKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set { from, wide_ids } => write!(f, "SET_ROWS {from}, i{}", if *wide_ids { 64 } else { 32 }),
            Self::Encode { from } => write!(f, "CPY from {from}"),
            Self::Decode { to } => write!(f, "CPY to {to}"),
            Self::Get => f.write_str("GET_ROWS to f32"),
        }
    }
}

/// Something that is checked by itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Cell {
    /// An operator that moves rows.
    Rows {
        /// Which.
        rows: RowsKind,
        /// The turbo type, by the engine's name.
        ty: String,
    },
    /// FLASH_ATTN_EXT.
    Attention {
        /// K: a turbo family or a type of llama.cpp's.
        k: String,
        /// V, likewise.
        v: String,
        /// Values per head of K and of V.
        head: (u32, u32),
        /// [`MANY_QUERIES`] and more.
        many: bool,
    },
}

impl Cell {
    /// The Metal kernels of this build that the cell runs, by their names there; llama.cpp's own are not among them.
    ///
    /// # Errors
    /// A type that does not fit the head size.
    pub fn metal_kernels(&self, types: &[TurboType]) -> Result<Vec<String>> {
        Ok(match self {
            Self::Rows { rows, ty } => vec![match rows {
                RowsKind::Set { from, wide_ids } => {
                    format!("kernel_set_rows_{from}_i{}_{ty}", if *wide_ids { 64 } else { 32 })
                }
                RowsKind::Encode { from } => format!("kernel_cpy_{from}_{ty}"),
                RowsKind::Decode { to } => format!("kernel_cpy_{ty}_{to}"),
                RowsKind::Get => format!("kernel_get_rows_{ty}"),
            }],
            Self::Attention { k, v, head, many } => {
                let (k, v) = (member(types, k, head.0)?, member(types, v, head.1)?);
                if *many {
                    // q8_0's copy is upstream's
                    let ours = [k, v].into_iter().filter(|name| name != "q8_0");
                    ours.map(|name| format!("kernel_flash_attn_ext_kv_{name}_f16"))
                        .collect()
                } else {
                    vec![format!("kernel_flash_attn_ext_vec_{k}_{v}_dk{}_dv{}", head.0, head.1)]
                }
            }
        })
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rows { rows, ty } => write!(f, "{rows}, {ty}"),
            Self::Attention { k, v, head, many } => {
                let queries = if *many { "many queries" } else { "few queries" };
                write!(f, "attention {k}/{v}, heads of {}, {queries}", head_name(*head))
            }
        }
    }
}

/// `128`, or `192/128` where K and V differ.
#[must_use]
pub fn head_name((k, v): (u32, u32)) -> String {
    if k == v { k.to_string() } else { format!("{k}/{v}") }
}

/// The engine's type for a family (or a type of llama.cpp's) and a head size: of a family the widest block that divides it.
fn member(types: &[TurboType], name: &str, head: u32) -> Result<String> {
    let family: Vec<&TurboType> = types.iter().filter(|ty| ty.family == name).collect();
    if family.is_empty() {
        return Ok(name.to_owned());
    }
    let fits = family
        .iter()
        .filter(|ty| (head as usize).is_multiple_of(ty.block))
        .max_by_key(|ty| ty.block);
    fits.map(|ty| ty.name.clone())
        .ok_or_else(|| Error::Invalid(format!("heads of {head} values cannot be stored as {name}")))
}

/// As [`member`], as the engine's type.
pub(super) fn member_type(types: &[TurboType], name: &str, head: u32) -> Result<GgmlType> {
    GgmlType::named(&member(types, name, head)?)
}

/// The registries: what types and what attention kernels there are.
#[derive(Debug, Clone)]
pub struct Registry {
    /// The turbo types (`kernels/types.def`).
    pub types: Vec<TurboType>,
    /// Head sizes and plain types (`kernels/metal/kernels.def`).
    pub kernels: KernelRegistry,
}

impl Registry {
    /// As the engine was built.
    ///
    /// # Errors
    /// If the engine's answers cannot be read.
    pub fn of_engine() -> Result<Self> {
        Ok(Self {
            types: crate::engine::codec::types()?,
            kernels: crate::engine::device_probe::kernel_registry()?,
        })
    }

    /// Names of what K and V may be: the turbo families, then the plain types.
    #[must_use]
    pub fn operands(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for name in self.types.iter().map(|ty| &ty.family).chain(&self.kernels.plain) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }

    /// The pairs that have kernels: those with a turbo type on at least one side.
    #[must_use]
    pub fn pairs(&self) -> Vec<(String, String)> {
        let names = self.operands();
        let plain = |name: &String| self.kernels.plain.contains(name);
        let all = names.iter().flat_map(|k| names.iter().map(move |v| (k, v)));
        all.filter(|(k, v)| !(plain(k) && plain(v)))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    }

    /// Every cell, rows first.
    #[must_use]
    pub fn cells(&self) -> Vec<Cell> {
        let rows = self.types.iter().flat_map(|ty| {
            RowsKind::ALL.map(|rows| Cell::Rows {
                rows,
                ty: ty.name.clone(),
            })
        });
        let pairs = self.pairs();
        let attention = self.kernels.heads.iter().flat_map(|&head| {
            pairs.iter().flat_map(move |(k, v)| {
                [false, true].map(|many| Cell::Attention {
                    k: k.clone(),
                    v: v.clone(),
                    head,
                    many,
                })
            })
        });
        rows.chain(attention).collect()
    }
}

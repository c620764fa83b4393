//! Which layers get which types.

use super::KvType;
use crate::{Error, Result};

/// How the types asked for are spread over the layers that have a KV cache.
///
/// Layers are counted among those, so a hybrid model with 16 attention layers of 64 has 16. Only
/// [`PerLayer`](LayerPolicy::PerLayer) can lower a type below what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum LayerPolicy {
    /// Mode 7 when V is turbo2, uniform otherwise: what an unset `TURBO_LAYER_ADAPTIVE` means.
    #[default]
    Auto,
    /// Every layer as asked.
    Uniform,
    /// One of the layer-adaptive modes 0 to 7; made by [`LayerPolicy::mode`].
    Mode(AdaptiveMode),
    /// The first and last layers at least of type `ty`, K and V.
    EdgesHigh {
        /// How many layers at the start.
        first: u32,
        /// How many layers at the end.
        last: u32,
        /// Their least type.
        ty: KvType,
    },
    /// (K, V) of each KV layer, in order; the length must match the model.
    PerLayer(Vec<(KvType, KvType)>),
}

/// A layer-adaptive mode, 0 to 7.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdaptiveMode(u8);

/// Modes need this many KV layers; with fewer, the raised layers would be most of the cache.
const MIN_LAYERS: usize = 8;

/// What one mode raises: layers at the start and end, and to which type, for K and for V.
struct Raise {
    first: usize,
    last: usize,
    k: Option<KvType>,
    v: Option<KvType>,
}

const MODES: [Raise; 8] = {
    const Q8: Option<KvType> = Some(KvType::Q8_0);
    const T4: Option<KvType> = Some(KvType::Turbo4);
    [
        Raise {
            first: 0,
            last: 0,
            k: None,
            v: None,
        },
        Raise {
            first: 4,
            last: 4,
            k: Q8,
            v: Q8,
        },
        Raise {
            first: 0,
            last: 8,
            k: Q8,
            v: Q8,
        },
        Raise {
            first: 0,
            last: 4,
            k: Q8,
            v: Q8,
        },
        Raise {
            first: 4,
            last: 0,
            k: Q8,
            v: Q8,
        },
        Raise {
            first: 2,
            last: 2,
            k: None,
            v: T4,
        },
        Raise {
            first: 0,
            last: 8,
            k: None,
            v: T4,
        },
        Raise {
            first: 2,
            last: 2,
            k: None,
            v: Q8,
        },
    ]
};

impl LayerPolicy {
    /// The layer-adaptive mode `mode`.
    ///
    /// # Errors
    /// A number above 7.
    pub fn mode(mode: u8) -> Result<Self> {
        if usize::from(mode) < MODES.len() {
            Ok(Self::Mode(AdaptiveMode(mode)))
        } else {
            Err(Error::Invalid(format!(
                "layer-adaptive mode {mode} does not exist; modes are 0 to 7"
            )))
        }
    }

    /// Reads `TURBO_LAYER_ADAPTIVE`: unset or empty is [`Auto`](LayerPolicy::Auto), a number its mode. The engine
    /// never reads the variable by itself; whoever wants it calls this once.
    ///
    /// # Errors
    /// A value that is no mode.
    pub fn from_env() -> Result<Self> {
        match std::env::var("TURBO_LAYER_ADAPTIVE") {
            Err(_) => Ok(Self::Auto),
            Ok(value) if value.trim().is_empty() => Ok(Self::Auto),
            Ok(value) => value
                .trim()
                .parse()
                .map_err(|_| ())
                .and_then(|mode| Self::mode(mode).map_err(|_| ()))
                .map_err(|()| {
                    Error::Invalid(format!(
                        "TURBO_LAYER_ADAPTIVE={value}: not a layer-adaptive mode; modes are 0 to 7"
                    ))
                }),
        }
    }

    /// The mode that applies when K and V are asked to be `k` and `v`; `None` for policies that are no mode.
    pub fn effective_mode(&self, v: KvType) -> Option<u8> {
        match self {
            Self::Auto => Some(if v == KvType::Turbo2 { 7 } else { 0 }),
            Self::Uniform => Some(0),
            Self::Mode(AdaptiveMode(mode)) => Some(*mode),
            Self::EdgesHigh { .. } | Self::PerLayer(_) => None,
        }
    }

    /// (K, V) of each of `n_layers` KV layers when `k` and `v` are asked for.
    ///
    /// # Errors
    /// A per-layer list of another length.
    pub fn resolve(&self, k: KvType, v: KvType, n_layers: usize) -> Result<Vec<(KvType, KvType)>> {
        let raise = match self {
            Self::PerLayer(types) if types.len() == n_layers => return Ok(types.clone()),
            Self::PerLayer(types) => {
                return Err(Error::Invalid(format!(
                    "the layer map has {} entries, the model has {n_layers} layers with a KV cache",
                    types.len()
                )));
            }
            Self::EdgesHigh { first, last, ty } => &Raise {
                first: *first as usize,
                last: *last as usize,
                k: Some(*ty),
                v: Some(*ty),
            },
            _ => {
                let mode = self.effective_mode(v).unwrap_or(0);
                &MODES[if n_layers < MIN_LAYERS { 0 } else { usize::from(mode) }]
            }
        };
        let raised = |ty: KvType, to: Option<KvType>| to.map_or(ty, |to| ty.max_precision(to));
        Ok((0..n_layers)
            .map(|layer| {
                if layer < raise.first || layer + raise.last >= n_layers {
                    (raised(k, raise.k), raised(v, raise.v))
                } else {
                    (k, v)
                }
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::KvType::{F16, Q8_0, Turbo2, Turbo3, Turbo4};
    use super::*;

    fn mode(n: u8, k: KvType, v: KvType, layers: usize) -> Vec<(KvType, KvType)> {
        LayerPolicy::mode(n).unwrap().resolve(k, v, layers).unwrap()
    }

    #[test]
    fn modes_raise_the_layers_of_the_table() {
        // (mode, raised layer numbers of 10, their K, their V)
        let table: [(u8, &[usize], KvType, KvType); 8] = [
            (0, &[], Turbo3, Turbo2),
            (1, &[0, 1, 2, 3, 6, 7, 8, 9], Q8_0, Q8_0),
            (2, &[2, 3, 4, 5, 6, 7, 8, 9], Q8_0, Q8_0),
            (3, &[6, 7, 8, 9], Q8_0, Q8_0),
            (4, &[0, 1, 2, 3], Q8_0, Q8_0),
            (5, &[0, 1, 8, 9], Turbo3, Turbo4),
            (6, &[2, 3, 4, 5, 6, 7, 8, 9], Turbo3, Turbo4),
            (7, &[0, 1, 8, 9], Turbo3, Q8_0),
        ];
        for (number, raised, k, v) in table {
            for (layer, types) in mode(number, Turbo3, Turbo2, 10).into_iter().enumerate() {
                let expected = if raised.contains(&layer) {
                    (k, v)
                } else {
                    (Turbo3, Turbo2)
                };
                assert_eq!(types, expected, "mode {number} layer {layer}");
            }
        }
    }

    #[test]
    fn a_mode_never_lowers_a_type() {
        assert!(mode(1, F16, F16, 12).iter().all(|types| *types == (F16, F16)));
        assert!(mode(5, Turbo4, Q8_0, 12).iter().all(|types| *types == (Turbo4, Q8_0)));
    }

    #[test]
    fn fewer_than_eight_layers_stay_uniform() {
        assert!(
            mode(1, Turbo4, Turbo4, 7)
                .iter()
                .all(|types| *types == (Turbo4, Turbo4))
        );
        assert!(mode(1, Turbo4, Turbo4, 8).iter().all(|types| *types == (Q8_0, Q8_0)));
    }

    #[test]
    fn auto_means_mode_7_only_for_turbo2_values() {
        assert_eq!(LayerPolicy::Auto.effective_mode(Turbo2), Some(7));
        assert_eq!(LayerPolicy::Auto.effective_mode(Turbo3), Some(0));
        assert_eq!(
            LayerPolicy::Auto.resolve(Turbo2, Turbo2, 8).unwrap(),
            mode(7, Turbo2, Turbo2, 8)
        );
    }

    #[test]
    fn bad_modes_and_maps_are_refused_with_the_numbers() {
        assert!(LayerPolicy::mode(8).unwrap_err().to_string().contains("0 to 7"));
        let error = LayerPolicy::PerLayer(vec![(F16, F16); 3])
            .resolve(F16, F16, 8)
            .unwrap_err()
            .to_string();
        assert!(error.contains('3') && error.contains('8'), "{error}");
    }
}

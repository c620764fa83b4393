//! Which layers and which side, K or V, suffer most from a compressed cache: the divergence with one side of one layer
//! compressed at a time, everything else exact.

pub mod allocate;

use self::allocate::{Allocation, Choice, Place};
use super::arm::{Arm, Options};
use super::corpus::Corpus;
use super::divergence::{Divergence, Pair, divergence};
use crate::engine::codec::{self, GgmlType};
use crate::engine::probe;
use crate::kv::{KvCacheConfig, KvType, LayerMap, LayerPair, LayerPolicy};
use crate::verify::rng::Rng;
use crate::{Error, Model, Result};
use serde::{Deserialize, Serialize};

/// A side of a layer's cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Keys.
    K,
    /// Values.
    V,
}

/// One side of one layer compressed, the rest exact.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerSensitivity {
    /// Number among the layers that have a KV cache.
    pub layer: usize,
    /// The side.
    pub side: Side,
    /// Values that a token adds to it.
    pub values: u64,
    /// Against the exact cache.
    pub divergence: Divergence,
}

/// What [`sensitivity`] measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Sensitivity {
    /// The type that was used for the compressed side.
    pub probe: KvType,
    /// Both sides of each KV layer, K before V; fewer if it was stopped.
    pub layers: Vec<LayerSensitivity>,
    /// Nothing is missing.
    pub complete: bool,
}

/// Measures both sides of every KV layer of `model` with type `probe` against f16.
///
/// `n_arms` caches are computed side by side with the exact one (at least 1): more are faster, and take memory.
/// `progress` is called with the number of measured sides and of all.
///
/// # Errors
/// As [`divergence`]; [`Error::Cancelled`] if not one side was done.
pub fn sensitivity(
    model: &Model,
    corpus: &Corpus,
    probe: KvType,
    n_arms: usize,
    options: &Options,
    mut progress: impl FnMut(super::Progress),
) -> Result<Sensitivity> {
    let sides: Vec<(usize, Side, u64)> = model
        .meta()
        .kv_layers()
        .enumerate()
        .flat_map(|(layer, (_, meta))| {
            let values = |head_dim: u32| u64::from(meta.n_head_kv) * u64::from(head_dim);
            [
                (layer, Side::K, values(meta.head_dim_k)),
                (layer, Side::V, values(meta.head_dim_v)),
            ]
        })
        .collect();
    let n_layers = sides.len() / 2;
    if n_layers == 0 {
        return Err(Error::Invalid("the model has no layer with a KV cache".into()));
    }
    let of = sides.len();
    let mut measured = Sensitivity {
        probe,
        layers: Vec::with_capacity(of),
        complete: true,
    };
    for group in sides.chunks(n_arms.max(1)) {
        let done = measured.layers.len();
        progress(super::Progress { done, of });
        let arms: Vec<Arm> = std::iter::once(exact())
            .chain(
                group
                    .iter()
                    .map(|&(layer, side, _)| one_side(n_layers, layer, side, probe)),
            )
            .map(Arm::batched)
            .collect();
        let pairs: Vec<Pair> = (1..arms.len()).map(|candidate| Pair { base: 0, candidate }).collect();
        let share = |p: super::Progress| super::Progress {
            done: done + group.len() * p.done / p.of.max(1),
            of,
        };
        match divergence(model, corpus, &arms, &pairs, options, |p| progress(share(p))) {
            Ok(group_result) => {
                let complete = group_result.complete;
                if complete {
                    let results = group.iter().zip(group_result.pairs);
                    measured
                        .layers
                        .extend(results.map(|(&(layer, side, values), divergence)| LayerSensitivity {
                            layer,
                            side,
                            values,
                            divergence,
                        }));
                } else {
                    measured.complete = false;
                    break;
                }
            }
            Err(Error::Cancelled) if !measured.layers.is_empty() => {
                measured.complete = false;
                break;
            }
            Err(error) => return Err(error),
        }
    }
    if measured.layers.is_empty() {
        return Err(Error::Cancelled);
    }
    Ok(measured)
}

fn exact() -> KvCacheConfig {
    KvCacheConfig::uniform(KvType::F16)
}

/// f16 everywhere but in one place. No guard: what the guard protects from is what is measured.
fn one_side(n_layers: usize, layer: usize, side: Side, probe: KvType) -> KvCacheConfig {
    let mut types = vec![(KvType::F16, KvType::F16); n_layers];
    match side {
        Side::K => types[layer].0 = probe,
        Side::V => types[layer].1 = probe,
    }
    KvCacheConfig {
        guard: false,
        ..exact().with_layers(LayerPolicy::PerLayer(types))
    }
}

impl Sensitivity {
    /// What these types, one for each measured side, are extrapolated to do, in nats.
    ///
    /// # Errors
    /// As [`relative_error`].
    pub fn predict(&self, types: &[KvType]) -> Result<f64> {
        let probe_error = relative_error(self.probe)?;
        let mut sum = 0.0;
        for (side, &ty) in self.layers.iter().zip(types) {
            sum += side.divergence.mean_kl() * relative_error(ty)? / probe_error;
        }
        Ok(sum)
    }

    /// The best map of `types` with at most `budget` bits per value; `None` if not all layers were measured, or the smallest
    /// type takes more.
    ///
    /// # Errors
    /// A type the engine cannot write.
    pub fn map(&self, types: &[KvType], budget: f64) -> Result<Option<(LayerMap, Allocation)>> {
        if !self.complete {
            return Ok(None);
        }
        let probe_error = relative_error(self.probe)?;
        let places: Vec<Place> = self
            .layers
            .iter()
            .map(|side| Place {
                values: side.values,
                sensitivity: side.divergence.mean_kl() / probe_error,
            })
            .collect();
        let choices: Vec<Choice> = types
            .iter()
            .map(|&ty| {
                Ok(Choice {
                    ty,
                    bits: ty.bits_per_value(),
                    error: relative_error(ty)?,
                })
            })
            .collect::<Result<_>>()?;
        Ok(allocate::allocate(&places, &choices, budget).map(|allocation| {
            let layers = allocation
                .types
                .chunks_exact(2)
                .map(|pair| LayerPair { k: pair[0], v: pair[1] });
            (
                LayerMap {
                    layers: layers.collect(),
                },
                allocation,
            )
        }))
    }
}

/// Mean square error of a type over the mean square of what it stores, on seeded normal vectors of 128 values: what
/// rotated values look like. Through the engine's own tables.
///
/// # Errors
/// A type the engine cannot write.
pub fn relative_error(ty: KvType) -> Result<f64> {
    const VECTORS: usize = 2000;
    let layout = ty
        .layout(128)
        .ok_or_else(|| Error::Invalid(format!("{ty} cannot store 128 values")))?;
    let ggml = GgmlType::from_id(layout.id).ok_or_else(|| Error::Engine(format!("the engine has no {ty}")))?;
    let x = Rng::new(0x5e45).normals(128 * VECTORS);
    let mut turned = x.clone();
    turned.chunks_exact_mut(128).try_for_each(codec::rotate)?;
    let decoded = probe::dequantize(ggml, &probe::quantize(ggml, &turned)?)?;
    let square = |x: f32| f64::from(x).powi(2);
    let error: f64 = turned.iter().zip(&decoded).map(|(a, b)| square(a - b)).sum();
    Ok(error / turned.iter().map(|&x| square(x)).sum::<f64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_types_are_those_of_the_codec() {
        crate::Backend::init().unwrap();
        for (ty, expected) in [
            (KvType::Turbo4, 0.0079),
            (KvType::Turbo3, 0.0328),
            (KvType::Turbo2, 0.1294),
        ] {
            let error = relative_error(ty).unwrap();
            assert!((error / expected - 1.0).abs() < 0.02, "{ty}: {error}");
        }
        assert!(relative_error(KvType::F16).unwrap() < 1e-6);
        assert!(relative_error(KvType::Q8_0).unwrap() < 1e-4);
    }

    #[test]
    fn one_place_is_compressed_at_a_time() {
        let config = one_side(3, 1, Side::V, KvType::Turbo3);
        let types = config.layers.resolve(KvType::F16, KvType::F16, 3).unwrap();
        let f16 = (KvType::F16, KvType::F16);
        assert_eq!(types, [f16, (KvType::F16, KvType::Turbo3), f16]);
    }
}

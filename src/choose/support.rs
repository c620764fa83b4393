//! Which device runs attention over which cache, as data: decisions ask no device.

use crate::engine::{Backend, DeviceKind};
use crate::kv::KvSpec;
use crate::machine::Machine;
use crate::{KvType, ModelMeta, Result};
use std::collections::{BTreeMap, HashSet};

/// The name under which the processor is listed.
pub const CPU: &str = "CPU";

/// What a device runs: type of K, type of V, values per head of K, of V.
type Pairs = HashSet<(KvType, KvType, u32, u32)>;

/// Which K/V pairs each device runs attention over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Support {
    devices: BTreeMap<String, Pairs>,
}

/// Head sizes (K, V) that occur in a model's KV layers, each once.
pub(super) fn head_dims(meta: &ModelMeta) -> Vec<(u32, u32)> {
    let mut dims: Vec<(u32, u32)> = meta
        .kv_layers()
        .map(|(_, layer)| (layer.head_dim_k, layer.head_dim_v))
        .collect();
    dims.sort_unstable();
    dims.dedup();
    dims
}

impl Support {
    /// Nothing is known of any device: every pair counts as running, and decisions say so.
    pub fn unknown() -> Self {
        Self::default()
    }

    /// What the engine's devices run for the heads of `meta`.
    ///
    /// # Errors
    /// The engine's, which has none in practice.
    pub fn of(backend: Backend, meta: &ModelMeta) -> Result<Self> {
        let mut support = Self::default();
        let dims = head_dims(meta);
        for (number, device) in backend.devices()?.into_iter().enumerate() {
            if device.kind == DeviceKind::Accel {
                continue;
            }
            let name = if device.kind == DeviceKind::Cpu {
                CPU.to_owned()
            } else {
                device.name
            };
            let pairs = support.devices.entry(name).or_default();
            for k in KvType::ALL {
                for v in KvType::ALL {
                    for &dim in &dims {
                        if backend.runs_attention(number, k, v, dim)? {
                            pairs.insert((k, v, dim.0, dim.1));
                        }
                    }
                }
            }
        }
        Ok(support)
    }

    /// With a device that runs those pairs, for heads of these sizes, that `runs` says it does.
    #[must_use]
    pub fn with(mut self, device: &str, dims: &[(u32, u32)], runs: impl Fn(KvType, KvType) -> bool) -> Self {
        let pairs = self.devices.entry(device.to_owned()).or_default();
        for k in KvType::ALL {
            for v in KvType::ALL {
                if runs(k, v) {
                    pairs.extend(dims.iter().map(|dim| (k, v, dim.0, dim.1)));
                }
            }
        }
        self
    }

    /// Whether `device` runs attention over this pair; `None` for a device that nothing is known of.
    pub fn runs(&self, device: &str, k: KvType, v: KvType, head_dim: (u32, u32)) -> Option<bool> {
        let pairs = self.devices.get(device)?;
        Some(pairs.contains(&(k, v, head_dim.0, head_dim.1)))
    }

    /// The measured caches that `device` runs for these heads, for people.
    pub(super) fn list(&self, device: &str, dims: &[(u32, u32)]) -> String {
        let runs = |spec: &KvSpec| {
            dims.iter()
                .all(|&dim| self.runs(device, spec.k, spec.v, dim) != Some(false))
        };
        let mut names: Vec<String> = super::quality::TABLE
            .iter()
            .map(|row| KvSpec { mode: None, ..row.spec })
            .filter(runs)
            .map(|spec| spec.to_string())
            .collect();
        names.dedup();
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    }

    /// The devices of `machine` that nothing is known of.
    pub(super) fn unchecked(&self, machine: &Machine) -> Vec<String> {
        machine
            .devices()
            .filter_map(|(_, gpu)| gpu.device.clone())
            .filter(|name| !self.devices.contains_key(name))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use KvType::{F16, Q8_0, Turbo4};

    #[test]
    fn a_device_nobody_asked_is_not_known_to_fail() {
        assert_eq!(Support::unknown().runs("CUDA0", Turbo4, Turbo4, (128, 128)), None);
    }

    #[test]
    fn a_listed_device_runs_what_is_listed() {
        let support = Support::unknown().with("CUDA0", &[(128, 128)], |k, v| k == v && !k.is_turbo());
        assert_eq!(support.runs("CUDA0", F16, F16, (128, 128)), Some(true));
        assert_eq!(support.runs("CUDA0", Turbo4, Turbo4, (128, 128)), Some(false));
        assert_eq!(support.runs("CUDA0", F16, F16, (64, 64)), Some(false));
        assert_eq!(support.list("CUDA0", &[(128, 128)]), "f16, q8_0, q5_0, q4_0");
    }

    #[test]
    fn the_engine_is_asked_for_the_models_heads() {
        let backend = Backend::init().unwrap();
        let support = Support::of(backend, &super::super::tests::meta(2, 2, 128)).unwrap();
        assert_eq!(support.runs(CPU, Turbo4, Turbo4, (128, 128)), Some(true));
        assert_eq!(support.runs(CPU, Q8_0, Turbo4, (64, 64)), Some(false), "not asked for");
    }
}

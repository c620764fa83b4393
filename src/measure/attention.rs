//! Which kernels computed attention over a cache, as the engine counted them.

use crate::engine::attention::{Implementation, Ops, UPSTREAM};
use crate::{Backend, Context, DeviceInfo, DeviceKind, Result};
use serde::Serialize;
use std::fmt;

/// The operators over compressed caches that the CPU computed in some time, and the kernels that should have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AttentionCounts {
    /// Name of the implementation that is selected for compressed caches.
    pub selected: String,
    /// The operators, by who computed them.
    pub ops: Ops,
}

impl AttentionCounts {
    /// Says so if llama.cpp's own path computed what the selected kernels should have.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        (self.selected != UPSTREAM && self.ops.upstream > 0).then(|| self.fallback())
    }

    fn fallback(&self) -> String {
        format!(
            "attention kernels {} are selected, but of the operators over a compressed cache they computed {} and llama.cpp's \
             own path {}: what was measured is not theirs alone. They take heads of a multiple of 16 values, with as many heads \
             for K as for V",
            self.selected, self.ops.turboquant, self.ops.upstream
        )
    }
}

/// Counts operators from its start on. The counts are the process's: all contexts that decode meanwhile are in them.
#[derive(Debug, Clone, Copy)]
pub struct AttentionMeter {
    start: Ops,
}

impl AttentionMeter {
    /// Starts now.
    ///
    /// # Errors
    /// If the engine's answer cannot be read.
    pub fn start() -> Result<Self> {
        Ok(Self { start: Ops::counted()? })
    }

    /// What was computed until now.
    ///
    /// # Errors
    /// If the engine's answer cannot be read.
    pub fn counts(&self) -> Result<AttentionCounts> {
        Ok(AttentionCounts {
            selected: Implementation::active()?.name().to_owned(),
            ops: Ops::counted()?.since(self.start),
        })
    }
}

/// Where attention over a cache is computed, and by which kernels. The devices are those that the engine gives the layers to;
/// the CPU's kernels are what it counted while the cache was used.
///
/// As text: `CUDA0`, `CPU llama.cpp`, `CPU turboquant/avx512`, `CPU turboquant/avx512 + llama.cpp` (compressed layers and
/// plain ones), or `CPU` alone as long as nothing was computed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct AttentionUse {
    /// Devices other than the CPU that attend over layers of this cache.
    pub devices: Vec<String>,
    /// Layers on the CPU whose K or V is quantized: their operators are counted.
    pub cpu_compressed: usize,
    /// Layers on the CPU with plain K and V: llama.cpp's own kernels, not counted.
    pub cpu_plain: usize,
    /// Attention is fused on every layer's device, so a cache of plain types has flash attention too.
    pub fused: bool,
    /// What was counted while this cache was used; `None` until something was computed.
    pub counts: Option<AttentionCounts>,
}

impl AttentionUse {
    /// Where the layers of a context are; nothing is computed.
    ///
    /// # Errors
    /// The engine's, which has none in practice.
    pub fn of(context: &Context) -> Result<Self> {
        let backend = Backend::init()?;
        let devices = backend.devices()?;
        let offload = context.config().kv.offload;
        let cpu = devices.iter().position(|device| device.kind == DeviceKind::Cpu);
        let mut found = Self {
            fused: true,
            ..Self::default()
        };
        for types in &context.kv().layers {
            let layer = &context.model().meta().layers[types.layer];
            let is_held = |device: &DeviceInfo| device.name == layer.device && offload;
            let number = devices.iter().position(is_held).or(cpu);
            let runs = match number {
                Some(number) => {
                    backend.runs_attention(number, types.k, types.v, (layer.head_dim_k, layer.head_dim_v))?
                }
                None => false,
            };
            found.fused &= runs;
            // without a kernel of its own for it, a device still multiplies plain types; a packed cache goes to the CPU
            let compressed = types.k.is_quantized() || types.v.is_quantized();
            let on = if runs || !compressed { number } else { cpu };
            match on.map(|number| &devices[number]) {
                Some(device) if device.kind == DeviceKind::Cpu && compressed => found.cpu_compressed += 1,
                Some(device) if device.kind == DeviceKind::Cpu => found.cpu_plain += 1,
                other => {
                    let name = other.map_or("unknown", |device| device.name.as_str());
                    if !found.devices.iter().any(|known| known == name) {
                        found.devices.push(name.to_owned());
                    }
                }
            }
        }
        Ok(found)
    }

    /// Does `work`, which decodes with this cache, and adds the operators that it took. The counts are the process's: another
    /// context that decodes meanwhile is counted, too.
    ///
    /// # Errors
    /// Those of `work`, which then counts for nothing.
    pub fn count<T>(&mut self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let meter = AttentionMeter::start()?;
        let result = work()?;
        self.add(meter.counts()?);
        Ok(result)
    }

    /// Adds what was counted while this cache was used.
    pub(super) fn add(&mut self, mut counts: AttentionCounts) {
        if let Some(before) = &self.counts {
            counts.ops += before.ops;
        }
        self.counts = Some(counts);
    }

    /// Says so if llama.cpp's own path computed what the selected kernels should have.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let counts = self.counts.as_ref()?;
        let ours_missing = self.cpu_compressed > 0 && counts.ops.turboquant == 0 && counts.selected != UPSTREAM;
        if ours_missing {
            Some(counts.fallback())
        } else {
            counts.warning()
        }
    }

    fn cpu_kernels(&self, counts: &AttentionCounts) -> String {
        let mut kernels = Vec::new();
        if counts.ops.turboquant > 0 && (self.cpu_compressed > 0 || !self.devices.is_empty()) {
            kernels.push(format!("turboquant/{}", counts.selected));
        }
        if self.cpu_plain > 0 || counts.ops.upstream > 0 || kernels.is_empty() {
            kernels.push("llama.cpp".into());
        }
        kernels.join(" + ")
    }
}

impl fmt::Display for AttentionUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = self.devices.clone();
        let planned = self.cpu_compressed + self.cpu_plain > 0;
        match &self.counts {
            None if planned => names.push("CPU".into()),
            // a device that hands its layers to the CPU shows in the counts
            Some(counts) if planned || counts.ops != Ops::default() => {
                names.push(format!("CPU {}", self.cpu_kernels(counts)));
            }
            _ => {}
        }
        f.write_str(&names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(compressed: usize, plain: usize, selected: &str, ops: Option<(u64, u64)>) -> AttentionUse {
        AttentionUse {
            devices: Vec::new(),
            cpu_compressed: compressed,
            cpu_plain: plain,
            fused: true,
            counts: ops.map(|(turboquant, upstream)| AttentionCounts {
                selected: selected.into(),
                ops: Ops { turboquant, upstream },
            }),
        }
    }

    #[test]
    fn the_text_says_who_computed() {
        for (attention, text) in [
            (of(8, 0, "", None), "CPU"),
            (of(8, 0, "avx512", Some((80, 0))), "CPU turboquant/avx512"),
            (of(6, 2, "avx2", Some((60, 0))), "CPU turboquant/avx2 + llama.cpp"),
            (of(8, 0, "avx512", Some((40, 40))), "CPU turboquant/avx512 + llama.cpp"),
            (of(8, 0, "upstream", Some((0, 80))), "CPU llama.cpp"),
            (of(0, 8, "avx512", Some((0, 0))), "CPU llama.cpp"),
        ] {
            assert_eq!(attention.to_string(), text);
        }
        // what other contexts of the process did is not this cache's
        assert_eq!(of(0, 8, "avx512", Some((7, 0))).to_string(), "CPU llama.cpp");
        let card = |ops| AttentionUse {
            devices: vec!["CUDA0".into()],
            ..of(0, 0, "avx512", Some(ops))
        };
        assert_eq!(card((0, 0)).to_string(), "CUDA0");
        assert_eq!(card((8, 0)).to_string(), "CUDA0, CPU turboquant/avx512");
    }

    #[test]
    fn a_cache_left_to_llama_cpp_is_warned_of_unless_it_was_asked_for() {
        assert_eq!(of(8, 0, "avx512", Some((80, 0))).warning(), None);
        assert_eq!(of(0, 8, "avx512", Some((0, 0))).warning(), None);
        assert_eq!(of(8, 0, "upstream", Some((0, 80))).warning(), None);
        assert_eq!(of(8, 0, "", None).warning(), None);
        for ops in [(72, 8), (0, 80), (0, 0)] {
            let warning = of(8, 0, "avx512", Some(ops)).warning().expect("a warning");
            let counts = format!("they computed {} and llama.cpp's own path {}", ops.0, ops.1);
            assert!(warning.contains("avx512") && warning.contains(&counts), "{warning}");
        }
    }
}

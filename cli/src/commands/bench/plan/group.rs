//! What is measured with everything else equal.

use super::{Attention, LoadMode};
use llama_turboquant::measure::{Test, Workload};
use llama_turboquant::{GpuLayers, KvSpec};
use std::fmt;

/// Caches that are measured with everything else equal: one, or with `--ab` all of them. `C`: what is known of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group<C = KvSpec> {
    /// Number of the model.
    pub model: usize,
    /// Layers on the GPU; `None`: all.
    pub gpu_layers: Option<u32>,
    /// How the model is loaded.
    pub load_mode: LoadMode,
    /// Tokens submitted at once.
    pub n_batch: u32,
    /// Tokens computed at once.
    pub n_ubatch: u32,
    /// Caches stay in main memory.
    pub no_kv_offload: bool,
    /// Flash attention.
    pub attention: Attention,
    /// Threads.
    pub n_threads: u32,
    /// What is timed.
    pub test: Test,
    /// Over which caches.
    pub caches: Vec<C>,
}

impl Default for Group {
    fn default() -> Self {
        let test = Test {
            n_prompt: 0,
            n_gen: 0,
            n_depth: 0,
        };
        Self {
            model: 0,
            gpu_layers: None,
            load_mode: LoadMode::Auto,
            n_batch: 2048,
            n_ubatch: 512,
            no_kv_offload: false,
            attention: Attention::Auto,
            n_threads: 0,
            test,
            caches: vec![KvSpec::F16],
        }
    }
}

impl<C> Group<C> {
    /// Groups with the same can share a loaded model.
    pub fn load_settings(&self) -> (usize, Option<u32>, LoadMode) {
        (self.model, self.gpu_layers, self.load_mode)
    }

    /// Layers to the devices.
    pub fn gpu_layers(&self) -> GpuLayers {
        self.gpu_layers.map_or(GpuLayers::All, GpuLayers::Count)
    }

    /// The same over other caches.
    pub fn over<D>(&self, caches: Vec<D>) -> Group<D> {
        Group {
            model: self.model,
            gpu_layers: self.gpu_layers,
            load_mode: self.load_mode,
            n_batch: self.n_batch,
            n_ubatch: self.n_ubatch,
            no_kv_offload: self.no_kv_offload,
            attention: self.attention,
            n_threads: self.n_threads,
            test: self.test,
            caches,
        }
    }
}

impl Group {
    /// What is measured for each cache.
    pub fn workloads(&self, guard: bool, allow_cpu_attention: bool) -> Vec<Workload> {
        let workload = |cache: &KvSpec| {
            let mut kv = cache.config();
            kv.offload = !self.no_kv_offload;
            kv.guard = guard;
            kv.allow_cpu_attention = allow_cpu_attention;
            Workload {
                test: self.test,
                kv,
                n_batch: self.n_batch,
                n_ubatch: self.n_ubatch,
                n_threads: self.n_threads,
            }
        };
        self.caches.iter().map(workload).collect()
    }
}

impl<C: fmt::Display> fmt::Display for Group<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let caches: Vec<String> = self.caches.iter().map(C::to_string).collect();
        write!(f, "{} over {}", self.test, caches.join(", "))
    }
}

//! Models whose caches cannot be cut anywhere, and schedulers over them.
#![allow(dead_code)] // each test program uses its part

use super::scheduling::{Setup, alone, answer};
use super::{shape, synth};
use llama_turboquant::engine::synth::SynthParams;
use llama_turboquant::scheduler::Scheduler;
use llama_turboquant::{KvCacheConfig, KvType, Model, Token};

/// Windows in five of six layers, for which the engine has 256 cells; every other layer recurrent.
pub fn shapes() -> [SynthParams; 2] {
    let windows = SynthParams {
        layers: 6,
        window: 64,
        ..shape("gemma3", 4, 1, 128)
    };
    [windows, shape("lfm2", 4, 2, 128)]
}

pub fn models() -> [Model; 2] {
    shapes().map(|params| synth(&params))
}

/// Steps of 64 tokens, and memory for what is to be kept.
pub fn setup(model: &Model, kv: KvType) -> Setup {
    Setup {
        model: model.clone(),
        n_ubatch: 64,
        kv: KvCacheConfig::uniform(kv),
        prompt_cache: Some(256 << 20),
        ..Setup::of(1)
    }
}

/// The tokens that were not computed for an answer, which must be that of a scheduler without checkpoints.
#[track_caller]
pub fn same_as_alone(scheduler: &Scheduler, setup: Setup, prompt: &[Token]) -> usize {
    let architecture = setup.model.meta().architecture.clone();
    let ended = answer(scheduler, prompt, 12);
    let fresh = Setup {
        checkpoints: 0,
        ..setup
    };
    assert_eq!(ended.tokens, alone(fresh, prompt, 12), "{architecture}");
    ended.stats.n_cached
}

//! llama.cpp with TurboQuant KV cache types, compiled in and wrapped in a safe layer.
//!
//! A turbo cache is 3.9 (turbo4), 5.1 (turbo3) or 7.5 (turbo2) times smaller than f16 while the model runs, so a context
//! that did not fit becomes comfortable. Types are chosen for K and V apart, and per layer:
//!
//! ```no_run
//! use llama_turboquant::{ContextConfig, KvCacheConfig, KvType, Model};
//!
//! # fn main() -> llama_turboquant::Result<()> {
//! let model = Model::load("model.gguf")?;
//! let kv = KvCacheConfig::asymmetric(KvType::Q8_0, KvType::Turbo4);
//! println!("{} bytes at 32K", kv.bytes(model.meta(), 32_768)?.cache());
//! let context = model.context(ContextConfig { n_ctx: 32_768, kv, ..Default::default() })?;
//! # drop(context);
//! # Ok(())
//! # }
//! ```
//!
//! Handles are reference-counted inside and carry no lifetimes: a [`Context`] keeps its [`Model`]. Work is stopped per
//! request by a [`CancelToken`]. llama.cpp's log arrives as `tracing` events of the target `llama_cpp`.
#![deny(unsafe_code, missing_docs)]

pub mod choose;
pub mod codec;
pub mod embed;
pub mod engine;
mod error;
pub mod generate;
pub mod kv;
pub mod machine;
pub mod measure;
pub mod memory;
pub mod plan;
pub mod scheduler;
mod sys;
pub mod verify;
pub mod vision;

pub use engine::{
    Backend, Batch, CancelToken, Context, ContextConfig, DeviceInfo, DeviceKind, GpuLayers, KvMemory, LayerMeta,
    LoraAdapter, LoraInfo, LoraSet, Model, ModelBuilder, ModelMeta, Output, Pooling, Token, exit_now,
};
pub use error::{Error, Result};
pub use kv::{KvBytes, KvCacheConfig, KvSpec, KvType, LayerMap, LayerPolicy};

/// The example in the README is compiled with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

//! The engine behind the shim: one owner per C object. The only home of unsafe code besides the bindings.
#![allow(unsafe_code)]

pub mod attention;
mod backend;
mod batch;
mod call;
mod cancel;
pub mod chat;
pub mod codec;
mod context;
pub mod device_probe;
mod dry;
pub mod grammar;
pub(crate) mod heap;
#[cfg(all(test, miri))]
mod interpreted;
mod listed;
mod lora;
mod meta;
mod model;
pub mod probe;
pub mod sampler;
mod sequences;
mod state;
pub mod synth;
pub(crate) mod vision;

pub use backend::{Backend, DeviceInfo, DeviceKind, EngineInfo, exit_now};
pub use batch::Batch;
pub use cancel::CancelToken;
pub use context::{Context, ContextConfig, MemoryUse, Output};
pub use dry::{DryUse, TensorBytes};
pub use lora::{LoraAdapter, LoraInfo, LoraSet};
pub use meta::{FimTokens, LayerMeta, ModelMeta, Pooling};
pub(crate) use model::model_was_loaded;
pub use model::{GpuLayers, Model, ModelBuilder, Token};
pub use sequences::KvMemory;
pub use state::SeqInfo;

//! What a model and a context would occupy, from the engine's own plan: nothing is allocated.

use super::backend::parse;
use super::call;
use super::context::{ContextConfig, MemoryUse, layer_type_ids};
use super::model::Model;
use crate::{Result, sys};
use serde::{Deserialize, Serialize};

/// Bytes of a model's tensors by where they go, as their buffers hold them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorBytes {
    /// The token embeddings and what else the first step looks up.
    pub input: u64,
    /// Of each layer.
    pub layers: Vec<u64>,
    /// Everything else: the output's norm and head, tables for positions.
    pub output: u64,
    /// Of the token embeddings, where the output uses them too; 0 where it has a matrix of its own.
    pub tied: u64,
}

/// What a context would allocate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DryUse {
    /// Buffers, by the engine's names.
    #[serde(flatten)]
    pub buffers: MemoryUse,
    /// Bytes the CPU's threads take to work in.
    pub work: u64,
    /// Bytes of one row of what comes out: a token's logits, or its embedding.
    pub output_row: u64,
}

impl Model {
    /// The sizes of the tensors. For a model that was loaded with [`metadata_only`](super::ModelBuilder::metadata_only).
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a model that has its weights.
    pub fn tensor_bytes(&self) -> Result<TensorBytes> {
        // SAFETY: `raw` is a loaded model; both slots are valid.
        let json = call::text(|out, error| unsafe { sys::tq_model_weights(self.raw(), out, error) })?;
        parse("list of weights", &json)
    }

    /// What a context with these settings would allocate. For a model that was loaded with
    /// [`metadata_only`](super::ModelBuilder::metadata_only). Builds the graphs, so it takes milliseconds and no memory to speak of.
    ///
    /// # Errors
    /// As [`Context::new`](super::Context::new), except for memory that is not there;
    /// [`Error::Invalid`](crate::Error::Invalid) for a model that has its weights.
    pub fn plan_context(&self, config: &ContextConfig) -> Result<DryUse> {
        let config = config.clone().settle(self)?;
        let types = layer_type_ids(self, &config.kv.resolve(self.meta())?);
        let params = config.params(&types);
        // SAFETY: the model is alive; `params` and the types it points to (two per layer) outlive the call, which copies them.
        let json = call::text(|out, error| unsafe { sys::tq_context_plan(self.raw(), &raw const params, out, error) })?;
        parse("memory plan", &json)
    }
}

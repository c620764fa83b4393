//! LoRA adapters of an embedder.

use super::Embedder;
use crate::{LoraAdapter, LoraSet, Result};

impl Embedder {
    /// Adapters that texts are computed with from now on; an empty list: none.
    ///
    /// # Errors
    /// As [`LoraSet::new`]. An adapter of another model is an error of what is computed next.
    pub fn set_loras(&mut self, loras: &[(LoraAdapter, f32)]) -> Result<()> {
        self.loras = LoraSet::new(loras)?;
        Ok(())
    }
}

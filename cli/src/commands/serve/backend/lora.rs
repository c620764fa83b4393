//! LoRA adapters of a loaded model.

use std::path::PathBuf;

/// How strongly an adapter is applied.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoraScale {
    /// Its number, below `ModelCard::loras`.
    pub id: u32,
    /// Its scale; finite.
    pub scale: f32,
}

/// An adapter as it is loaded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoraStatus {
    /// Its number, from 0.
    pub id: u32,
    /// The file it came from, as the options name it.
    pub path: PathBuf,
    /// Its name in the file; empty: it has none.
    pub name: String,
    /// What it was trained for, where the file says that.
    pub task_name: String,
    /// What its prompts should begin with, where the file says that.
    pub prompt_prefix: String,
    /// Its scale in requests that have no `lora`.
    pub scale: f32,
}

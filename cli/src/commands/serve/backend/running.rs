//! What loaded models are doing.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::ModelCard;

/// A loaded model, at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Running {
    /// The model.
    pub card: ModelCard,
    /// Its sequences.
    pub slots: Vec<SlotStatus>,
    /// Jobs that wait for a slot.
    pub queued: u32,
    /// Jobs that may wait before new ones are refused.
    pub queue_limit: u32,
    /// What it occupies.
    pub memory: ModelMemory,
    /// Cells of the KV cache that are in use, of `card.n_ctx_total`.
    pub kv_cells_used: u32,
    /// Prompts in main memory.
    pub prompt_cache: PromptCacheUse,
    /// When it will be unloaded unless a request comes; None: never.
    pub expires: Option<SystemTime>,
}

/// Prompts that slots had to give up, kept in main memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PromptCacheUse {
    /// Bytes they may take; None: no limit. 0: none are kept.
    pub limit: Option<u64>,
    /// Prompts.
    pub entries: u32,
    /// Tokens of all of them.
    pub tokens: u64,
    /// Bytes of all of them, with the checkpoints within them.
    pub bytes: u64,
    /// Times a job went on from one.
    pub hits: u64,
    /// Tokens that were not computed because of that.
    pub tokens_saved: u64,
    /// Checkpoints that slots hold.
    pub checkpoints: u32,
    /// Bytes of these, without those that a prompt has, too.
    pub checkpoint_bytes: u64,
}

impl PromptCacheUse {
    /// For clients: what is kept, and what may be; null is no limit.
    pub fn to_json(&self) -> Value {
        json!({ "bytes": self.bytes, "limit": self.limit, "prompts": self.entries, "tokens": self.tokens })
    }
}

/// Bytes a loaded model occupies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelMemory {
    /// Weights, mapped ones included.
    pub weights: u64,
    /// KV cache, recurrent states and rotations.
    pub kv: u64,
    /// Scratch buffers.
    pub compute: u64,
    /// Of all of these, bytes on a GPU.
    pub gpu: u64,
}

impl ModelMemory {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights + self.kv + self.compute
    }
}

/// A slot, at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotStatus {
    /// Its number, from 0.
    pub id: u32,
    /// Whether a job runs in it.
    pub busy: bool,
    /// Tokens its part of the cache holds.
    pub n_cached: u32,
    /// Tokens of the running job's prompt; 0 when idle, and so the rest.
    pub n_prompt: u32,
    /// Of these, tokens computed or found in the cache so far.
    pub n_prompt_done: u32,
    /// Tokens generated so far.
    pub n_decoded: u32,
}

/// Something to do with an idle slot. A name is a plain file name in the server's slots folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotAction {
    /// Write what its cache holds to a file of that name.
    Save(String),
    /// Replace what it holds by that of a file.
    Restore(String),
    /// Forget what it holds.
    Erase,
}

/// What a [`SlotAction`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotReport {
    /// Tokens saved, restored or forgotten.
    pub n_tokens: u32,
    /// Bytes written or read.
    pub bytes: u64,
    /// Time it took.
    pub took: Duration,
}
